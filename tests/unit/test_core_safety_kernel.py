"""The safety kernel from an all-good baseline: each cause alone, the latch, reset, authority."""

from collections.abc import Callable
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
    S,
    cause,
    codes,
    drive,
    field,
    good_inputs,
    moving,
    reading,
    sector,
    stop_report,
)

from oht50d.core.inputs import ModuleInput
from oht50d.core.jog import LeaseState
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.model.errors import CommandRejected
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import CauseCode, Decision, Direction, MachineState, StopKind, StopPhase
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


def lost(kind: ModuleKind, silence_ms: int) -> Callable[[int], Any]:
    def modules(now_ns: int) -> Any:
        quiet = ModuleInput(True, True, now_ns - silence_ms * MS, "does not answer")
        return {**good_inputs(now_ns).modules, kind: quiet}

    return modules


def status(**changes: Any) -> Callable[[int], Any]:
    return lambda now_ns: evolve(good_inputs(now_ns).lidar, **changes)


def at(value: float, **changes: Any) -> Callable[[int], Any]:
    return lambda now_ns: reading(value, now_ns, **changes)


def drives(**words: int) -> Callable[[int], Any]:
    return lambda now_ns: (drive(1, now_ns, enable=1, direction=1, speed=8), drive(2, now_ns, **words))


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


# -- losing and releasing the lease


def stopped_by_s2(bench: KernelBench, decision: Decision) -> None:
    assert (decision.permit, decision.stop, codes(decision.stop_causes)) == (None, S2, {"jog_released"})
    assert not bench.kernel.latch.is_tripped


def test_a_lease_that_ran_out_is_an_s2_without_latch() -> None:
    bench = moving()
    decision = bench.step()
    while decision.permit is not None:
        decision = bench.step()
    stopped_by_s2(bench, decision)
    assert bench.kernel.lease.state is LeaseState.LOST


def test_a_released_button_is_an_s2_without_latch() -> None:
    bench = moving()
    bench.kernel.lease.release("ann")
    stopped_by_s2(bench, bench.step())


@pytest.mark.parametrize("demand", [FORWARD, REVERSE])
def test_a_release_and_a_new_press_between_two_steps_stop_first(demand: Any) -> None:
    bench = moving()
    bench.kernel.lease.release("ann")
    stopped_by_s2(bench, bench.press(demand))


def test_authority_that_is_given_back_while_moving_stops() -> None:
    bench = moving()
    bench.kernel.authority.drop()
    assert bench.step().stop is S2


def s2_report(now_ns: int, *, standstill: bool) -> Any:
    return stop_report(
        now_ns, number=2, kind=S2, phase=StopPhase.STOPPING, causes=(cause(C.JOG_RELEASED),),
        standstill_ns=now_ns if standstill else None,
    )  # fmt: skip


def held_by_s2(*, standstill: bool) -> KernelBench:
    """After a jog: the drives are enabled with demand 0 and the brake is released."""
    bench = moving()
    bench.kernel.lease.release("ann")
    bench.step()
    bench.changes = {
        "stop": s2_report(bench.now_ns, standstill=standstill),
        "is_stop_active": True,
        "is_stop_judged": True,
    }
    return bench


def test_a_new_press_is_refused_until_the_s2_stands_still() -> None:
    decision = held_by_s2(standstill=False).press()
    assert (decision.permit, decision.stop) == (None, S2)
    assert "stopping" in codes(decision.inhibits)
    assert held_by_s2(standstill=True).press(REVERSE).permit is not None


def test_an_open_chain_during_the_hold_of_an_s2_is_an_s0_at_once() -> None:
    bench = held_by_s2(standstill=True)
    decision = bench.step(chain=at(1))
    assert (decision.stop, bench.kernel.state) == (S0, MachineState.ESTOP)


def test_the_limits_of_motion_hold_until_a_stop_is_verified() -> None:
    bench = held_by_s2(standstill=True)
    assert bench.step(modules=lost(ModuleKind.TRAVEL, 151)).stop is S1


# -- the bus owner's own findings


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (C.STOP_UNVERIFIED, MachineState.ESTOP),
        (C.STOP_LATE, MachineState.ESTOP),
        (C.PERMIT_EXPIRED, MachineState.SAFE),
        (C.MOTION_UNKNOWN, MachineState.SAFE),
    ],
)
def test_what_the_bus_owner_finds_out_latches(code: CauseCode, state: MachineState) -> None:
    bench = moving()
    report = stop_report(number=2, kind=S1, phase=StopPhase.SENDING, causes=(cause(code),), standstill_ns=None)
    bench.changes = {"stop": report, "is_stop_active": True, "is_stop_judged": True}
    bench.step()
    assert (bench.kernel.state, [held.code for held in bench.kernel.latch.causes]) == (state, [code])


def test_a_late_stop_that_was_over_before_this_step_latches_all_the_same_but_only_once() -> None:
    bench = KernelBench().arm()
    report = stop_report(number=2, causes=(cause(C.STOP_LATE, bench.now_ns + 5 * MS),))
    bench.step(stop=report)
    assert bench.state() is MachineState.ESTOP
    bench.changes = {"stop": report}
    bench.pass_time(20)
    bench.reset()
    bench.step()
    assert bench.state() is MachineState.IDLE


# -- latched


def test_latched_and_at_rest_nothing_is_sent() -> None:
    bench = KernelBench().arm()
    bench.kernel.trip(cause(C.OPERATOR_STOP))
    decision = bench.step()
    assert (decision.stop, decision.permit) == (None, None)
    assert codes(decision.inhibits) == {"operator_stop", "no_demand"}
    assert bench.press().stop is None


def test_latched_and_rolling_is_stopped() -> None:
    bench = KernelBench().arm()
    bench.kernel.trip(cause(C.OPERATOR_STOP))
    assert bench.step(velocity=at(31)).stop is S1


def test_rolling_without_any_cause_is_brought_to_rest() -> None:
    assert KernelBench().arm().step(velocity=at(-31)).stop is S2


def test_the_latch_holds_when_the_cause_is_gone() -> None:
    bench = moving()
    bench.step(chain=at(1))
    bench.changes = {}
    decision = bench.pass_time(1000)
    assert codes(decision.inhibits) == {"chain_open", "release_first"}
    assert bench.kernel.state is MachineState.ESTOP


def test_a_cause_keeps_the_time_since_when_it_holds() -> None:
    bench = KernelBench().arm()
    first = next(c for c in bench.step(auto_reset=at(1)).inhibits if c.code is C.SAFETY_AUTO_RESET)
    later = next(c for c in bench.step(auto_reset=at(1)).inhibits if c.code is C.SAFETY_AUTO_RESET)
    bench.step()
    again = next(c for c in bench.step(auto_reset=at(1)).inhibits if c.code is C.SAFETY_AUTO_RESET)
    assert first.since_ns == later.since_ns < again.since_ns


def test_one_cause_a_code_is_told() -> None:
    bench = KernelBench().arm()
    never = ModuleInput(False, False, None, "not found yet")
    decision = bench.step(modules=dict.fromkeys(ModuleKind, never))
    assert [c.code for c in decision.inhibits].count(C.MODULE_MISSING) == 1


def test_shutting_down() -> None:
    bench = moving()
    assert bench.kernel.shut_down(bench.now_ns).code is C.SHUTDOWN
    assert bench.step().stop is S1
    assert bench.kernel.state is MachineState.SHUTDOWN
    with pytest.raises(CommandRejected, match="shutting down"):
        bench.kernel.check_reset(bench.inputs(), is_at_vehicle=True)


# -- reset


def refusal(bench: KernelBench, *, is_at_vehicle: bool = True, **changes: Any) -> str:
    with pytest.raises(CommandRejected) as problem:
        bench.kernel.check_reset(bench.inputs(**changes), is_at_vehicle=is_at_vehicle)
    return f"{problem.value.code}: {problem.value.message}"


@pytest.mark.parametrize("code", [C.CHAIN_OPEN, C.OVERSPEED, C.STOP_UNVERIFIED, C.STOP_LATE, C.SAFETY_LOST])
def test_person_related_causes_are_reset_at_the_vehicle_only(code: CauseCode) -> None:
    bench = KernelBench().arm()
    bench.kernel.trip(cause(code))
    assert "ESTOP_ACTIVE" in refusal(bench, is_at_vehicle=False)
    bench.reset(is_at_vehicle=True)
    assert (bench.kernel.state, bench.kernel.latch.is_tripped) == (MachineState.IDLE, False)


@pytest.mark.parametrize("code", [C.BOOT, C.OPERATOR_STOP, C.BUS_LOST, C.DRIVE_ERROR, C.PERMIT_EXPIRED])
def test_other_causes_may_be_reset_remotely(code: CauseCode) -> None:
    bench = KernelBench().arm()
    bench.kernel.trip(cause(code))
    bench.reset(is_at_vehicle=False)
    assert not bench.kernel.latch.is_tripped


def test_a_reset_drops_authority_and_counts_the_epoch_up() -> None:
    bench = KernelBench().arm()
    bench.kernel.trip(cause(C.OPERATOR_STOP))
    epoch = bench.kernel.authority.current.epoch
    bench.reset()
    assert bench.kernel.authority.holder is None
    assert bench.kernel.authority.current.epoch > epoch


def test_nothing_to_reset() -> None:
    bench = KernelBench().arm()
    assert "nothing to reset" in refusal(bench)
    assert "nothing to reset" in refusal(moving())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"chain": at(1)}, "chain is open"),
        ({"safety_error": at(1)}, "safety module reports an error"),
        ({"drives": lambda now_ns: (drive(1, now_ns, error=4),)}, "drive reports an error"),
        ({"modules": lost(ModuleKind.TRAVEL, 1001)}, "travel drives do not answer"),
    ],
)
def test_a_cause_that_is_still_there_refuses_the_reset(changes: dict[str, Any], told: str) -> None:
    bench = KernelBench().grow_old(1100)
    bench.changes |= changes
    bench.step()
    assert "still present" in refusal(bench)
    assert told in refusal(bench)


def test_a_latched_power_loss_must_be_cured_too() -> None:
    bench = moving(age_ms=POWER_AGE_MS)
    bench.step(modules=lost(ModuleKind.POWER, 5001))
    bench.changes = {"modules": lost(ModuleKind.POWER, 5001)}
    bench.step()
    assert "power module" in refusal(bench)


@pytest.mark.parametrize(
    "changes",
    [
        {"stop": None},
        {"is_stop_active": True, "is_stop_judged": True},
        {"stop": stop_report(phase=StopPhase.NOT_CONFIRMED)},
        {"stop": stop_report(phase=StopPhase.IDLE)},
    ],
)
def test_a_stop_that_is_not_verified_refuses_the_reset(changes: dict[str, Any]) -> None:
    assert "not confirmed" in refusal(KernelBench(), **changes)


@pytest.mark.parametrize(
    "chain",
    [None, at(1), lambda now_ns: reading(0, now_ns - 200 * MS), at(0, is_usable=False)],
    ids=["never read", "open", "old", "unusable"],
)
def test_the_chain_must_be_known_to_be_closed(chain: Any) -> None:
    assert "chain" in refusal(KernelBench(), chain=chain)


@pytest.mark.parametrize("kind", list(ModuleKind))
def test_module_errors_must_be_cleared(kind: ModuleKind) -> None:
    modules = {**good_inputs(START_NS).modules, kind: ModuleInput(True, True, START_NS, "", error=2)}
    assert f"module errors are not cleared: {kind.value}" in refusal(KernelBench(), modules=modules)


def test_a_stop_pressed_while_a_reset_is_written_is_not_wiped_out() -> None:
    bench = KernelBench()
    bench.kernel.check_reset(bench.inputs(), is_at_vehicle=True)
    bench.kernel.trip(cause(C.OPERATOR_STOP))
    with pytest.raises(CommandRejected, match="stopped again"):
        bench.kernel.apply_reset(bench.inputs(), is_at_vehicle=True)
    assert {held.code for held in bench.kernel.latch.causes} == {C.BOOT, C.OPERATOR_STOP}


def test_a_reset_is_judged_again_when_it_takes_effect() -> None:
    bench = KernelBench()
    bench.kernel.check_reset(bench.inputs(), is_at_vehicle=True)
    with pytest.raises(CommandRejected, match="chain"):
        bench.kernel.apply_reset(bench.inputs(chain=at(1)), is_at_vehicle=True)
    assert bench.kernel.latch.is_tripped


def test_fault_leads_to_safe_and_never_straight_to_idle() -> None:
    bench = KernelBench()
    bench.kernel.state = MachineState.FAULT
    bench.reset()
    assert bench.state() is MachineState.SAFE
    bench.reset()
    assert bench.state() is MachineState.IDLE


# -- the physical button


def hold(bench: KernelBench, levels: list[tuple[int, Any]]) -> int:
    """How often the button acted; levels as (milliseconds, reading by time)."""
    acted = 0
    for milliseconds, level in levels:
        for _ in range(milliseconds // 10):
            bench.now_ns += 10 * MS
            acted += bench.kernel.observe_button(bench.inputs(reset_button=level), bench.now_ns)
    return acted


UP, DOWN = at(0), at(1)


def test_the_button_acts_on_the_release_of_a_second() -> None:
    assert hold(KernelBench(), [(20, UP), (1010, DOWN), (20, UP)]) == 1
    assert hold(KernelBench(), [(20, UP), (900, DOWN), (20, UP)]) == 0
    assert hold(KernelBench(), [(20, UP), (3000, DOWN)]) == 0


def test_a_level_that_is_not_known_breaks_the_hold() -> None:
    assert hold(KernelBench(), [(20, UP), (500, DOWN), (10, None), (600, DOWN), (20, UP)]) == 0
    stale = reading(1, START_NS + 100 * MS)
    assert hold(KernelBench(), [(20, UP), (100, DOWN), (2 * S // MS, stale), (20, UP)]) == 0
    assert hold(KernelBench(), [(20, UP), (1100, at(1, is_usable=False)), (20, UP)]) == 0
