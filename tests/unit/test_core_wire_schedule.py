"""What goes out on the wire next: against slaves in memory, exchange by exchange."""

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
    POWER,
    REVERSE,
    SAFETY,
    START_NS,
    TRAVEL,
    S,
    WireBench,
    cause,
    codes,
    shipped_maps,
)

from oht50d.core.wire_schedule import Idle, Purpose, Slot
from oht50d.model.bus import (
    BusRequest,
    ExceptionReply,
    Failure,
    ReadRegisters,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.motion import CauseCode, StopKind, StopPhase
from oht50d.model.registers import PollClass
from oht50d.model.units import Duration

C = CauseCode
OFF = [
    WriteRegisters(TRAVEL, 0x01, (0, 0, 0)),
    WriteRegisters(TRAVEL, 0x11, (0, 0, 0)),
    WriteRegister(SAFETY, BRAKE, 0),
]
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


def stop_requests(bench: WireBench, milliseconds: int = 100) -> list[BusRequest]:
    return requests([slot for slot in bench.run(milliseconds) if slot.purpose is Purpose.STOP])


# -- opening


def test_a_closed_port_sends_nothing() -> None:
    bench = WireBench()
    step = bench.schedule.next(bench.now_ns)
    assert isinstance(step, Idle)
    assert step.until_ns > bench.now_ns
    assert (bench.schedule.is_open, bench.schedule.stop_report) == (False, None)


def test_an_opening_sends_s0_before_it_asks_anybody_anything() -> None:
    bench = WireBench().open()
    assert requests(bench.run(15)) == OFF
    assert [slot.purpose for _, slot in bench.sent] == [Purpose.STOP] * 3


def test_then_the_safety_module_is_identified_first() -> None:
    bench = WireBench().open()
    bench.run(300)
    identified = [request.unit for request in bench.requests(Purpose.IDENTIFY)]
    assert identified == [SAFETY, POWER, TRAVEL, DOCK]
    assert all(link.is_identified for link in bench.schedule.links.values())


def test_everything_readable_is_read_and_published_after_an_opening() -> None:
    bench = WireBench().settle()
    read = {(p.block.unit, spec.address) for p in bench.published for spec in p.block.specs}
    readable = {(m.address, s.address) for m in bench.maps for s in m.registers if s.is_readable and s.poll is not None}
    assert read == readable


def test_the_stop_of_the_opening_ends_with_measured_standstill() -> None:
    report = WireBench().settle().schedule.stop_report
    assert report is not None
    assert (report.kind, report.phase, codes(report.causes)) == (StopKind.S0, StopPhase.STANDSTILL, {"boot"})
    assert report.predicted_ms == 321.0


def test_nothing_moves_before_the_opening_is_safe() -> None:
    bench = WireBench().open()
    bench.slaves.silent.add(SAFETY)
    bench.run(2000, renewing=FORWARD)
    assert bench.requests(Purpose.MOTION) == []
    assert bench.slaves.words[TRAVEL, 0x01] == 0


def test_opening_again_identifies_again() -> None:
    bench = WireBench().settle()
    bench.schedule.close()
    assert isinstance(bench.schedule.next(bench.now_ns), Idle)
    before = len(bench.sent)
    bench.now_ns += 200 * MS
    bench.schedule.open(bench.now_ns, cause(C.BUS_LOST, bench.now_ns))
    assert not any(link.is_identified for link in bench.schedule.links.values())
    bench.run(1000)
    assert requests([slot for _, slot in bench.sent[before:]])[:3] == OFF
    assert len(bench.requests(Purpose.IDENTIFY, before)) == 4


# -- identity


def test_a_wrong_module_type_is_never_published() -> None:
    bench = WireBench()
    bench.slaves.words[DOCK, 0x0104] = 9
    bench.settle(3000)
    assert DOCK not in {p.block.unit for p in bench.published}
    assert "another module" in bench.schedule.links[DOCK].problem
    assert len([r for r in bench.requests(Purpose.IDENTIFY) if r.unit == DOCK]) <= 4, "it is left alone in between"


def test_a_module_that_is_exchanged_under_power_stops_being_published() -> None:
    bench = WireBench().settle()
    bench.slaves.words[DOCK, 0x0104] = 9
    bench.run(32_000)
    count = len(bench.published)
    bench.run(2000)
    assert DOCK not in {p.block.unit for p in bench.published[count:]}


def test_a_module_that_refuses_to_say_who_it_is_does_not_fill_the_wire() -> None:
    bench = WireBench()
    bench.slaves.refusing.add(POWER)
    bench.settle(3000)
    assert 2 <= len([r for r in bench.requests(Purpose.IDENTIFY) if r.unit == POWER]) <= 4
    assert any(p.block.poll is PollClass.SAFETY for p in bench.published[-20:])


def test_a_map_that_cannot_be_identified_is_never_read() -> None:
    power, *others = shipped_maps()
    nameless = tuple(evolve(s, role=None) if s.role == "identity.type" else s for s in power.registers)
    bench = WireBench(maps=(evolve(power, registers=nameless), *others)).settle()
    assert POWER not in {slot.request.unit for _, slot in bench.sent}
    assert bench.schedule.links[DOCK].is_identified


def safety_gaps_ms(bench: WireBench, since_ns: int) -> list[float]:
    times = [p.received_ns for p in bench.published if p.block.poll is PollClass.SAFETY and p.received_ns >= since_ns]
    return [(later - earlier) / MS for earlier, later in itertools.pairwise(times)]


@pytest.mark.parametrize("dead", [{POWER}, {DOCK}, {POWER, DOCK}, {POWER, DOCK, TRAVEL}])
def test_modules_that_are_not_there_do_not_delay_the_safety_poll(dead: set[int]) -> None:
    bench = WireBench()
    bench.slaves.silent |= dead
    bench.settle(1000).run(6000)
    gaps = safety_gaps_ms(bench, START_NS + S)
    assert len(gaps) > 80
    assert max(gaps) < 150


@pytest.mark.parametrize("dead", [{POWER}, {DOCK}, {TRAVEL}, {POWER, DOCK, TRAVEL}])
def test_modules_that_died_do_not_delay_the_safety_poll(dead: set[int]) -> None:
    bench = WireBench().settle()
    bench.slaves.silent |= dead
    since_ns = bench.now_ns
    bench.run(6000)
    gaps = safety_gaps_ms(bench, since_ns)
    assert len(gaps) > 80
    assert max(gaps) < 150


def test_a_dead_module_is_left_alone_for_a_second_and_found_again() -> None:
    bench = WireBench().settle()
    bench.slaves.silent.add(POWER)
    bench.run(2500)
    before = len(bench.sent)
    bench.run(4000)
    asked = [slot for _, slot in bench.sent[before:] if slot.request.unit == POWER]
    assert 2 <= len(asked) <= 6
    bench.slaves.silent.clear()
    count = len(bench.published)
    bench.run(2500)
    assert bench.schedule.links[POWER].is_identified
    assert POWER in {p.block.unit for p in bench.published[count:]}


def test_what_answers_after_a_silence_must_prove_who_it_is_before_it_is_published() -> None:
    bench = WireBench().settle()
    bench.slaves.silent.add(DOCK)
    bench.run(2500)
    bench.slaves.silent.clear()
    bench.slaves.words[DOCK, 0x0104] = 9
    count = len(bench.published)
    bench.run(4000)
    assert DOCK not in {p.block.unit for p in bench.published[count:]}


# -- polling


def test_a_damaged_safety_reply_is_asked_for_again_at_once() -> None:
    bench = WireBench().settle()
    slot = bench.next_slot()
    while slot.block is None or slot.block.poll is not PollClass.SAFETY:
        bench.finish(slot, bench.slaves.answer(slot.request))
        slot = bench.next_slot()
    bench.finish(slot, Failure.NOISE)
    probe = bench.next_slot()
    assert (probe.purpose, probe.request) == (Purpose.FENCE, ReadRegisters(SAFETY, 0x0100, 1))
    bench.finish(probe, bench.slaves.answer(probe.request))
    again = bench.next_slot()
    assert (again.purpose, again.request) == (Purpose.POLL, slot.request)


def test_an_abandoned_poll_is_made_up_for() -> None:
    bench = WireBench().settle()
    slot = bench.next_slot()
    while slot.block is None or slot.block.poll is not PollClass.SAFETY:
        bench.finish(slot, bench.slaves.answer(slot.request))
        slot = bench.next_slot()
    since_ns = bench.now_ns
    bench.finish(slot, Failure.ABANDONED)
    bench.run(40)
    assert [p for p in bench.published if p.block is slot.block and p.requested_ns > since_ns]


def test_a_refused_block_waits_for_its_next_turn() -> None:
    bench = WireBench().settle()
    bench.slaves.refusing.add(POWER)
    since = len(bench.sent)
    bench.run(1000)
    asked = [slot for _, slot in bench.sent[since:] if slot.request.unit == POWER]
    assert len(asked) < 20


def test_time_outs_by_purpose() -> None:
    bench = WireBench("travel_motor_timeout").settle()
    bench.permit()
    bench.drive_on(200)
    limits = {(slot.purpose, slot.request.unit == SAFETY): slot.timeout_ns / MS for _, slot in bench.sent}
    assert limits[Purpose.STOP, True] == limits[Purpose.STOP, False] == 25
    assert limits[Purpose.POLL, True] == limits[Purpose.IDENTIFY, False] == 25
    assert limits[Purpose.POLL, False] == limits[Purpose.MOTION, False] == limits[Purpose.SET_UP, False] == 50


def test_a_module_in_trouble_is_asked_with_the_shorter_time_out() -> None:
    bench = WireBench().settle()
    bench.slaves.silent.add(TRAVEL)
    slots = [slot for slot in bench.run(150) if slot.request.unit == TRAVEL and slot.purpose is Purpose.POLL]
    assert slots[0].timeout_ns == 50 * MS
    assert all(slot.timeout_ns == 25 * MS for slot in slots[1:])


def test_while_moving_the_position_is_read_twenty_times_a_second() -> None:
    bench = driving()
    count = len(bench.published)
    bench.run(1000, renewing=FORWARD)
    found = [p for p in bench.published[count:] if p.block.poll is PollClass.POSITION]
    assert len(found) >= 17


def test_an_idle_wire_never_spins() -> None:
    bench = WireBench().settle()
    bench.slaves.silent |= {SAFETY, TRAVEL, DOCK, POWER}
    steps = 0
    ends_ns = bench.now_ns + 5 * S
    while bench.now_ns < ends_ns:
        bench.one()
        steps += 1
    assert steps < 2000


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


def test_a_safety_poll_goes_before_a_motion_frame_and_a_stop_before_both() -> None:
    bench = WireBench().settle()
    bench.now_ns += 200 * MS
    bench.permit()
    first = bench.next_slot()
    assert first.block is not None
    assert first.block.poll is PollClass.SAFETY
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


# -- the fence and stops


def test_after_a_time_out_a_probe_of_another_shape_goes_first() -> None:
    bench = WireBench().settle()
    slot = bench.next_slot()
    while slot.block is None or slot.request.unit != TRAVEL:
        bench.finish(slot, bench.slaves.answer(slot.request))
        slot = bench.next_slot()
    bench.finish(slot, Failure.SILENT)
    since = len(bench.sent)
    bench.run(100)
    after = [s for _, s in bench.sent[since:] if s.request.unit == TRAVEL]
    assert after[0].purpose is Purpose.FENCE
    assert slot.request in [s.request for s in after[1:]]


def test_stop_writes_are_exempt_from_the_fence_but_their_read_back_is_not() -> None:
    bench = driving()
    bench.slaves.silent.add(TRAVEL)
    bench.schedule.trip(StopKind.S0, (cause(C.CHAIN_OPEN),), bench.now_ns)
    assert requests(bench.run(76))[:3] == OFF
    bench.slaves.silent.clear()
    since = len(bench.sent)
    bench.run(200)
    travel = [slot for _, slot in bench.sent[since:] if slot.request.unit == TRAVEL]
    assert travel[0].request in OFF, "a write of a shape that timed out goes out again all the same"
    assert ReadRegisters(TRAVEL, 0x01, 3) in requests(travel)


def deaf_reads(bench: WireBench, unit: int, milliseconds: int) -> None:
    """The unit echoes every write and answers no read."""
    ends_ns = bench.now_ns + milliseconds * MS
    while bench.now_ns < ends_ns:
        slot = bench.next_slot()
        bench.sent.append((bench.now_ns, slot))
        is_deaf = slot.request.unit == unit and isinstance(slot.request, ReadRegisters)
        bench.finish(slot, Failure.SILENT if is_deaf else bench.slaves.answer(slot.request))


def test_a_unit_whose_read_back_is_held_up_does_not_hold_up_the_brake() -> None:
    bench = driving()
    bench.slaves.deaf_writes.add(SAFETY)
    bench.schedule.trip(StopKind.S0, (cause(C.CHAIN_OPEN),), bench.now_ns)
    deaf_reads(bench, TRAVEL, 1500)
    assert bench.slaves.words[SAFETY, BRAKE] == 1
    bench.slaves.deaf_writes.clear()
    since_ns = bench.now_ns
    deaf_reads(bench, TRAVEL, 200)
    assert bench.slaves.words[SAFETY, BRAKE] == 0
    assert ReadRegisters(SAFETY, BRAKE, 1) in [slot.request for at, slot in bench.sent if at >= since_ns]


def test_a_stop_is_verified_as_soon_as_a_module_answers_again() -> None:
    bench = driving()
    bench.schedule.trip(StopKind.S0, (cause(C.CHAIN_OPEN),), bench.now_ns)
    bench.slaves.silent |= {SAFETY, TRAVEL}
    bench.run(5000)
    bench.slaves.silent.clear()
    bench.slaves.words[DOCK, VELOCITY] = 0
    bench.run(4000)
    report = bench.schedule.stop_report
    assert report is not None
    assert report.phase is StopPhase.STANDSTILL
    assert all(link.is_identified for link in bench.schedule.links.values())


def test_a_closed_port_lets_the_limits_of_a_stop_run() -> None:
    bench = driving()
    bench.schedule.close()
    bench.schedule.trip(StopKind.S1, (cause(C.BUS_LOST),), bench.now_ns)
    for _ in range(200):
        bench.now_ns += 10 * MS
        bench.schedule.observe_closed(bench.now_ns)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, report.phase, report.first_frame_ns) == (StopKind.S0, StopPhase.NOT_CONFIRMED, None)
    assert {"stop_unverified", "stop_late"} <= codes(report.causes)
    assert "No frame can be sent" in report.residual


def test_an_open_port_watches_its_own_stop() -> None:
    bench = driving()
    bench.schedule.trip(StopKind.S1, (cause(C.OPERATOR_STOP),), bench.now_ns)
    bench.schedule.observe_closed(bench.now_ns + 10 * S)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, report.residual) == (StopKind.S1, "")


def test_one_still_measurement_is_not_standstill_on_the_wire_either() -> None:
    bench = driving()
    bench.schedule.trip(StopKind.S1, (cause(C.OPERATOR_STOP),), bench.now_ns)
    bench.slaves.words[DOCK, VELOCITY] = 0
    while not (bench.published and bench.published[-1].block.poll is PollClass.POSITION):
        bench.one()
    bench.slaves.words[DOCK, VELOCITY] = 60
    bench.run(300)
    report = bench.schedule.stop_report
    assert report is not None
    assert report.standstill_ns is None


@pytest.mark.parametrize("unit", [SAFETY, TRAVEL, DOCK, POWER])
def test_a_short_burst_of_noise_loses_nobody(unit: int) -> None:
    bench = WireBench().settle()
    bench.slaves.noisy.add(unit)
    bench.run(50)
    bench.slaves.noisy.clear()
    bench.run(100)
    link = bench.schedule.links[unit]
    assert (link.is_identified, link.is_paused(bench.now_ns), link.failures) == (True, False, 0)
