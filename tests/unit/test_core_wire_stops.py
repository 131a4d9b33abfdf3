"""Stops on the wire: the fence, silent units, a closed port; against slaves in memory."""

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
    TRAVEL,
    S,
    WireBench,
    cause,
    codes,
)

from oht50d.core.wire_schedule import Purpose, Slot
from oht50d.model.bus import (
    BusRequest,
    Failure,
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


@pytest.mark.parametrize("travel", ["travel_motor", "travel_motor_timeout"])
def test_modules_that_leave_dirt_in_high_bytes_move_and_stop_as_if_clean(travel: str) -> None:
    """An 8-bit register says nothing about its high byte (CONFLICTS.md): neither as a reading nor as a read-back."""
    bench = WireBench(travel)
    bench.slaves.dirt = 0xA500
    bench.settle(900)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.phase, report.unconfirmed_units) == (StopPhase.STANDSTILL, ())
    bench.drive_on()
    assert bench.slaves.words[TRAVEL, 0x0003] == 4
    bench.decide(stop=StopKind.S1, causes=(cause(CauseCode.ZONE_STOP, bench.now_ns),))
    bench.run(600)
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, report.phase) == (StopKind.S1, StopPhase.STANDSTILL)


@pytest.mark.parametrize("unit", [SAFETY, TRAVEL])
def test_a_module_that_comes_back_during_a_stop_is_not_made_to_wait_for_it(unit: int) -> None:
    """Long enough to be taken for dead, short enough to be stopped and read back within the limit of 300 ms."""
    bench = driving()
    bench.slaves.silent.add(unit)
    bench.run(150, renewing=FORWARD)
    assert bench.schedule.links[unit].is_dead
    tripped_ns = bench.now_ns
    bench.schedule.trip(StopKind.S0, (cause(C.SAFETY_LOST, tripped_ns),), tripped_ns)
    bench.run(100)
    bench.slaves.silent.clear()
    bench.slaves.words[DOCK, VELOCITY] = 0
    bench.run(1500)
    report = bench.schedule.stop_report
    assert report is not None
    assert codes(report.causes) == {"safety_lost"}, "it was confirmed in time"
    assert report.phase is StopPhase.STANDSTILL


def test_the_repeats_of_an_old_stop_keep_to_the_budget_of_dead_modules() -> None:
    bench = driving()
    bench.slaves.silent.add(TRAVEL)
    bench.run(150, renewing=FORWARD)
    bench.schedule.trip(StopKind.S0, (cause(C.TRAVEL_LOST, bench.now_ns),), bench.now_ns)
    bench.run(4000)
    count, began_ns = len(bench.sent), bench.now_ns
    bench.run(4000)
    silent_ns = sum(slot.timeout_ns for at, slot in bench.sent[count:] if slot.request.unit == TRAVEL)
    assert 0 < silent_ns <= (bench.now_ns - began_ns) / 20
