"""A scan with polling paused: what it asks, when it ends, and what the schedule does before and after it."""

import pytest
from core_fixtures import DOCK, FORWARD, MS, POWER, SAFETY, START_NS, TRAVEL, S, WireBench, cause, codes
from strange_modules import LIFTER, Answer, device, silent

from oht50d.core.bus_scan import (
    CANCELLED,
    COMPLETE,
    FOR_A_STOP,
    MAX_FOUND,
    OUT_OF_TIME,
    PORT_LOST,
    SLOW_TIMEOUT_NS,
    TOO_MANY,
    UNASKED,
    UNASKED_NS,
    BusScan,
    ScanOrder,
    character_bits,
    check_order,
)
from oht50d.core.wire_schedule import Idle, Purpose
from oht50d.model.bus import ExchangeResult, Failure, ReadRegisters, WriteRegisters
from oht50d.model.errors import CommandRejected
from oht50d.model.line import LineSettings, Parity
from oht50d.model.motion import CauseCode, StopKind, StopPhase

FAST, SLOW, ODD = LineSettings(115_200), LineSettings(9600), LineSettings(115_200, Parity.ODD)
PROBE_NS = 25 * MS
NARROW = ScanOrder(5, 7, (FAST, SLOW))


def run(scan: BusScan, answers: dict[tuple[int, LineSettings], Answer], now_ns: int = START_NS) -> int:
    """To the end; silence takes 27 ms, a reply 7 ms. When it ended."""
    while (slot := scan.next_slot(now_ns)) is not None:
        assert isinstance(slot.request, ReadRegisters)
        scan.note_looked(now_ns)
        answer = answers.get((slot.request.unit, scan.line), silent)(slot.request)
        reply, failure = (None, answer) if isinstance(answer, Failure) else (answer, None)
        sent_ns, now_ns = now_ns, now_ns + (27 if failure is Failure.SILENT else 7) * MS
        scan.complete(slot, ExchangeResult(slot.request, reply, failure, sent_ns, now_ns))
    return now_ns


def test_every_address_is_asked_with_every_setting_and_finds_carry_theirs() -> None:
    scan = BusScan(NARROW, PROBE_NS, START_NS)
    run(scan, {(6, SLOW): device(LIFTER), (5, FAST): device({0: 1})})
    progress = scan.progress()
    assert (progress.asked, progress.planned, progress.end, progress.is_running) == (6, 6, COMPLETE, False)
    assert [(one.address, one.line, one.type_code) for one in progress.found] == [(5, FAST, None), (6, SLOW, 6)]


def test_progress_says_where_it_is() -> None:
    scan = BusScan(NARROW, PROBE_NS, START_NS)
    assert (scan.progress().at, scan.progress().asked, scan.line) == ("0x05 at 115200 8N1", 0, FAST)


def test_slow_lines_get_more_time() -> None:
    assert BusScan(ScanOrder(1, 1, (SLOW,)), PROBE_NS, START_NS).next_slot(START_NS).timeout_ns == SLOW_TIMEOUT_NS  # type: ignore[union-attr] # it has one
    assert BusScan(ScanOrder(1, 1, (FAST,)), PROBE_NS, START_NS).next_slot(START_NS).timeout_ns == PROBE_NS  # type: ignore[union-attr] # it has one


def test_the_first_reason_of_an_end_stands() -> None:
    scan = BusScan(NARROW, PROBE_NS, START_NS)
    scan.finish(CANCELLED)
    scan.finish(PORT_LOST)
    assert (scan.progress().end, scan.next_slot(START_NS), scan.wakeup_ns(START_NS)) == (CANCELLED, None, None)


def test_it_is_bounded_in_time() -> None:
    scan = BusScan(NARROW, PROBE_NS, START_NS)
    assert scan.next_slot(START_NS + 600 * S) is None
    assert scan.progress().end == OUT_OF_TIME


def test_one_that_nobody_looks_at_any_more_ends() -> None:
    scan = BusScan(ScanOrder(1, 247, (SLOW, FAST)), PROBE_NS, START_NS)
    scan.note_looked(START_NS + 5 * S)
    assert scan.next_slot(START_NS + 5 * S + UNASKED_NS - 1) is not None
    assert scan.next_slot(START_NS + 5 * S + UNASKED_NS) is None
    assert scan.progress().end == UNASKED


def test_it_is_bounded_in_what_it_finds() -> None:
    lines = tuple(LineSettings(115_200 + number) for number in range(2))
    scan = BusScan(ScanOrder(1, 247, lines), PROBE_NS, START_NS)
    run(scan, {(unit, line): device(LIFTER) for unit in range(1, 248) for line in lines})
    assert (scan.progress().end, len(scan.progress().found)) == (TOO_MANY, MAX_FOUND + 1)


def test_bytes_that_nobody_asked_for_are_told_of_the_address_that_was_asked() -> None:
    scan = BusScan(ScanOrder(6, 6, (FAST,)), PROBE_NS, START_NS)
    scan.note_unexpected(6, START_NS)
    run(scan, {(6, FAST): device(LIFTER)})
    assert "two modules" in scan.progress().found[0].problem


@pytest.mark.parametrize(
    "order", [ScanOrder(0, 5, (FAST,)), ScanOrder(5, 4, (FAST,)), ScanOrder(1, 248, (FAST,)), ScanOrder(1, 2, ())]
)
def test_a_senseless_order_is_refused(order: ScanOrder) -> None:
    with pytest.raises(CommandRejected):
        check_order(order, PROBE_NS)


def test_one_that_would_take_too_long_is_refused_with_its_time() -> None:
    with pytest.raises(CommandRejected, match=r"\d+ s"):
        check_order(ScanOrder(1, 247, tuple(LineSettings(9600) for _ in range(33))), PROBE_NS)


def test_a_character_with_parity_has_a_bit_more() -> None:
    assert [character_bits(line) for line in (FAST, ODD, LineSettings(9600, stop_bits=2))] == [10, 11, 11]


# -- the schedule


def scanning(order: ScanOrder = NARROW) -> WireBench:
    bench = WireBench()
    bench.slaves.silent |= {6, 7, 8, 9}
    bench.settle(600)
    bench.schedule.begin_scan(BusScan(order, PROBE_NS, bench.now_ns))
    return bench


def test_nobody_is_polled_while_it_runs_and_the_line_is_its_own() -> None:
    bench = scanning(ScanOrder(6, 9, (FAST, SLOW)))
    assert bench.schedule.pause.line is FAST
    slots = bench.run(90)
    assert {slot.purpose for slot in slots} == {Purpose.SEARCH}
    assert {slot.request.unit for slot in slots} <= {6, 7, 8, 9}
    bench.run(60)
    assert bench.schedule.pause.line is SLOW


def test_the_decision_is_adopted_all_the_time() -> None:
    """The service manager's watchdog hangs on it."""
    bench = scanning()
    bench.decide()
    bench.one()
    assert bench.schedule.adopted_sequence == bench.sequence


def test_its_end_is_followed_by_what_follows_an_opening() -> None:
    bench = scanning(ScanOrder(6, 6, (FAST,)))
    before_ns = bench.now_ns
    bench.one()
    assert bench.schedule.pause.line is None
    since = len(bench.sent)
    slots = bench.run(20)
    assert [slot.purpose for slot in slots[:3]] == [Purpose.STOP] * 3
    assert slots[0].request == WriteRegisters(TRAVEL, 0x01, (0, 0, 0))
    opened_ns = bench.schedule.opened_ns
    assert opened_ns is not None
    assert opened_ns > before_ns
    bench.run(600)
    identified = [slot.request.unit for _, slot in bench.sent[since:] if slot.purpose is Purpose.IDENTIFY]
    assert identified == [SAFETY, POWER, TRAVEL, DOCK]
    report = bench.schedule.stop_report
    assert report is not None
    assert (report.kind, report.phase, codes(report.causes)) == (StopKind.S0, StopPhase.STANDSTILL, {"bus_scan"})


def test_a_stop_ends_it_at_once() -> None:
    bench = scanning()
    slot = bench.next_slot()
    assert bench.schedule.trip(StopKind.S1, (cause(CauseCode.OPERATOR_STOP, bench.now_ns),), bench.now_ns)
    assert bench.schedule.pause.line is None, "the port has to be set back first"
    progress = bench.schedule.pause.progress()
    assert progress is not None
    assert (progress.end, progress.is_running) == (FOR_A_STOP, False)
    bench.finish(slot, Failure.ABANDONED)
    assert [found.purpose for found in bench.run(15)][:3] == [Purpose.STOP] * 3
    report = bench.schedule.stop_report
    assert report is not None
    assert codes(report.causes) == {"bus_scan", "operator_stop"}, "and nothing is said of an unverified stop"


def test_a_decision_to_stop_ends_it() -> None:
    bench = scanning()
    assert bench.decide(stop=StopKind.S0, causes=(cause(CauseCode.CHAIN_OPEN, bench.now_ns),))
    assert not bench.schedule.pause.is_on


def test_a_lost_port_ends_it_and_the_opening_does_not_know_of_it_any_more() -> None:
    bench = scanning()
    bench.schedule.close()
    progress = bench.schedule.pause.progress()
    assert progress is not None
    assert progress.end == PORT_LOST
    bench.open()
    assert bench.run(15)[0].purpose is Purpose.STOP


def test_out_of_time_is_an_end_like_any_other() -> None:
    bench = scanning()
    bench.now_ns += 601 * S
    assert isinstance(bench.one(), Idle)
    assert bench.run(15)[0].purpose is Purpose.STOP


def test_never_while_the_drives_are_energised_or_a_stop_is_under_way() -> None:
    bench = WireBench()
    bench.settle(600).drive_on()
    with pytest.raises(CommandRejected, match="energised"):
        bench.schedule.begin_scan(BusScan(NARROW, PROBE_NS, bench.now_ns))
    bench.schedule.trip(StopKind.S1, (cause(CauseCode.OPERATOR_STOP, bench.now_ns),), bench.now_ns)
    with pytest.raises(CommandRejected, match="stop"):
        bench.schedule.begin_scan(BusScan(NARROW, PROBE_NS, bench.now_ns))


def test_not_twice_and_not_on_a_closed_port() -> None:
    with pytest.raises(CommandRejected, match="closed"):
        WireBench().schedule.begin_scan(BusScan(NARROW, PROBE_NS, START_NS))
    bench = scanning()
    with pytest.raises(CommandRejected, match="`oht50ctl modules scan --cancel` ends it"):
        bench.schedule.begin_scan(BusScan(NARROW, PROBE_NS, bench.now_ns))


def test_it_may_look_for_a_module_that_keeps_the_opening_from_its_end() -> None:
    """A drive that answers at another speed never confirms the S0 of the opening."""
    bench = WireBench()
    bench.slaves.silent |= {TRAVEL, 5, 6, 7}
    bench.settle(3000)
    assert bench.schedule.sequencer.is_active
    bench.schedule.begin_scan(BusScan(NARROW, PROBE_NS, bench.now_ns))
    assert {slot.purpose for slot in bench.run(100)} == {Purpose.SEARCH}


def test_no_permit_survives_it() -> None:
    bench = scanning(ScanOrder(6, 6, (FAST,)))
    bench.run(800, renewing=FORWARD)
    first = next(number for number, (_, slot) in enumerate(bench.sent) if slot.purpose is Purpose.MOTION)
    stops = [number for number, (_, slot) in enumerate(bench.sent) if slot.purpose is Purpose.STOP]
    assert max(stops) < first, "nothing moves before the S0 of its end is read back"
