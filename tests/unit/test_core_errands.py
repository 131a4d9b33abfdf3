"""Errands: what goes out in which order, what is repeated, and how each of them ends."""

from itertools import pairwise

from attrs import evolve

from oht50d.core.errands import BUSY_PAUSE_NS, MAX_QUEUED, SECOND_LOOK_NS, SPACING_NS, Errands, Patience
from oht50d.core.probe_budget import SHARE, ProbeBudget, module_claim
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteReply,
)
from oht50d.model.errands import Errand, ErrandOutcome, ErrandResult, ReadErrand, WriteErrand

MS = 1_000_000
READ = ReadRegisters(5, 0x33, 2)
LOOK = ReadRegisters(5, 0x25, 1)
WRITE = WriteRegister(5, 0x25, 7)
CLAIM = module_claim(9)
ECHO = WriteReply(5, 0x25, 1, 7)
Outcome = BusReply | Failure


def patience(request: BusRequest) -> Patience:
    """Unit 9 is bound by no map."""
    return Patience(25 * MS, 1, CLAIM) if request.unit == 9 else Patience(50 * MS, 2)


class Wire:
    """Asks for slots as the schedule does and answers them by a script; the clock is its own."""

    def __init__(self) -> None:
        self.budget = ProbeBudget(lambda: self.now_ns + 30 * MS)
        self.errands = Errands(patience, self.budget)
        self.now_ns = 0
        self.sent: list[BusRequest] = []
        self.ended: list[ErrandResult] = []

    def submit(self, errand: Errand) -> None:
        assert self.errands.submit(errand, self.ended.append) is not None

    def slot(self) -> Slot:
        wakeup_ns = self.errands.wakeup_ns(self.now_ns)
        assert wakeup_ns is not None
        self.now_ns = wakeup_ns
        slot = self.errands.next_slot(self.now_ns)
        assert slot is not None
        assert slot.purpose is Purpose.ERRAND
        return slot

    def slot_among_polls(self) -> Slot:
        """Asked every millisecond, as on a bus whose fast polls are due 30 ms later."""
        for _ in range(10_000):
            if (slot := self.errands.next_slot(self.now_ns)) is not None:
                return slot
            self.now_ns += MS
        raise AssertionError("the errand was never served")

    def answer(self, slot: Slot, outcome: Outcome) -> None:
        self.sent.append(slot.request)
        sent_ns, self.now_ns = self.now_ns, self.now_ns + 5 * MS
        is_failure = isinstance(outcome, Failure)
        reply, failure = (None, outcome) if isinstance(outcome, Failure) else (outcome, None)
        assert is_failure == (failure is not None)
        self.errands.complete(slot, ExchangeResult(slot.request, reply, failure, sent_ns, self.now_ns))

    def run(self, errand: Errand, *outcomes: Outcome) -> ErrandResult:
        self.submit(errand)
        for outcome in outcomes:
            assert self.ended == []
            self.answer(self.slot(), outcome)
        (result,) = self.ended
        assert self.errands.wakeup_ns(self.now_ns) is None
        return result


def words(*found: int) -> ReadReply:
    return ReadReply(5, found)


def test_a_read_tells_what_was_read_and_when() -> None:
    wire = Wire()
    result = wire.run(ReadErrand(READ), words(1, 2))
    assert result.outcome is ErrandOutcome.READ
    assert result.reply == words(1, 2)
    assert (result.requested_ns, result.received_ns, result.attempts) == (0, 5 * MS, 1)


def test_a_damaged_read_is_repeated_and_a_silent_one_once_more() -> None:
    assert Wire().run(ReadErrand(READ), Failure.NOISE, Failure.MISMATCH, words(1, 2)).attempts == 3
    assert Wire().run(ReadErrand(READ), Failure.NOISE, Failure.NOISE, Failure.NOISE).reason == "damaged reply"
    assert Wire().run(ReadErrand(READ), Failure.SILENT, words(1, 2)).outcome is ErrandOutcome.READ
    assert Wire().run(ReadErrand(READ), Failure.SILENT, Failure.SILENT).reason == "no reply"


def test_a_refused_read_is_not_repeated_and_a_busy_one_after_a_pause() -> None:
    refused = Wire().run(ReadErrand(READ), ExceptionReply(5, 3, 2))
    assert (refused.outcome, refused.reason, refused.reply) == (
        ErrandOutcome.FAILED, "exception 2 (illegal data address)", ExceptionReply(5, 3, 2)
    )  # fmt: skip
    wire = Wire()
    wire.submit(ReadErrand(READ))
    wire.answer(wire.slot(), ExceptionReply(5, 3, 6))
    busy_ns = wire.now_ns
    wire.answer(wire.slot(), words(1, 2))
    assert wire.now_ns - 5 * MS - busy_ns == BUSY_PAUSE_NS
    assert wire.ended[0].outcome is ErrandOutcome.READ


def test_what_a_stop_cuts_off_is_no_attempt_of_the_errand() -> None:
    result = Wire().run(ReadErrand(READ), *[Failure.ABANDONED] * 7, words(1, 2))
    assert result.outcome is ErrandOutcome.READ


def test_a_write_reads_before_and_after() -> None:
    wire = Wire()
    result = wire.run(WriteErrand(WRITE), words(3), ECHO, words(7))
    assert wire.sent == [LOOK, WRITE, LOOK]
    assert (result.outcome, result.before, result.after) == (ErrandOutcome.VERIFIED, 3, 7)
    assert (result.was_sent, result.is_echoed, result.reason) == (True, True, "")


def test_a_write_whose_echo_is_lost_is_read_back_and_not_sent_again() -> None:
    for lost in (Failure.SILENT, Failure.NOISE, Failure.MISMATCH, Failure.ABANDONED, Failure.LINK_LOST):
        wire = Wire()
        result = wire.run(WriteErrand(WRITE), words(3), lost, words(7))
        assert wire.sent == [LOOK, WRITE, LOOK]
        assert (result.outcome, result.is_echoed) == (ErrandOutcome.VERIFIED, False)
        assert "not sent again" in result.reason


def test_another_value_is_looked_at_twice_before_it_is_a_mismatch() -> None:
    wire = Wire()
    wire.submit(WriteErrand(WRITE))
    for outcome in (words(3), ECHO, words(3)):
        wire.answer(wire.slot(), outcome)
    looked_ns = wire.now_ns
    wire.answer(wire.slot(), words(3))
    assert wire.now_ns - 5 * MS - looked_ns == SECOND_LOOK_NS
    assert (wire.ended[0].outcome, wire.ended[0].after) == (ErrandOutcome.MISMATCH, 3)
    slow = Wire().run(WriteErrand(WRITE), words(3), ECHO, words(3), words(7))
    assert slow.outcome is ErrandOutcome.VERIFIED


def test_only_the_bits_that_count_are_compared() -> None:
    assert Wire().run(WriteErrand(WRITE, mask=0xFF), words(3), ECHO, words(0xAB07)).outcome is ErrandOutcome.VERIFIED


def test_what_cannot_be_read_back_is_unknown() -> None:
    result = Wire().run(WriteErrand(WRITE), words(3), ECHO, Failure.SILENT, Failure.SILENT)
    assert (result.outcome, result.is_echoed) == (ErrandOutcome.UNKNOWN, True)
    assert "cannot be read back" in result.reason
    wire = Wire()
    result = wire.run(WriteErrand(WRITE, is_readable=False), ECHO)
    assert wire.sent == [WRITE]
    assert result.outcome is ErrandOutcome.UNKNOWN


def test_a_module_that_refuses_is_a_rejection() -> None:
    result = Wire().run(WriteErrand(WRITE), words(3), ExceptionReply(5, 6, 3))
    assert (result.outcome, result.before) == (ErrandOutcome.REJECTED, 3)
    assert "exception 3" in result.reason


def test_without_the_word_before_nothing_is_written() -> None:
    wire = Wire()
    result = wire.run(WriteErrand(WRITE), Failure.SILENT, Failure.SILENT)
    assert (result.outcome, result.was_sent) == (ErrandOutcome.REJECTED, False)
    assert WRITE not in wire.sent


def test_the_gate_rejects_what_was_asked_for() -> None:
    wire = Wire()
    wire.submit(WriteErrand(WRITE))
    wire.answer(wire.slot(), words(3))
    wire.errands.refuse(wire.slot(), "a motion frame")
    assert (wire.ended[0].outcome, wire.ended[0].reason) == (ErrandOutcome.REJECTED, "a motion frame")
    assert not wire.ended[0].was_sent


def test_units_that_nobody_has_bound_get_what_the_budget_leaves() -> None:
    wire = Wire()
    for _ in range(3):
        wire.submit(ReadErrand(ReadRegisters(9, 0, 1)))
    times = []
    for _ in range(3):
        slot = wire.slot_among_polls()
        times.append(wire.now_ns)
        wire.answer(slot, Failure.SILENT)
        wire.budget.spend(CLAIM, times[-1], wire.now_ns)
    assert slot.timeout_ns == 25 * MS
    assert all(later - sooner >= SHARE * 5 * MS for sooner, later in pairwise(times))
    assert len(wire.ended) == 3


def test_the_queue_is_bounded_and_in_order() -> None:
    wire = Wire()
    for number in range(MAX_QUEUED):
        wire.submit(ReadErrand(ReadRegisters(5, number, 1)))
    assert wire.errands.submit(ReadErrand(READ), wire.ended.append) is None
    for _ in range(MAX_QUEUED):
        wire.answer(wire.slot(), words(1))
    assert wire.sent == [ReadRegisters(5, number, 1) for number in range(MAX_QUEUED)]
    assert len(wire.ended) == MAX_QUEUED


def test_two_exchanges_are_spaced() -> None:
    wire = Wire()
    wire.submit(ReadErrand(READ))
    wire.submit(ReadErrand(READ))
    wire.answer(wire.slot(), words(1, 2))
    ended_ns = wire.now_ns
    assert wire.errands.next_slot(ended_ns + SPACING_NS - 1) is None
    assert wire.errands.next_slot(ended_ns + SPACING_NS) is not None


def test_a_time_out_that_the_schedule_has_shortened_changes_nothing() -> None:
    """A write whose outcome were lost for that would be sent again."""
    wire = Wire()
    wire.submit(WriteErrand(WRITE))
    for outcome in (words(3), ECHO, words(7)):
        wire.answer(evolve(wire.slot(), timeout_ns=9 * MS), outcome)
    assert wire.sent == [LOOK, WRITE, LOOK]
    assert wire.ended[0].outcome is ErrandOutcome.VERIFIED


def test_asking_again_asks_for_the_same() -> None:
    wire = Wire()
    wire.submit(WriteErrand(WRITE))
    assert wire.slot() == wire.slot()
    wire.answer(wire.slot(), words(3))
    assert wire.slot().request == wire.slot().request == WRITE


def test_withdrawn_before_it_was_sent_is_rejected_and_while_it_is_out_unknown() -> None:
    for steps, expected in ((0, ErrandOutcome.REJECTED), (1, ErrandOutcome.UNKNOWN), (2, ErrandOutcome.UNKNOWN)):
        wire = Wire()
        withdraw = wire.errands.submit(WriteErrand(WRITE), wire.ended.append)
        assert withdraw is not None
        for outcome in (words(3), ECHO)[:steps]:
            wire.answer(wire.slot(), outcome)
        out = wire.slot()
        withdraw()
        withdraw()
        wire.answer(out, words(7))
        assert [result.outcome for result in wire.ended] == [expected]
        assert wire.errands.waiting == 0


def test_a_read_that_is_withdrawn_has_failed() -> None:
    wire = Wire()
    withdraw = wire.errands.submit(ReadErrand(READ), wire.ended.append)
    assert withdraw is not None
    withdraw()
    assert wire.ended[0].outcome is ErrandOutcome.FAILED
    assert wire.errands.next_slot(10**12) is None
