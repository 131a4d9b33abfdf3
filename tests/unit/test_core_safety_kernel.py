"""The safety kernel from an all-good baseline: boot, each cause alone, judgements over time, zones."""

from typing import Any

import pytest
from attrs import evolve
from core_fixtures import (
    CONFIG,
    FORWARD,
    MS,
    REVERSE,
    START_NS,
    KernelBench,
    codes,
    drive,
    field,
    good_inputs,
    moving,
    reading,
    sector,
)
from kernel_inputs import at, drives, lost, status

from oht50d.core.inputs import ModuleInput
from oht50d.core.jog import LeaseState
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.model.errors import CommandRejected
from oht50d.model.lidar import LidarLinkState
from oht50d.model.modules import ModuleTrust, ScanProgress, Trust
from oht50d.model.motion import CauseCode, Decision, Direction, MachineState, StopKind
from oht50d.model.registers import ModuleKind

C = CauseCode
S0, S1, S2 = StopKind.S0, StopKind.S1, StopKind.S2
AHEAD, BEHIND = 0, 18
"""Sectors of 10 degrees: 0 looks forward, 18 backwards."""


# -- boot, arm, move


def test_boot_is_latched_and_grants_nothing() -> None:
    bench = KernelBench()
    decision = bench.step()
    assert (bench.kernel.state, bench.kernel.latch.is_tripped) == (MachineState.SAFE, True)
    assert (decision.permit, decision.stop) == (None, None)
    assert codes(decision.inhibits) == {"boot", "no_authority"}


def test_reset_does_not_arm_and_arming_does_not_move() -> None:
    bench = KernelBench()
    bench.reset(is_at_vehicle=False)
    decision = bench.step()
    assert (bench.kernel.state, bench.kernel.authority.holder) == (MachineState.IDLE, None)
    assert (decision.permit, codes(decision.inhibits)) == (None, {"no_authority"})
    bench.kernel.authority.take("ann", bench.now_ns, is_at_rest=True)
    decision = bench.step()
    assert (decision.permit, codes(decision.inhibits)) == (None, {"no_demand"})


def test_a_press_grants_a_permit_at_the_uncommissioned_cap() -> None:
    decision = KernelBench().arm().press()
    granted = decision.permit
    assert granted is not None
    assert granted.expires_ns - granted.granted_ns == 150 * MS
    assert (granted.direction, granted.speed_limit_mm_s, granted.duty_limit_ratio) == (Direction.FORWARD, 100.0, 0.04)
    assert (decision.demand, decision.stop, decision.inhibits) == (FORWARD, None, ())


def test_permits_go_on_while_the_lease_is_renewed() -> None:
    bench = moving()
    for _ in range(100):
        bench.renew()
        decision = bench.step()
        assert decision.permit is not None
        assert decision.stop is None
    assert bench.kernel.state is MachineState.MOVE


@pytest.mark.parametrize(("has_drive_timeout", "expected"), [(True, 400.0), (False, 300.0)])
def test_the_lowest_cap_applies(has_drive_timeout: bool, expected: float) -> None:
    bench = KernelBench(evolve(CONFIG, speed_ceiling_mm_s=400.0))
    assert bench.kernel.speed_limit_mm_s(has_drive_timeout=has_drive_timeout) == min(100.0, expected)


def test_a_stricter_site_ceiling_is_kept() -> None:
    bench = KernelBench(evolve(CONFIG, speed_ceiling_mm_s=60.0))
    assert bench.kernel.speed_limit_mm_s(has_drive_timeout=True) == 60.0
    bench = KernelBench(evolve(CONFIG, no_timeout_speed_mm_s=50.0))
    assert bench.kernel.speed_limit_mm_s(has_drive_timeout=False) == 50.0


def test_somebody_elses_lease_gets_nothing() -> None:
    bench = KernelBench().arm()
    assert bench.press(holder="bob").permit is None
    assert bench.kernel.lease.state is LeaseState.LOST


# -- each cause alone, while moving


CASES: list[tuple[str, dict[str, Any], StopKind, str, bool]] = [
    ("chain", {"chain": at(1)}, S0, "chain_open", True),
    ("chain out of range", {"chain": at(0, is_usable=False)}, S0, "chain_open", True),
    ("safety status", {"safety_status": at(2)}, S0, "safety_error", True),
    ("safety error", {"safety_error": at(9)}, S0, "safety_error", True),
    ("safety lost", {"modules": lost(ModuleKind.SAFETY, 151)}, S0, "safety_lost", True),
    ("travel lost", {"modules": lost(ModuleKind.TRAVEL, 151)}, S1, "travel_lost", True),
    ("position lost", {"modules": lost(ModuleKind.DOCK, 151)}, S1, "position_lost", True),
    ("velocity unusable", {"velocity": at(0, is_usable=False)}, S1, "position_lost", True),
    ("power lost", {"modules": lost(ModuleKind.POWER, 5001)}, S1, "power_lost", True),
    ("port closed", {"wire": lambda now_ns: evolve(good_inputs(now_ns).wire, is_open=False)}, S1, "bus_lost", True),
    ("drive error", {"drives": drives(enable=1, direction=1, speed=8, error=5)}, S1, "drive_error", True),
    ("overspeed", {"velocity": at(101)}, S0, "overspeed", True),
    ("auto reset", {"auto_reset": at(1)}, S1, "safety_auto_reset", False),
    ("lidar silent", {"lidar": status(last_byte_ns=START_NS)}, S1, "lidar_silent", False),
    ("lidar absent", {"lidar": status(state=LidarLinkState.ABSENT)}, S1, "lidar_absent", False),
    ("time-out lost", {"is_set_up": False}, S1, "no_evidence", False),
    ("no chain reading", {"chain": None}, S1, "no_evidence", False),
]


POWER_AGE_MS = 5200
NAMES = [case[0] for case in CASES]


@pytest.mark.parametrize(("changes", "kind", "code", "latches"), [case[1:] for case in CASES], ids=NAMES)
def test_each_cause_alone_stops_a_moving_robot(
    changes: dict[str, Any], kind: StopKind, code: str, latches: bool
) -> None:
    bench = moving(age_ms=POWER_AGE_MS if code == "power_lost" else 0)
    decision = bench.step(**changes)
    assert (decision.permit, decision.demand, decision.stop) == (None, None, kind)
    assert code in codes(decision.stop_causes)
    assert bench.kernel.latch.is_tripped is latches
    assert bench.kernel.lease.state is LeaseState.LOST
    if latches:
        expected = MachineState.ESTOP if kind is S0 else MachineState.SAFE
        assert bench.kernel.state is expected


@pytest.mark.parametrize(("changes", "code"), [(case[1], case[3]) for case in CASES], ids=NAMES)
def test_each_cause_alone_refuses_a_start(changes: dict[str, Any], code: str) -> None:
    bench = KernelBench().arm().grow_old(POWER_AGE_MS if code == "power_lost" else 0)
    bench.changes |= changes
    decision = bench.press()
    assert decision.permit is None
    assert code in codes(decision.inhibits)


def test_a_refused_press_at_rest_sends_no_stop_and_latches_nothing_that_needs_motion() -> None:
    bench = KernelBench(SafetyConfig(brake_wiring=BrakeWiring.UNKNOWN)).arm().grow_old(POWER_AGE_MS)
    bench.changes |= {"modules": lost(ModuleKind.POWER, 5001)}
    decision = bench.press()
    assert (decision.permit, decision.stop) == (None, None)
    assert codes(decision.inhibits) == {"power_lost", "brake_unknown", "release_first"}
    assert not bench.kernel.latch.is_tripped


@pytest.mark.parametrize(
    ("kind", "silence_ms"),
    [(ModuleKind.SAFETY, 150), (ModuleKind.TRAVEL, 150), (ModuleKind.DOCK, 150), (ModuleKind.POWER, 5000)],
)
def test_150_ms_without_a_reply_do_not_stop_yet(kind: ModuleKind, silence_ms: int) -> None:
    assert moving(age_ms=POWER_AGE_MS).step(modules=lost(kind, silence_ms)).permit is not None


@pytest.mark.parametrize(("kind", "silence_ms"), [(ModuleKind.TRAVEL, 1000), (ModuleKind.DOCK, 10_000)])
def test_at_rest_the_slower_limits_hold(kind: ModuleKind, silence_ms: int) -> None:
    bench = KernelBench().arm().grow_old(silence_ms + 50)
    bench.step(modules=lost(kind, silence_ms))
    assert not bench.kernel.latch.is_tripped
    bench.step(modules=lost(kind, silence_ms + 1))
    assert bench.kernel.latch.is_tripped


def test_a_module_that_was_never_seen_inhibits_but_does_not_latch() -> None:
    bench = KernelBench().arm()
    never = ModuleInput(False, False, None, "not found yet")
    missing = {**good_inputs(bench.now_ns).modules, ModuleKind.POWER: never}
    decision = bench.step(modules=missing)
    assert "module_missing" in codes(decision.inhibits)
    assert not bench.kernel.latch.is_tripped


def swapped(now_ns: int) -> dict[ModuleKind, ModuleInput]:
    """Another dock module answers."""
    good = good_inputs(now_ns).modules
    return {**good, ModuleKind.DOCK: evolve(good[ModuleKind.DOCK], trust=ModuleTrust(Trust.CHANGED, "serial 1234"))}


def test_a_changed_module_inhibits_at_rest_and_is_free_once_it_is_accepted() -> None:
    bench = KernelBench().arm()
    assert "module_changed" in codes(bench.step(modules=swapped).inhibits)
    assert not bench.kernel.latch.is_tripped
    bench.changes["modules"] = swapped
    assert bench.press().permit is None
    del bench.changes["modules"]
    assert "module_changed" not in codes(bench.step().inhibits)


def test_a_module_that_changes_under_way_is_a_controlled_stop_that_latches() -> None:
    bench = moving()
    decision = bench.step(modules=swapped)
    assert (decision.permit, decision.stop) == (None, StopKind.S1)
    assert "module_changed" in codes(bench.kernel.latch.causes)
    assert not bench.kernel.latch.is_person_related


def test_a_scan_latches_and_is_not_reset_while_it_runs() -> None:
    bench = KernelBench()
    bench.reset()
    scan = ScanProgress(is_running=True, asked=0, planned=9, at="", found=())
    bench.changes["wire"] = lambda now_ns: evolve(good_inputs(now_ns).wire, scan=scan)
    assert "bus_scan" in codes(bench.step().inhibits)
    assert bench.state() is MachineState.SAFE
    with pytest.raises(CommandRejected, match="still present"):
        bench.reset()
    del bench.changes["wire"]
    bench.pass_time(50)
    bench.reset(is_at_vehicle=False)
    assert bench.state() is MachineState.IDLE


def test_each_missing_module_is_named_with_its_own_age() -> None:
    bench = KernelBench().arm()
    missing = dict(good_inputs(bench.now_ns).modules)
    missing[ModuleKind.POWER] = ModuleInput(False, False, None, "no reply from 0x01 (power): check power")
    first = bench.step(modules=missing)
    missing[ModuleKind.DOCK] = ModuleInput(False, False, None, "not found yet")
    told = [cause for cause in bench.step(modules=missing).inhibits if cause.code is C.MODULE_MISSING]
    assert {cause.detail for cause in told} == {"no reply from 0x01 (power): check power", "dock: not found yet"}
    (since_ns,) = [cause.since_ns for cause in first.inhibits if cause.code is C.MODULE_MISSING]
    assert {cause.place: cause.since_ns == since_ns for cause in told} == {"power": True, "dock": False}


def test_a_port_that_never_was_open_is_told_once() -> None:
    bench = KernelBench().arm()
    never = ModuleInput(False, False, None, "not found yet")
    wire = evolve(good_inputs(bench.now_ns).wire, is_open=False, opened_ns=None, cause="/dev/x is not there")
    decision = bench.step(modules=dict.fromkeys(ModuleKind, never), wire=wire)
    told = [cause.detail for cause in decision.inhibits if cause.code is C.MODULE_MISSING]
    assert told == ["/dev/x is not there"]


def test_errors_of_two_drives_are_both_named() -> None:
    bench = KernelBench().arm()
    now_ns = bench.now_ns
    decision = bench.step(drives=(drive(1, now_ns, error=3), drive(2, now_ns, error=5)))
    told = {cause.detail for cause in decision.inhibits if cause.code is C.DRIVE_ERROR}
    assert told == {"drive 1: error code 3", "drive 2: error code 5"}


@pytest.mark.parametrize("simulated", ["bus", "lidar"])
def test_mixed_simulation_refuses_every_motion(simulated: str) -> None:
    bench = KernelBench(is_everything_simulated=False).arm()
    decision = bench.press()
    assert decision.permit is None
    assert "mixed_simulation" in codes(decision.inhibits)


# -- loop gap


def test_a_gap_while_moving_stops_and_latches() -> None:
    bench = moving()
    decision = bench.step(after_ms=51)
    assert decision.stop is S1
    assert {"loop_gap", "no_evidence"} <= codes(decision.stop_causes)
    assert [held.code for held in bench.kernel.latch.causes] == [C.LOOP_GAP]


def test_fifty_milliseconds_are_no_gap() -> None:
    assert moving().step(after_ms=50).permit is not None


def test_a_gap_at_rest_only_asks_for_new_evidence() -> None:
    bench = KernelBench().arm()
    bench.step(after_ms=500)
    assert bench.kernel.floor_ns == bench.now_ns
    assert not bench.kernel.latch.is_tripped
    assert "no_evidence" in codes(bench.step().inhibits)
    bench.pass_time(150)
    assert bench.press().permit is not None


# -- judgements over time


def test_wrong_way_needs_two_readings() -> None:
    bench = moving()
    same = reading(-40, bench.now_ns)
    assert bench.step(velocity=same).stop is None
    assert bench.step(velocity=same).stop is None, "the same reading again shows nothing new"
    decision = bench.step(velocity=at(-40))
    assert (decision.stop, codes(decision.stop_causes)) == (S0, {"wrong_way"})


def test_one_wrong_reading_between_good_ones_is_forgiven() -> None:
    bench = moving()
    for _ in range(5):
        assert bench.step(velocity=at(-40)).stop is None
        bench.renew()
        assert bench.step().stop is None


def test_drives_may_differ_for_300_ms() -> None:
    bench = moving()
    decision = bench.step()
    for _ in range(31):
        bench.renew()
        decision = bench.step(drives=drives(enable=1, direction=1, speed=200))
        assert decision.stop is None
    bench.renew()
    decision = bench.step(drives=drives(enable=1, direction=1, speed=200))
    assert (decision.stop, codes(decision.stop_causes)) == (S0, {"drives_disagree"})
    assert "drive 2: 200" in decision.stop_causes[0].detail


def test_agreement_in_between_starts_the_time_anew() -> None:
    bench = moving()
    for step in range(60):
        bench.renew()
        disagreeing = field("drives", drives(enable=1, direction=1, speed=200))
        assert bench.step(**({} if step == 30 else disagreeing)).stop is None


def stuck(bench: KernelBench, steps: int, velocity: float = 0.0) -> Decision:
    """The drives turn as commanded; the location source says this velocity."""
    for _ in range(steps):
        bench.renew()
        decision = bench.step(velocity=at(velocity))
    return decision


def test_drives_that_turn_while_nothing_moves_are_stopped_after_half_a_second() -> None:
    bench = moving()
    assert stuck(bench, 51).stop is None
    decision = stuck(bench, 1)
    assert (decision.stop, codes(decision.stop_causes)) == (S1, {"no_motion"})
    assert "drive 1: 8" in decision.stop_causes[0].detail
    assert bench.kernel.state is MachineState.SAFE


def test_a_velocity_in_between_starts_the_half_second_anew_and_creeping_is_motion() -> None:
    bench = moving()
    stuck(bench, 40)
    stuck(bench, 1, velocity=11)
    assert stuck(bench, 40).stop is None
    assert stuck(moving(), 100, velocity=11).stop is None


def test_drives_that_stand_still_are_no_contradiction() -> None:
    bench = moving()
    bench.changes["drives"] = lambda now_ns: tuple(
        drive(number, now_ns, enable=1, direction=1, speed=5) for number in (1, 2)
    )
    assert stuck(bench, 100).stop is None


def test_a_drive_that_nobody_switched_on() -> None:
    bench = KernelBench().arm()
    bench.pass_time(300)
    decision = bench.step(drives=lambda now_ns: (drive(1, now_ns, enable=1), drive(2, now_ns)))
    assert "uncommanded" in codes(decision.inhibits)
    assert bench.kernel.state is MachineState.ESTOP


def test_drives_may_still_read_back_as_on_shortly_after_they_were_let_go() -> None:
    bench = moving()
    bench.changes = {"drives": lambda now_ns: (drive(1, now_ns, enable=1), drive(2, now_ns))}
    bench.pass_time(300)
    assert not bench.kernel.latch.is_tripped
    bench.pass_time(20)
    assert [held.code for held in bench.kernel.latch.causes] == [C.UNCOMMANDED]


# -- zones


def test_an_obstacle_ahead_stops_by_ramp_without_latch_and_needs_a_new_press() -> None:
    bench = moving()
    bench.sectors[AHEAD] = sector(AHEAD, bench.now_ns + 10 * MS, 380, 400)
    decision = bench.step()
    assert (decision.stop, codes(decision.stop_causes)) == (S1, {"zone_stop"})
    assert (decision.hits[0].sector, decision.hits[0].nearest_mm) == (AHEAD, 380)
    assert not bench.kernel.latch.is_tripped
    assert bench.kernel.lease.state is LeaseState.LOST


def test_an_obstacle_behind_does_not_stop_the_way_ahead_but_the_way_back() -> None:
    bench = moving()
    bench.sectors[BEHIND] = sector(BEHIND, bench.now_ns + 10 * MS, 380, 400)
    decision = bench.step()
    assert decision.permit is not None
    assert decision.hits[0].sector == BEHIND
    back = KernelBench().arm()
    back.sectors[BEHIND] = sector(BEHIND, back.now_ns + 10 * MS, 380, 400)
    assert back.press(REVERSE).permit is None


def test_the_slow_zone_halves_speed_and_duty() -> None:
    bench = moving()
    bench.sectors[AHEAD] = sector(AHEAD, bench.now_ns + 10 * MS, 800, 820)
    granted = bench.step().permit
    assert granted is not None
    assert (granted.speed_limit_mm_s, granted.duty_limit_ratio) == (50.0, 0.02)


def test_a_sector_ahead_that_is_not_seen_any_more_stops() -> None:
    bench = moving()
    bench.sectors[AHEAD] = None
    decisions = []
    for _ in range(16):
        bench.renew()
        decisions.append(bench.step())
    assert decisions[13].permit is not None
    assert decisions[-1].stop is S1
    assert "sector_unknown" in codes(decisions[-1].stop_causes)


def test_at_rest_without_a_press_both_ways_are_judged() -> None:
    bench = KernelBench().arm()
    bench.sectors[BEHIND] = sector(BEHIND, bench.now_ns + 10 * MS, 380, 400)
    decision = bench.step()
    assert "zone_stop" in codes(decision.inhibits)
    assert decision.stop is None
