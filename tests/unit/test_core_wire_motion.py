"""Motion on the wire: permits, the drives' own time-out, decisions; against slaves in memory."""

import itertools
from typing import Any

import pytest
from attrs import evolve
from core_fixtures import (
    BRAKE,
    CONFIG,
    DOCK,
    FORWARD,
    MS,
    REVERSE,
    SAFETY,
    SHIPPED,
    TRAVEL,
    WireBench,
    cause,
    codes,
)

from oht50d.core.poll_plan import plan_blocks
from oht50d.core.poll_rates import VITAL
from oht50d.core.wire_schedule import Purpose, Slot
from oht50d.model.bus import (
    BusRequest,
    ExceptionReply,
    Failure,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.motion import CauseCode, StopKind, StopPhase
from oht50d.model.registers import PollClass
from oht50d.model.units import Duration

C = CauseCode
ZERO = [WriteRegisters(TRAVEL, 0x02, (0, 0)), WriteRegisters(TRAVEL, 0x12, (0, 0))]
TIMEOUT_WRITE = WriteRegister(TRAVEL, 0x35, 200)
VELOCITY = 0x33


def requests(slots: list[Slot]) -> list[BusRequest]:
    return [slot.request for slot in slots]


def driving(travel: str = "travel_motor", **changes: Any) -> WireBench:
    """Everything identified, drives energised, rolling at 60 mm/s."""
    bench = WireBench(travel, evolve(CONFIG, **changes)).settle().drive_on()
    bench.slaves.words[DOCK, VELOCITY] = 60
    bench.run(100, renewing=FORWARD)
    return bench


# -- motion


def test_a_start_in_order_on_the_wire() -> None:
    bench = WireBench().settle()
    bench.drive_on()
    assert bench.requests(Purpose.MOTION) == [
        WriteRegister(TRAVEL, 0x00, 2), WriteRegister(TRAVEL, 0x10, 2),
        WriteRegister(TRAVEL, 0x07, 1), WriteRegister(TRAVEL, 0x17, 1),
        WriteRegisters(TRAVEL, 0x01, (1, 0, 0)), WriteRegisters(TRAVEL, 0x11, (1, 0, 0)),
        WriteRegister(SAFETY, BRAKE, 1),
        WriteRegisters(TRAVEL, 0x01, (1, 0, 4)), WriteRegisters(TRAVEL, 0x11, (1, 0, 4)),
    ]  # fmt: skip


def test_without_a_permit_or_a_demand_nothing_moves() -> None:
    bench = WireBench().settle()
    bench.decide()
    bench.run(200)
    bench.decide(bench.permit(), None)
    bench.run(200)
    assert bench.requests(Purpose.MOTION) == []


def test_a_permit_that_is_older_than_its_life_moves_nothing() -> None:
    bench = WireBench().settle()
    bench.permit()
    bench.now_ns += 150 * MS
    bench.run(200)
    assert bench.requests(Purpose.MOTION) == []


@pytest.mark.parametrize("phase_ms", range(0, 100, 7))
def test_before_the_first_motion_frame_every_vital_block_is_as_new_as_while_moving(phase_ms: int) -> None:
    bench = WireBench().settle(600 + phase_ms)
    wanted_ns = bench.now_ns
    while not bench.requests(Purpose.MOTION):
        bench.permit()
        bench.one()
    vital = [(slot.block, at_ns) for at_ns, slot in bench.sent if slot.block and slot.block.poll in VITAL]
    asked_ns = {(block.unit, block.first): at_ns for block, at_ns in vital}
    assert len(asked_ns) == 4
    assert min(asked_ns.values()) >= wanted_ns - 50 * MS
    assert bench.now_ns - wanted_ns <= 40 * MS, "nobody waits long for it"


@pytest.mark.parametrize("is_back", [True, False])
def test_motion_does_not_begin_before_a_vital_module_has_answered(is_back: bool) -> None:
    bench = WireBench().settle()
    while (slot := bench.next_slot()).request.unit != DOCK:
        bench.finish(slot, bench.slaves.answer(slot.request))
    bench.finish(slot, Failure.SILENT)
    ends_ns, answers = bench.now_ns + 300 * MS, 0
    while bench.now_ns < ends_ns:
        bench.permit()
        slot = bench.next_slot()
        if slot.purpose is Purpose.MOTION:
            assert answers, "the last word of the dock module was silence"
            break
        is_answered = is_back or slot.request.unit != DOCK
        answers += slot.request.unit == DOCK and is_answered
        bench.finish(slot, bench.slaves.answer(slot.request) if is_answered else Failure.SILENT)
    assert (slot.purpose is Purpose.MOTION) is is_back


def test_vital_polls_go_before_a_motion_frame_and_a_stop_before_both() -> None:
    bench = WireBench().settle()
    safety = next(block for block in plan_blocks(SHIPPED["safety"]) if block.poll is PollClass.SAFETY)
    asked_ns = max(p.requested_ns for p in bench.published if p.block.first == safety.first and p.block.unit == SAFETY)
    while bench.now_ns < asked_ns + 50 * MS:
        bench.one()
    bench.permit()
    first = bench.next_slot()
    assert first.purpose is Purpose.POLL
    assert first.block is not None
    assert first.block.poll in VITAL
    bench.schedule.trip(StopKind.S1, (cause(C.OPERATOR_STOP),), bench.now_ns)
    slot = bench.schedule.next(bench.now_ns)
    assert isinstance(slot, Slot)
    assert (slot.purpose, slot.may_be_abandoned, first.may_be_abandoned) == (Purpose.STOP, False, True)


@pytest.mark.parametrize("moment", ["after the first frame", "while moving"])
def test_a_permit_that_runs_out_trips_s1_by_itself(moment: str) -> None:
    bench = WireBench().settle()
    if moment == "while moving":
        bench.drive_on()
    else:
        bench.permit()
        while not bench.requests(Purpose.MOTION):
            bench.one()
    bench.now_ns += 150 * MS
    slot = bench.schedule.next(bench.now_ns)
    assert isinstance(slot, Slot)
    assert (slot.purpose, slot.request) == (Purpose.STOP, ZERO[0])
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, codes(report.causes)) == (StopKind.S1, {"permit_expired"})


def test_a_first_frame_on_its_way_counts_as_energised() -> None:
    bench = WireBench().settle()
    bench.permit()
    slot = bench.next_slot()
    while slot.purpose is not Purpose.MOTION:
        bench.finish(slot, bench.slaves.answer(slot.request))
        bench.permit()
        slot = bench.next_slot()
    assert bench.schedule.drive_line.is_energised


def test_after_the_expiry_the_drives_end_off_and_braked() -> None:
    bench = driving()
    bench.run(300)
    bench.slaves.words[DOCK, VELOCITY] = 0
    bench.run(600)
    assert [bench.slaves.words[TRAVEL, a] for a in (0x01, 0x02, 0x03, 0x11, 0x12, 0x13)] == [0] * 6
    assert bench.slaves.words[SAFETY, BRAKE] == 0


def test_an_expired_permit_without_standstill_brakes_and_disables_at_the_time_limit() -> None:
    bench = driving()
    bench.run(3500)
    assert (bench.slaves.words[TRAVEL, 0x01], bench.slaves.words[SAFETY, BRAKE]) == (0, 0)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, report.phase) == (StopKind.S0, StopPhase.NOT_CONFIRMED)


def test_after_a_stop_the_line_starts_from_the_beginning() -> None:
    bench = driving()
    bench.decide(stop=StopKind.S1, causes=(cause(C.ZONE_STOP),))
    assert not bench.schedule.drive_line.is_energised
    bench.slaves.words[DOCK, VELOCITY] = 0
    bench.run(800)
    since = len(bench.sent)
    bench.drive_on()
    assert bench.requests(Purpose.MOTION, since)[0] == WriteRegister(TRAVEL, 0x00, 2)


def test_no_permit_moves_anything_while_a_stop_is_under_way() -> None:
    bench = driving()
    bench.schedule.trip(StopKind.S1, (cause(C.OPERATOR_STOP),), bench.now_ns)
    since = len(bench.sent)
    bench.run(400, renewing=FORWARD)
    assert bench.requests(Purpose.MOTION, since) == []


def test_the_reply_of_a_motion_frame_that_the_stop_overtook_energises_nothing() -> None:
    bench = WireBench().settle()
    bench.permit()
    slot = bench.next_slot()
    while slot.purpose is not Purpose.MOTION:
        bench.finish(slot, bench.slaves.answer(slot.request))
        bench.permit()
        slot = bench.next_slot()
    bench.schedule.trip(StopKind.S1, (cause(C.OPERATOR_STOP),), bench.now_ns)
    bench.finish(slot, WriteReply(TRAVEL, 0, 1, 2))
    assert not bench.schedule.drive_line.is_energised
    bench.run(1500)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.number, report.phase) == (2, StopPhase.STANDSTILL)


def test_a_permit_for_the_other_direction_stops_first() -> None:
    bench = driving()
    bench.permit(REVERSE)
    slot = bench.schedule.next(bench.now_ns)
    assert isinstance(slot, Slot)
    assert slot.request == ZERO[0]


@pytest.mark.parametrize("answer", ["silent", "refused"])
def test_motion_that_is_not_answered_three_times_is_unknown_and_stops(answer: str) -> None:
    bench = WireBench().settle()
    seen = 0
    for _ in range(200):
        bench.permit()
        slot = bench.next_slot()
        if slot.purpose is not Purpose.MOTION:
            bench.finish(slot, bench.slaves.answer(slot.request))
            continue
        seen += 1
        bench.finish(slot, Failure.SILENT if answer == "silent" else ExceptionReply(TRAVEL, 6, 4))
        if seen == 3:
            break
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, codes(report.causes)) == (StopKind.S1, {"motion_unknown"})
    assert "0x04" in report.causes[0].detail


@pytest.mark.parametrize(("address", "word"), [(0x00, 1), (0x10, 3), (0x07, 2), (0x17, 0)])
def test_drives_are_not_enabled_before_mode_and_direction_are_read_back(address: int, word: int) -> None:
    bench = WireBench().settle()

    def lie() -> None:
        bench.slaves.words[TRAVEL, address] = word

    ends_ns = bench.now_ns + 500 * MS
    while bench.now_ns < ends_ns:
        bench.permit()
        lie()
        bench.one()
    written = bench.requests(Purpose.MOTION)
    assert written == [
        WriteRegister(TRAVEL, 0x00, 2), WriteRegister(TRAVEL, 0x10, 2),
        WriteRegister(TRAVEL, 0x07, 1), WriteRegister(TRAVEL, 0x17, 1),
    ]  # fmt: skip
    bench.drive_on()
    assert bench.slaves.words[TRAVEL, 0x01] == 0, "the lie stands until the register is written again"
    bench.slaves.words[TRAVEL, address] = 2 if address in (0x00, 0x10) else 1
    bench.drive_on()
    assert bench.slaves.words[TRAVEL, 0x01] == 1


@pytest.mark.parametrize(("address", "word"), [(0x00, 1), (0x17, 2)])
def test_a_drive_that_changes_its_mode_or_direction_while_moving_is_stopped(address: int, word: int) -> None:
    bench = driving()
    bench.slaves.words[TRAVEL, address] = word
    bench.run(200, renewing=FORWARD)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, codes(report.causes)) == (StopKind.S1, {"motion_unknown"})
    assert "mode or direction" in report.causes[0].detail


def test_unknown_brake_wiring_is_never_driven() -> None:
    bench = WireBench(released_word=None).settle()
    bench.drive_on()
    assert bench.requests(Purpose.MOTION) == []


def test_other_polarity_of_the_brake() -> None:
    bench = WireBench(released_word=0).settle()
    bench.drive_on()
    assert bench.slaves.words[SAFETY, BRAKE] == 0
    bench.run(2500)
    assert bench.slaves.words[SAFETY, BRAKE] == 1


# -- the drives' time-out


def test_the_time_out_is_written_and_read_back_before_any_motion() -> None:
    bench = WireBench("travel_motor_timeout").open()
    bench.slaves.deaf_writes.add(TRAVEL)
    bench.run(1500, renewing=FORWARD)
    assert not bench.schedule.is_set_up
    assert TIMEOUT_WRITE in bench.requests(Purpose.SET_UP)
    assert bench.requests(Purpose.MOTION) == []
    bench.slaves.deaf_writes.clear()
    bench.run(2500, renewing=FORWARD)
    assert bench.schedule.is_set_up
    assert bench.slaves.words[TRAVEL, 0x35] == 200
    assert bench.requests(Purpose.MOTION)


def test_a_map_without_a_time_out_is_set_up_at_once() -> None:
    bench = WireBench().settle()
    assert bench.schedule.is_set_up
    assert bench.requests(Purpose.SET_UP) == []


def test_after_an_opening_the_time_out_is_written_again_whatever_was_read_before() -> None:
    bench = WireBench("travel_motor_timeout").settle()
    bench.schedule.close()
    bench.slaves.words[TRAVEL, 0x35] = 0
    bench.now_ns += 200 * MS
    bench.schedule.open(bench.now_ns, cause(C.BUS_LOST, bench.now_ns))
    assert not bench.schedule.is_set_up
    bench.run(2000)
    assert (bench.schedule.is_set_up, bench.slaves.words[TRAVEL, 0x35]) == (True, 200)


def test_a_drive_that_lost_its_time_out_moves_no_more_until_it_has_it_again() -> None:
    bench = driving("travel_motor_timeout")
    bench.slaves.words[TRAVEL, 0x35] = 0
    bench.slaves.deaf_writes.add(TRAVEL)
    while bench.schedule.is_set_up:
        bench.permit()
        bench.one()
    since = len(bench.sent)
    bench.run(1000, renewing=FORWARD)
    assert bench.requests(Purpose.MOTION, since) == []
    bench.slaves.deaf_writes.clear()
    bench.run(2000)
    assert bench.schedule.is_set_up


def test_after_a_loss_of_the_drives_their_time_out_is_written_again() -> None:
    bench = WireBench("travel_motor_timeout").settle()
    before = len(bench.requests(Purpose.SET_UP))
    bench.slaves.silent.add(TRAVEL)
    bench.run(2000)
    bench.slaves.silent.clear()
    bench.run(3000)
    assert len(bench.requests(Purpose.SET_UP)) == before + 1
    assert bench.schedule.is_set_up


def test_a_time_out_that_the_gate_refuses_is_never_written() -> None:
    config = evolve(CONFIG)
    object.__setattr__(config, "drive_timeout", Duration.parse("400us"))
    bench = WireBench("travel_motor_timeout", config).settle()
    assert bench.requests(Purpose.SET_UP) == []
    assert not bench.schedule.is_set_up


def test_drives_with_a_time_out_hear_the_demand_at_least_every_200_ms() -> None:
    bench = driving("travel_motor_timeout")
    since = len(bench.sent)
    bench.run(2000, renewing=FORWARD)
    times = [at for at, slot in bench.sent[since:] if slot.purpose is Purpose.MOTION and slot.request.address == 0x01]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 150 * MS


# -- decisions


def test_a_decision_counts_as_adopted_only_by_the_wires_own_task() -> None:
    bench = WireBench().settle()
    assert bench.schedule.adopted_sequence == 0
    bench.decide()
    assert bench.schedule.adopted_sequence == 0
    bench.schedule.next(bench.now_ns)
    assert bench.schedule.adopted_sequence == 1


def test_taking_over_a_stop_tells_whether_it_is_new() -> None:
    bench = driving()
    causes = (cause(C.JOG_RELEASED),)
    assert bench.decide(stop=StopKind.S2, causes=causes)
    assert not bench.decide(stop=StopKind.S2, causes=causes)
    assert bench.decide(stop=StopKind.S1, causes=causes)
    assert not bench.decide(stop=StopKind.S2, causes=causes)
    assert bench.decide(stop=StopKind.S0, causes=causes)


def held() -> WireBench:
    """An S2 at standstill: demand 0, drives enabled, brake released."""
    bench = driving()
    bench.decide(stop=StopKind.S2, causes=(cause(C.JOG_RELEASED),))
    bench.slaves.words[DOCK, VELOCITY] = 0
    bench.run(600)
    assert (bench.slaves.words[TRAVEL, 0x01], bench.slaves.words[SAFETY, BRAKE]) == (1, 1)
    return bench


def test_a_new_press_takes_over_from_an_s2_at_standstill() -> None:
    bench = held()
    since = len(bench.sent)
    bench.drive_on(demand=REVERSE)
    assert WriteRegister(TRAVEL, 0x07, 2) in bench.requests(Purpose.MOTION, since)
    assert not bench.schedule.sequencer.is_active


def test_drives_that_an_abandoned_s2_left_enabled_get_a_stop_when_the_press_ends_at_once() -> None:
    bench = held()
    bench.permit()
    assert bench.schedule.drive_line.is_energised
    bench.decide()
    slot = bench.schedule.next(bench.now_ns)
    assert isinstance(slot, Slot)
    assert slot.request == ZERO[0]
    bench.run(3500)
    assert (bench.slaves.words[TRAVEL, 0x01], bench.slaves.words[SAFETY, BRAKE]) == (0, 0)
