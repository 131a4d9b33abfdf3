"""Errands: reads and verified writes that somebody outside asks for, one after the other (owner: the bus desk; pure).

Nothing that is not idempotent is sent twice: a write whose echo is lost is read back, not repeated. Reads are repeated
by kind: a damaged reply at once, a silent module once more, a busy one after a pause. Whether a frame may go out at all
is the motion gate's to say, not this one's.
"""

from collections import deque
from collections.abc import Callable
from typing import assert_never

from attrs import define, field, frozen

from oht50d.core.frame_words import exception_words
from oht50d.core.probe_budget import ProbeBudget
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import BusRequest, ExceptionReply, ExchangeResult, Failure, ReadRegisters, ReadReply
from oht50d.model.errands import Errand, ErrandOutcome, ErrandResult, ReadErrand, WriteErrand

NOT_SERVED = "it was not served in time: a stop or a scan has the bus, or too many ask"
MAX_QUEUED = 32
"""One more is refused; nobody's errand is dropped for another's."""
SPACING_NS = 20_000_000
"""Between two exchanges: whoever watches registers from outside leaves the wire to the polls."""
BUSY_PAUSE_NS = 50_000_000
SECOND_LOOK_NS = 100_000_000
"""A module may take over a setting a little later than it echoes it."""
MAX_DAMAGED, MAX_BUSY = 3, 3
"""Attempts of one read by what went wrong; for silence it is the module's to say."""
BUSY_CODES = frozenset({5, 6})
"""Acknowledge and server device busy: MODBUS Application Protocol V1.1b3, section 7."""


@define(eq=False)
class _Job:
    """One errand under way; a write is `is_written` from the moment its frame may have gone out."""

    errand: Errand
    on_done: Callable[[ErrandResult], None]
    not_before_ns: int = 0
    attempts: int = 0
    damaged: int = 0
    silent: int = 0
    busy: int = 0
    before: int | None = None
    is_written: bool = False
    is_echoed: bool = False
    has_looked: bool = False
    why: list[str] = field(factory=list)

    def forget_failures(self) -> None:
        """The next exchange is another one."""
        self.damaged = self.silent = self.busy = 0


@frozen
class Patience:
    """How long a reply is waited for, and how often a read is tried at a module that stays silent.

    `claim` is under whose name the budget is asked where nobody may answer; None where somebody does.
    """

    timeout_ns: int
    silent_tries: int
    claim: str | None = None


class Errands:
    """A `SlotSource`. Asking has no effect; what counts is `complete`."""

    def __init__(self, patience: Callable[[BusRequest], Patience], budget: ProbeBudget) -> None:
        """`patience(request)` depends on whether that unit answers at all; the schedule spends what a probe took."""
        self._patience = patience
        self._budget = budget
        self._jobs: deque[_Job] = deque()
        self._free_ns = 0
        self._offered: tuple[Slot, _Job] | None = None
        self.counts = dict.fromkeys(ErrandOutcome, 0)

    @property
    def waiting(self) -> int:
        """How many are queued or under way."""
        return len(self._jobs)

    def submit(self, errand: Errand, on_done: Callable[[ErrandResult], None]) -> "Callable[[], None] | None":
        """Queue it; `on_done` is called once. Returns what withdraws it, None if the queue is full (and then
        `on_done` is not called)."""
        if len(self._jobs) >= MAX_QUEUED:
            return None
        job = _Job(errand, on_done)
        self._jobs.append(job)
        return lambda: self._withdraw(job)

    def note_rejected(self) -> None:
        """A write was refused before it was queued."""
        self.counts[ErrandOutcome.REJECTED] += 1

    # -- SlotSource

    def next_slot(self, now_ns: int) -> Slot | None:
        """The next exchange of the oldest errand."""
        if not self._jobs or now_ns < max(self._free_ns, self._jobs[0].not_before_ns):
            return None
        job = self._jobs[0]
        request = _next_request(job)
        patience = self._patience(request)
        if patience.claim is not None and not self._budget.may_probe(patience.claim, now_ns):
            return None
        slot = Slot(request, Purpose.ERRAND, patience.timeout_ns)
        self._offered = (slot, job)
        return slot

    def complete(self, slot: Slot, result: ExchangeResult) -> None:
        """The outcome of the exchange that `next_slot` asked for."""
        self._free_ns = result.ended_ns + SPACING_NS
        job = self._job_of(slot)
        if job is None:
            return
        job.attempts += 1
        match job.errand:
            case ReadErrand():
                self._complete_read(job, result)
            case WriteErrand():
                if slot.request == job.errand.request:
                    self._complete_write(job, job.errand, result)
                else:
                    self._complete_look(job, job.errand, result)
            case _:
                assert_never(job.errand)

    def refuse(self, slot: Slot, why: str) -> None:
        """The motion gate says no."""
        job = self._job_of(slot)
        if job is not None:
            self._end(job, ErrandResult(ErrandOutcome.REJECTED, why, attempts=job.attempts))

    def wakeup_ns(self, now_ns: int) -> int | None:
        """When the oldest errand may go on."""
        if not self._jobs:
            return None
        job = self._jobs[0]
        is_probe = self._patience(job.errand.request).claim is not None
        return max(self._free_ns, job.not_before_ns, now_ns, self._budget.opens_ns if is_probe else 0)

    # -- outcomes

    def _complete_read(self, job: _Job, result: ExchangeResult) -> None:
        if self._is_repeated(job, result):
            return
        if result.is_valid:
            self._end(job, ErrandResult(ErrandOutcome.READ, reply=result.reply, attempts=job.attempts,
                                        requested_ns=result.sent_ns, received_ns=result.ended_ns))  # fmt: skip
        else:
            self._end(job, ErrandResult(ErrandOutcome.FAILED, _words(result), result.reply, attempts=job.attempts))

    def _complete_write(self, job: _Job, errand: WriteErrand, result: ExchangeResult) -> None:
        job.is_written = True
        job.forget_failures()
        if isinstance(result.reply, ExceptionReply):
            self._end(job, self._told(job, ErrandOutcome.REJECTED, f"the module refused it: {_words(result)}"))
            return
        job.is_echoed = result.is_valid
        if not result.is_valid:
            job.why.append(f"no echo ({_words(result)}); not sent again")
        if not errand.is_readable:
            job.why.append("a write-only register cannot be read back")
            self._end(job, self._told(job, ErrandOutcome.UNKNOWN))

    def _complete_look(self, job: _Job, errand: WriteErrand, result: ExchangeResult) -> None:
        """The word before the write, or the one read back after it."""
        if self._is_repeated(job, result):
            return
        job.forget_failures()
        word = result.reply.words[0] if isinstance(result.reply, ReadReply) else None
        if not job.is_written:
            if word is None:
                why = f"it cannot be read before writing: {_words(result)}"
                self._end(job, self._told(job, ErrandOutcome.REJECTED, why))
                return
            job.before = word
        elif word is None:
            job.why.append(f"it cannot be read back: {_words(result)}")
            self._end(job, self._told(job, ErrandOutcome.UNKNOWN))
        else:
            self._judge(job, errand, word, result)

    def _judge(self, job: _Job, errand: WriteErrand, word: int, result: ExchangeResult) -> None:
        is_equal = (word ^ errand.request.word) & errand.mask == 0
        if not is_equal and not job.has_looked:
            job.has_looked, job.not_before_ns = True, result.ended_ns + SECOND_LOOK_NS
            return
        outcome = ErrandOutcome.VERIFIED if is_equal else ErrandOutcome.MISMATCH
        self._end(job, self._told(job, outcome, after=word, result=result))

    def _told(
        self, job: _Job, outcome: ErrandOutcome, why: str = "", *, after: int | None = None,
        result: ExchangeResult | None = None,
    ) -> ErrandResult:  # fmt: skip
        reason = "; ".join([*job.why, why] if why else job.why)
        return ErrandResult(
            outcome, reason, None, job.before, after, job.is_written, job.is_echoed,
            None if result is None else result.sent_ns, None if result is None else result.ended_ns, job.attempts,
        )  # fmt: skip

    def _is_repeated(self, job: _Job, result: ExchangeResult) -> bool:
        """True if this read goes out again; what a stop has cut off does not count as an attempt."""
        if isinstance(result.reply, ExceptionReply):
            job.busy += 1
            job.not_before_ns = result.ended_ns + BUSY_PAUSE_NS
            return result.reply.code in BUSY_CODES and job.busy < MAX_BUSY
        match result.failure:
            case Failure.ABANDONED:
                return True
            case Failure.NOISE | Failure.MISMATCH:
                job.damaged += 1
                return job.damaged < MAX_DAMAGED
            case Failure.SILENT:
                job.silent += 1
                return job.silent < self._patience(result.request).silent_tries
        return False

    # -- helpers

    def _job_of(self, slot: Slot) -> _Job | None:
        """Whose slot it is, by its request (the schedule may have shortened its time-out); None if that errand has
        been withdrawn since."""
        offered, self._offered = self._offered, None
        if offered is None or offered[0].request != slot.request or offered[1] not in self._jobs:
            return None
        return offered[1]

    def _is_on_the_line(self, job: _Job) -> bool:
        """Whether the frame of a write may have gone out, though nobody has told what came of it."""
        return self._offered is not None and self._offered[1] is job and self._offered[0].request == job.errand.request

    def _withdraw(self, job: _Job) -> None:
        """Nobody waits for it any more; one that was written already stays unknown."""
        if job not in self._jobs:
            return
        outcome = ErrandOutcome.FAILED
        if isinstance(job.errand, WriteErrand):
            job.is_written = job.is_written or self._is_on_the_line(job)
            outcome = ErrandOutcome.UNKNOWN if job.is_written else ErrandOutcome.REJECTED
        self._end(job, self._told(job, outcome, NOT_SERVED))

    def _end(self, job: _Job, result: ErrandResult) -> None:
        self._jobs.remove(job)
        self.counts[result.outcome] += 1
        job.on_done(result)


def _next_request(job: _Job) -> BusRequest:
    """Of a write that can be read: the word before, the write, the word after."""
    errand = job.errand
    is_look = isinstance(errand, WriteErrand) and errand.is_readable and (job.is_written or job.before is None)
    if isinstance(errand, WriteErrand) and is_look:
        return ReadRegisters(errand.request.unit, errand.request.address, 1)
    return errand.request


def _words(result: ExchangeResult) -> str:
    reply = result.reply
    if isinstance(reply, ExceptionReply):
        return exception_words(reply.code)
    words = {
        Failure.SILENT: "no reply",
        Failure.NOISE: "damaged reply",
        Failure.MISMATCH: "a reply to something else",
        Failure.ABANDONED: "given up for a stop",
        Failure.LINK_LOST: "the port was lost",
    }
    return words.get(result.failure, "not sent") if result.failure is not None else "a reply of another shape"
