"""The safety kernel: the lease, the bus owner's findings, the latch, reset and the physical button."""

from typing import Any

import pytest
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
    good_inputs,
    moving,
    reading,
    stop_report,
)
from kernel_inputs import at, lost

from oht50d.core.inputs import ModuleInput
from oht50d.core.jog import LeaseState
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import CauseCode, Decision, MachineState, StopKind, StopPhase
from oht50d.model.registers import ModuleKind

C = CauseCode
S0, S1, S2 = StopKind.S0, StopKind.S1, StopKind.S2


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


def test_a_stop_under_way_whose_cause_is_gone_is_told_as_what_it_is() -> None:
    bench = moving()
    report = stop_report(number=2, kind=S1, phase=StopPhase.STOPPING, causes=(cause(C.ZONE_STOP),), standstill_ns=None)
    decision = bench.step(stop=report, is_stop_active=True, is_stop_judged=True, is_energised=False)
    assert (decision.stop, decision.stop_causes) == (S1, (cause(C.ZONE_STOP),))


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
    bench.step(velocity=at(31))
    assert bench.step(velocity=at(31)).stop is S0


@pytest.mark.parametrize("velocity", [31, -31, 99])
def test_what_rolls_although_nothing_drives_it_gets_s0(velocity: int) -> None:
    bench = KernelBench().arm()
    first = reading(velocity, bench.now_ns + 10 * MS)
    assert bench.step(velocity=first).stop is None
    assert bench.step(velocity=first).stop is None, "one reading is noise, however often it is looked at"
    decision = bench.step(velocity=at(velocity))
    assert (decision.stop, codes(decision.stop_causes)) == (S0, {"undriven_motion"})
    assert (bench.state(), bench.kernel.latch.is_person_related) == (MachineState.ESTOP, True)


def test_creep_at_the_level_of_noise_and_a_single_glitch_are_forgiven() -> None:
    bench = KernelBench().arm()
    for velocity in (30, -30, 31, 0, 90, 0):
        assert bench.step(velocity=at(velocity)).stop is None
    assert not bench.kernel.latch.is_tripped


def test_what_still_rolls_while_the_opening_stops_it_is_judged_and_not_blamed() -> None:
    """After a crash in motion the S0 of the opening is under way: rolling is what it is there for."""
    bench = KernelBench().arm()
    opening = stop_report(kind=S0, phase=StopPhase.SENDING, causes=(cause(C.BOOT),), standstill_ns=None)
    for _ in range(3):
        decision = bench.step(velocity=at(80), stop=opening, is_stop_active=True)
    assert (decision.stop, codes(decision.stop_causes)) == (S0, {"boot"})
    assert not bench.kernel.latch.is_tripped


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


def test_boot_carries_what_is_known_of_the_last_end_and_concerns_nobody_in_person() -> None:
    kernel = SafetyKernel(CONFIG, "boot-a", 5, "the last run ended badly")
    (cause,) = kernel.latch.causes
    assert (cause.code, cause.detail) == (C.BOOT, "the last run ended badly")
    assert not kernel.latch.is_person_related


def test_one_cause_a_code_and_module_is_told() -> None:
    bench = KernelBench().arm()
    never = ModuleInput(False, False, None, "not found yet")
    decision = bench.step(modules=dict.fromkeys(ModuleKind, never))
    assert [c.place for c in decision.inhibits if c.code is C.MODULE_MISSING] == [kind.value for kind in ModuleKind]


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
    bench = moving(age_ms=5200)
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
            press = bench.kernel.observe_button(bench.inputs(reset_button=level), bench.now_ns)
            acted += press is not None and not press.refusal
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


# -- what a stop that is under way must still notice


@pytest.mark.parametrize("kind", [S1, S2])
def test_rolling_back_during_a_ramp_is_an_s0(kind: StopKind) -> None:
    """The stop has let go of the drives' direction; the carriage must not go the other way all the same."""
    bench = moving()
    report = stop_report(
        number=2, kind=kind, phase=StopPhase.STOPPING, causes=(cause(C.ZONE_STOP),), standstill_ns=None
    )
    bench.changes |= {
        "is_energised": False, "commanded_direction": 0, "stop": report, "is_stop_active": True, "is_stop_judged": True,
        "velocity": at(-60),
    }  # fmt: skip
    bench.step()
    decision = bench.step()
    assert (decision.stop, bench.state()) == (S0, MachineState.ESTOP)
    assert "wrong_way" in codes(decision.stop_causes)


def test_a_latched_cause_that_goes_and_comes_back_trips_again() -> None:
    """Or a reset begun in between would wipe it out."""
    bench = KernelBench()
    bench.step(chain=at(1))
    trips = bench.kernel.latch.trips
    bench.step(chain=at(1))
    assert bench.kernel.latch.trips == trips, "it is the same opening"
    bench.step()
    bench.step(chain=at(1))
    assert bench.kernel.latch.trips == trips + 1
