"""Numbers of the bus: outcomes by module, turnarounds, and where the time of the wire goes."""

import pytest

from oht50d.core.bus_stats import BusStats
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import BusReply, ExceptionReply, ExchangeResult, Failure, ReadRegisters, ReadReply

MS = 1_000_000
CHARACTER_NS, SILENCE_NS = 86_806, 1_750_000
READ = ReadRegisters(5, 0x30, 12)
SLOT = Slot(READ, Purpose.POLL, 50 * MS)
REPLY = ReadReply(5, (0,) * 12)


def exchange(
    stats: BusStats, sent_ns: int, took_ns: int, reply: BusReply | None, failure: Failure | None = None,
    request: ReadRegisters = READ,
) -> int:  # fmt: skip
    """One exchange of 8 and 29 bytes (or none back); returns its end."""
    result = ExchangeResult(
        request, reply, failure, sent_ns, sent_ns + took_ns, 8, 0 if reply is None else 29
    )  # fmt: skip
    stats.record(SLOT, result)
    return sent_ns + took_ns


def stats() -> BusStats:
    return BusStats(CHARACTER_NS, SILENCE_NS)


def test_outcomes_are_counted_by_module() -> None:
    found = stats()
    outcomes: list[tuple[BusReply | None, Failure | None]] = [
        (REPLY, None),
        (ExceptionReply(5, 3, 2), None),
        (ExceptionReply(5, 3, 2), None),
        (ExceptionReply(5, 3, 6), None),
        (None, Failure.SILENT),
        (None, Failure.NOISE),
        (None, Failure.MISMATCH),
        (None, Failure.ABANDONED),
        (None, Failure.LINK_LOST),
    ]
    for number, (reply, failure) in enumerate(outcomes):
        exchange(found, number * 10 * MS, 5 * MS, reply, failure, ReadRegisters(5, number, 12))
    unit = found.units[5]
    assert unit.requests == 9
    assert (unit.replies, unit.timeouts, unit.crc_errors, unit.mismatches) == (1, 1, 1, 1)
    assert (unit.abandoned, unit.link_lost) == (1, 1)
    assert unit.exceptions == {2: 2, 6: 1}
    assert unit.retries == 0
    assert [*found.units] == [5]


def test_the_same_request_after_a_failure_is_a_retry() -> None:
    found = stats()
    for outcome in (Failure.NOISE, Failure.SILENT, None, None):
        exchange(found, 0, MS, None if outcome else REPLY, outcome)
    assert found.units[5].retries == 2


def test_turnaround_is_what_characters_and_silence_do_not_explain() -> None:
    found = stats()
    line_ns = 37 * CHARACTER_NS + SILENCE_NS
    at_ns = 0
    for number in range(32):
        at_ns = exchange(found, at_ns, line_ns + (number % 4) * MS, REPLY) + SILENCE_NS
    turnaround = found.units[5].turnaround
    assert turnaround.replies == 32
    assert turnaround.sum_ns == 8 * 6 * MS
    assert turnaround.counts[:6] == [8, 0, 8, 0, 8, 8]


def test_a_reply_that_comes_sooner_than_the_book_allows_has_no_turnaround() -> None:
    found = stats()
    for number in range(32):
        exchange(found, number * 10 * MS, 37 * CHARACTER_NS, REPLY)
    assert found.units[5].turnaround.counts[0] == 32
    assert found.units[5].turnaround.sum_ns == 0


def test_the_shares_of_the_wire_add_up() -> None:
    found = stats()
    at_ns = 0
    for _ in range(1000):
        at_ns = exchange(found, at_ns, 10 * MS, REPLY) + SILENCE_NS + 250_000
    shares = found.time.since_start(at_ns)
    assert shares is not None
    assert shares.characters + shares.silence + shares.waiting + shares.idle == pytest.approx(1.0)
    assert shares.characters == pytest.approx(37 * CHARACTER_NS / (12 * MS), rel=0.01)
    assert shares.silence == pytest.approx(1.75 / 12, rel=0.01)
    assert shares.dead == 0.0
    assert shares.span_s == pytest.approx(12.0, rel=0.01)
    recent = found.time.recent(at_ns)
    assert recent is not None
    assert recent.span_s <= 10.02


def test_a_wire_that_has_gone_quiet_is_idle() -> None:
    found = stats()
    assert found.time.recent(5) is None
    end_ns = exchange(found, 0, 10 * MS, REPLY)
    recent = found.time.recent(end_ns + 100_000 * MS)
    assert recent is not None
    assert recent.idle == 1.0


def test_waiting_for_a_module_that_never_answers_is_the_dead_share() -> None:
    found = stats()
    at_ns = 0
    for _ in range(3):
        at_ns = exchange(found, at_ns, 25 * MS, None, Failure.SILENT)
    shares = found.time.since_start(at_ns)
    assert shares is not None
    assert shares.dead == 0.0
    at_ns = exchange(found, at_ns, 25 * MS, None, Failure.SILENT)
    shares = found.time.since_start(at_ns)
    assert shares is not None
    assert shares.dead == pytest.approx((25 * MS - 8 * CHARACTER_NS) / (100 * MS))
    exchange(found, at_ns, 10 * MS, REPLY)
    assert not found.units[5].is_dead
