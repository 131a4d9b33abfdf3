"""What goes out on the wire next: openings, identity, polls; against slaves in memory."""

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
    SAFETY,
    START_NS,
    TIMES,
    TRAVEL,
    S,
    WireBench,
    cause,
    codes,
    shipped_maps,
)

from oht50d.core.poll_rates import VITAL
from oht50d.core.wire_schedule import Idle, Purpose, Slot
from oht50d.model.bus import (
    BusRequest,
    Failure,
    Hint,
    ReadRegisters,
    WriteRegister,
    WriteRegisters,
)
from oht50d.model.motion import CauseCode, StopKind, StopPhase
from oht50d.model.registers import PollClass

C = CauseCode
OFF = [
    WriteRegisters(TRAVEL, 0x01, (0, 0, 0)),
    WriteRegisters(TRAVEL, 0x11, (0, 0, 0)),
    WriteRegister(SAFETY, BRAKE, 0),
]
VELOCITY = 0x33


def requests(slots: list[Slot]) -> list[BusRequest]:
    return [slot.request for slot in slots]


def driving(travel: str = "travel_motor", **changes: Any) -> WireBench:
    """Everything identified, drives energised, rolling at 60 mm/s."""
    bench = WireBench(travel, evolve(CONFIG, **changes)).settle().drive_on()
    bench.slaves.words[DOCK, VELOCITY] = 60
    bench.run(100, renewing=FORWARD)
    return bench


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
    asked = [r for r in bench.requests(Purpose.IDENTIFY) if r.unit == POWER]
    assert [r.count for r in asked if isinstance(r, ReadRegisters)][:4] == [15, 7, 3, 2]
    assert len(asked) <= 8, "halved down to the type register, then left alone"
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


def test_a_safety_poll_that_is_due_goes_before_the_identification_of_others() -> None:
    bench = WireBench()
    bench.slaves.silent |= {POWER, DOCK, TRAVEL}
    bench.open().run(3000)
    assert bench.schedule.links[SAFETY].is_identified
    bench.now_ns += 2 * S
    order = [bench.next_slot()]
    while len(order) < 3:
        bench.finish(order[-1], bench.slaves.answer(order[-1].request))
        order.append(bench.next_slot())
    polled = next(i for i, slot in enumerate(order) if slot.block is not None and slot.block.poll is PollClass.SAFETY)
    assert all(slot.purpose is Purpose.STOP for slot in order[:polled])


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
    assert (probe.purpose, probe.request) == (Purpose.FENCE, ReadRegisters(SAFETY, 0x00F8, 1))
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


def test_time_outs_at_rest_by_purpose() -> None:
    bench = WireBench("travel_motor_timeout").settle()
    bench.run(1000)
    at_rest = [slot for at, slot in bench.sent if at > START_NS + 600 * MS]
    limits = {(slot.purpose, slot.request.unit == SAFETY): slot.timeout_ns / MS for slot in at_rest}
    assert (limits[Purpose.POLL, True], limits[Purpose.POLL, False]) == (25, 50)
    stops = {slot.timeout_ns / MS for _, slot in bench.sent if slot.purpose is Purpose.STOP}
    assert stops == {11.75, 25}
    for slot in (slot for _, slot in bench.sent if slot.purpose is Purpose.IDENTIFY):
        assert TIMES.speed.whole_ns(slot.request, slot.timeout_ns) <= 25 * MS, "all of a probe"


def test_while_moving_no_silence_makes_a_vital_block_late_by_more_than_half_its_period() -> None:
    bench = driving("travel_motor_timeout")
    times: dict[int, list[int]] = {}
    for _ in range(400):
        bench.permit()
        at_ns = bench.now_ns
        slot = bench.schedule.next(at_ns)
        if isinstance(slot, Idle):
            bench.now_ns = slot.until_ns
            continue
        whole_ns = TIMES.speed.whole_ns(slot.request, slot.timeout_ns)
        due = [sent[-1] + 50 * MS for sent in times.values()]
        if slot.block is not None and slot.block.poll in VITAL:
            times.setdefault(slot.block.unit << 16 | slot.block.first, []).append(at_ns)
        if len(times) == 4:
            assert whole_ns <= max(25 * MS, max(due) + 25 * MS - at_ns) + 1
        bench.finish(slot, bench.slaves.answer(slot.request))
    assert {len(sent) > 20 for sent in times.values()} == {True}


def test_a_module_in_trouble_is_asked_with_the_shorter_time_out() -> None:
    bench = WireBench().settle()
    bench.slaves.silent.add(TRAVEL)
    slots = [slot for slot in bench.run(150) if slot.request.unit == TRAVEL and slot.purpose is Purpose.POLL]
    assert slots[0].timeout_ns == 50 * MS
    assert all(TIMES.speed.whole_ns(slot.request, slot.timeout_ns) <= 25 * MS for slot in slots[1:])


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


def test_a_pressed_reset_button_is_read_twenty_times_a_second() -> None:
    bench = WireBench().settle()
    bench.run(1000)
    inputs = [at for at, slot in bench.sent if slot.block is not None and slot.block.poll is PollClass.INPUTS]
    rest = len(inputs)
    bench.slaves.words[SAFETY, 0x0024] = 1
    bench.run(1000)
    pressed = [at for at, slot in bench.sent if slot.block is not None and slot.block.poll is PollClass.INPUTS]
    assert rest <= 10
    assert 14 <= len(pressed) - rest <= 21


def test_an_echo_of_the_question_is_not_held_against_an_address() -> None:
    bench = WireBench().settle()
    told: list[int] = []
    bench.schedule.on_unexpected = lambda unit, _now_ns: told.append(unit)
    bench.schedule.note_unexpected(b"\x06\x03\x01\x00\x00\x09\x84\x47", bench.now_ns, Hint.ECHO)
    assert told == []
    bench.schedule.note_unexpected(b"\x06\x03", bench.now_ns)
    assert told == [6]
