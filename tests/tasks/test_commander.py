"""STOP and reset on the real control ring under the mock clock; asserted are answers, frames, latch and rows."""

import pytest
import trio
from bus_fakes import MS
from control_bench import ANNA, BERT, CHAIN, RESET_BUTTON, VERA, Control, rejected, running_control
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.bus import WriteRegisters
from oht50d.model.motion import Cause, CauseCode, MachineState, StopKind
from oht50d.model.records import EventRow
from oht50d.services.ports import Actor, Claim

DRIVE_1_ZERO = WriteRegisters(0x04, 0x0002, (0, 0))
STOPPED = "robot.emergency.triggered"


def stop_records(control: Control) -> list[EventRow]:
    """What the commander wrote (the recorder itself tells of every new cause of the latch besides)."""
    return [event for event in control.store.events(STOPPED) if event.actor != "oht50d"]


def latched(control: Control) -> set[CauseCode]:
    return {cause.code for cause in control.kernel.latch.causes}


# -- STOP


async def test_a_stop_latches_and_trips_the_wire_before_its_first_await(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.reset()
        with trio.CancelScope() as scope:
            # Every await of it raises at once: what has happened then happened before the first one.
            scope.cancel()
            at_ns = now_ns()
            await control.commander.stop(None, "http")
        assert CauseCode.OPERATOR_STOP in latched(control)
        report = control.bench.bus.stop_report
        assert report is not None
        assert (report.kind, report.detected_ns) == (StopKind.S1, at_ns)
        await control.bench.until(lambda: DRIVE_1_ZERO in control.bench.line.frames_since(at_ns), limit_s=0.1)
        await control.bench.until(lambda: len(stop_records(control)) == 1, limit_s=3)


async def test_a_stop_is_answered_once_it_is_read_back_and_recorded(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        began_ns = now_ns()
        answer = await control.commander.stop(ANNA, "http")
        assert now_ns() - began_ns < 100 * MS
        assert (answer["status"], answer["persisted"], answer["repeats"]) == ("executed", True, 0)
        assert answer["outcome"] in ("acknowledged", "verified")
        first_frame, output_zero = answer["first_frame_ms"], answer["output_zero_ms"]
        assert isinstance(first_frame, float)
        assert isinstance(output_zero, float)
        assert 0 <= first_frame <= output_zero < 100
        (event,) = stop_records(control)
        assert (event.actor, event.severity.value) == ("anna", "emergency")
        assert (event.message, event.details) == ("STOP was pressed by anna", {"source": "http"})
        assert answer["number"] == control.snapshots.current().last_stops[-1].number


@pytest.mark.parametrize(
    ("actor", "words"),
    [
        (None, "by somebody who is not signed in"),
        (Actor("uid:0", Role.VIEWER, "socket", uid=0), "by root on the machine itself"),
        (Actor("uid:1000", Role.VIEWER, "socket", uid=1000), "by user 1000 on the machine itself"),
    ],
)
async def test_who_pressed_stop_is_told_in_words(autojump_clock: MockClock, actor: Actor | None, words: str) -> None:
    async with running_control() as control:
        await control.commander.stop(actor, "socket uid 0")
        (cause,) = [cause for cause in control.kernel.latch.causes if cause.code is CauseCode.OPERATOR_STOP]
        assert cause.detail == words


@pytest.mark.parametrize("trouble", ["fails", "hangs", "slow"])
async def test_a_store_in_trouble_delays_no_frame_and_the_answer_by_half_a_second_at_most(
    autojump_clock: MockClock, trouble: str
) -> None:
    async with running_control() as control:
        control.store.problem = "disk full" if trouble == "fails" else None
        control.store.is_hanging = trouble == "hangs"
        control.store.delay_s = 2.0 if trouble == "slow" else 0.0
        began_ns = now_ns()
        answer = await control.commander.stop(None, "http")
        assert now_ns() - began_ns <= 500 * MS + 1000
        assert (answer["status"], answer["persisted"]) == ("executed", False)
        assert control.bench.line.sent_times(DRIVE_1_ZERO)[-1] - began_ns < 20 * MS


async def test_the_record_of_a_stop_is_written_once_when_the_store_is_back(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        control.store.problem = "disk full"
        await control.commander.stop(None, "http")
        control.store.problem = None
        await trio.sleep(5)
        assert len(stop_records(control)) == 1


async def test_repeats_are_folded_and_answered_when_their_own_frames_are_read_back(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.commander.stop(ANNA, "http")
        for number in range(1, 6):
            await control.bench.until(lambda: not control.bench.schedule.sequencer.is_active)
            began_ns = now_ns()
            answer = await control.commander.stop(BERT, "ws")
            assert (answer["repeats"], answer["persisted"], answer["status"]) == (number, True, "executed")
            assert DRIVE_1_ZERO in control.bench.line.frames_since(began_ns)
        assert control.bench.bus.stop_report is not None
        assert control.bench.bus.stop_report.number == 2, "the opening's S0 and one STOP"
        await trio.sleep(2)
        assert len(stop_records(control)) == 1


async def test_a_flood_of_stops_is_one_stop(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.commander.stop(ANNA, "http")
        report = control.bench.bus.stop_report
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                nursery.start_soon(control.commander.stop, None, "flood")
        await trio.sleep(2)
        assert report is not None
        assert control.bench.bus.stop_report is not None
        assert control.bench.bus.stop_report.number == report.number
        assert control.kernel.latch.repeats(CauseCode.OPERATOR_STOP) == 200
        assert len(stop_records(control)) == 1


async def test_a_repeat_does_not_claim_a_record_that_was_never_written(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        control.store.is_hanging = True
        assert (await control.commander.stop(ANNA, "http"))["persisted"] is False
        assert (await control.commander.stop(ANNA, "http"))["persisted"] is False


async def test_a_stop_that_nobody_reads_back_is_not_confirmed(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        control.bench.rules.append(lambda request, _: [] if request.unit == 0x04 else None)
        began_ns = now_ns()
        answer = await control.commander.stop(None, "http")
        assert round((now_ns() - began_ns) / MS) == 500
        assert answer["status"] == "not_confirmed"
        assert "press the red button" in str(answer["message"])
        assert answer["output_zero_ms"] is None


# -- reset


async def test_a_reset_acts_on_the_release_of_a_hold_by_the_servers_clock(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        for seconds in (0.0, 0.9, 10.1):
            held = control.commander.hold_reset(ANNA, control.claim)
            assert held["hold_s"] == 1.0
            await trio.sleep(seconds)
            async with rejected("INVALID_COMMAND", "hold_id"):
                await control.commander.release_reset(ANNA, control.claim, str(held["hold_id"]))
        assert control.kernel.state is MachineState.SAFE
        held = control.commander.hold_reset(ANNA, control.claim)
        await trio.sleep(1.001)
        answer = await control.commander.release_reset(ANNA, control.claim, str(held["hold_id"]))
        assert (answer["state"], answer["cleared"]) == ("IDLE", ["boot"])
        assert control.kernel.authority.holder is None, "a reset never arms"


async def test_a_stop_during_the_hold_is_not_wiped_out_by_its_release(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        held = str(control.commander.hold_reset(ANNA, control.claim)["hold_id"])
        await trio.sleep(0.5)
        await control.commander.stop(BERT, "http")
        await trio.sleep(1.0)
        async with rejected("CONFLICT"):
            await control.commander.release_reset(ANNA, control.claim, held)
        assert control.kernel.latch.is_tripped


async def test_a_hold_belongs_to_its_actor_and_counts_once(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        held = str(control.commander.hold_reset(ANNA, control.claim)["hold_id"])
        await trio.sleep(1.1)
        async with rejected("INVALID_COMMAND", "hold_id"):
            await control.commander.release_reset(BERT, control.claim, held)
        async with rejected("INVALID_COMMAND", "hold_id"):
            await control.commander.release_reset(ANNA, control.claim, held)
        async with rejected("INVALID_COMMAND", "hold_id"):
            await control.commander.release_reset(ANNA, control.claim, "made up")
        assert control.kernel.latch.is_tripped


async def test_holds_are_bounded_and_expire(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        for _ in range(16):
            control.commander.hold_reset(ANNA, control.claim)
        async with rejected("ROBOT_BUSY"):
            control.commander.hold_reset(ANNA, control.claim)
        await trio.sleep(10.1)
        control.commander.hold_reset(ANNA, control.claim)


@pytest.mark.parametrize(
    ("actor", "boot_id", "step", "code", "field"),
    [
        (VERA, "boot-1", 0, "INSUFFICIENT_PERMISSIONS", None),
        (ANNA, "boot-0", 0, "CONFLICT", "boot_id"),
        (ANNA, "boot-1", 1, "CONFLICT", "epoch"),
    ],
)
async def test_a_reset_needs_role_boot_and_epoch(
    autojump_clock: MockClock, actor: Actor, boot_id: str, step: int, code: str, field: str | None
) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        claim = Claim(boot_id, control.claim.epoch + step)
        async with rejected(code, field):
            control.commander.hold_reset(actor, claim)
        held = str(control.commander.hold_reset(ANNA, control.claim)["hold_id"])
        await trio.sleep(1.1)
        async with rejected(code, field):
            await control.commander.release_reset(actor, claim, held)
        assert control.kernel.latch.is_tripped


@pytest.mark.parametrize("trouble", ["fails", "hangs"])
async def test_a_reset_that_cannot_be_recorded_is_refused_and_the_refusal_is_recorded(
    autojump_clock: MockClock, trouble: str
) -> None:
    async with running_control() as control:
        await control.ready_for_reset()
        held = str(control.commander.hold_reset(ANNA, control.claim)["hold_id"])
        await trio.sleep(1.1)
        control.store.problem = "disk full" if trouble == "fails" else None
        control.store.is_hanging = trouble == "hangs"
        began_ns = now_ns()
        async with rejected("SYSTEM_ERROR"):
            await control.commander.release_reset(ANNA, control.claim, held)
        assert now_ns() - began_ns <= 1000 * MS + 1000
        assert control.kernel.state is MachineState.SAFE
        assert latched(control) == {CauseCode.BOOT}
        control.store.problem = None
        if trouble == "fails":
            await control.bench.until(lambda: len(control.store.events("safety.reset.refused")) == 1)
            assert control.kernel.latch.is_tripped, "a row that is written late resets nothing"


async def test_a_stop_pressed_while_a_reset_is_being_written_outlives_it(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.commander.stop(ANNA, "http")
        await control.ready_for_reset()
        held = str(control.commander.hold_reset(ANNA, control.claim)["hold_id"])
        await trio.sleep(1.1)
        control.store.delay_s = 0.9
        async with trio.open_nursery() as nursery:

            async def press_stop() -> None:
                await trio.sleep(0.1)
                await control.commander.stop(None, "page")

            nursery.start_soon(press_stop)
            async with rejected("CONFLICT"):
                await control.commander.release_reset(ANNA, control.claim, held)
        assert CauseCode.OPERATOR_STOP in latched(control)
        assert control.kernel.state is MachineState.SAFE


async def test_causes_that_concern_people_are_reset_at_the_vehicle_only(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.reset()
        control.set_safety(CHAIN, 1)
        await control.bench.until(lambda: control.kernel.state is MachineState.ESTOP)
        control.set_safety(CHAIN, 0)
        await trio.sleep(1)
        async with rejected("ESTOP_ACTIVE"):
            control.commander.hold_reset(BERT, control.claim)
        control.set_safety(RESET_BUTTON, 1)
        await trio.sleep(1.5)
        assert control.kernel.state is MachineState.ESTOP, "it acts on the release"
        control.set_safety(RESET_BUTTON, 0)
        await control.bench.until(lambda: control.kernel.state is MachineState.IDLE, limit_s=2)
        await control.bench.until(lambda: len(control.store.events("safety.reset")) == 2, limit_s=3)
        assert control.store.events("safety.reset")[-1].actor == "button at the vehicle"


async def test_the_button_does_nothing_while_the_cause_is_there_and_says_so(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        control.set_safety(CHAIN, 1)
        await control.bench.until(lambda: control.kernel.state is MachineState.ESTOP)
        control.set_safety(RESET_BUTTON, 1)
        await trio.sleep(1.5)
        control.set_safety(RESET_BUTTON, 0)
        await control.bench.until(lambda: len(control.store.events("safety.reset.refused")) == 1, limit_s=5)
        assert control.kernel.state is MachineState.ESTOP


async def test_a_press_of_the_button_that_does_not_count_is_told_with_its_reason(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        control.set_safety(RESET_BUTTON, 1)
        await trio.sleep(0.5)
        control.set_safety(RESET_BUTTON, 0)
        await control.bench.until(lambda: len(control.store.events("safety.reset.refused")) == 1, limit_s=5)
        (event,) = control.store.events("safety.reset.refused")
        assert "hold it for 1 s" in event.message
        assert event.actor == "button at the vehicle"
        control.set_safety(RESET_BUTTON, 1)
        await trio.sleep(0.4)
        control.bench.rules.append(lambda request, _: [] if request.unit == 0x03 else None)
        await control.bench.until(lambda: len(control.store.events("safety.reset.refused")) == 2, limit_s=5)
        assert "was not heard" in control.store.events("safety.reset.refused")[-1].message


@pytest.mark.parametrize("cause", ["stop", "chain"])
async def test_what_stops_the_robot_while_the_reset_button_is_held_is_not_reset_by_it(
    autojump_clock: MockClock, cause: str
) -> None:
    async with running_control() as control:
        control.set_safety(RESET_BUTTON, 1)
        await trio.sleep(0.7)
        if cause == "stop":
            await control.commander.stop(None, "page")
        else:
            control.set_safety(CHAIN, 1)
            await trio.sleep(0.2)
            control.set_safety(CHAIN, 0)
        await trio.sleep(1.5)
        control.set_safety(RESET_BUTTON, 0)
        await control.bench.until(lambda: len(control.store.events("safety.reset.refused")) == 1, limit_s=5)
        assert "stopped again while" in control.store.events("safety.reset.refused")[-1].message
        assert control.kernel.latch.is_tripped


async def test_nothing_is_reset_before_standstill_is_confirmed(autojump_clock: MockClock) -> None:
    async with running_control() as control:
        await control.reset()
        control.bench.modules[0x05].image[0x0033] = 20
        await trio.sleep(0.2)
        control.kernel.trip(Cause(CauseCode.CRASH, now_ns()))
        control.bench.bus.trip_causes(StopKind.S1, (Cause(CauseCode.CRASH, now_ns()),))
        await trio.sleep(0.3)
        async with rejected("SAFETY_VIOLATION"):
            control.commander.hold_reset(ANNA, control.claim)
