"""Replies that say which request they answer, and a judge of what is told under which request.

A register without a role, and the upper byte of every 8-bit register (which no decoder looks at), carry the number of
the request; the code of an exception does too. What is told under a request must carry that request's words, and the
request must be the one under way.
"""

from attrs import define, field, frozen
from bus_fakes import Bench

from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_reply
from oht50d.core.stop_frames import StopFrame
from oht50d.core.wire_schedule import Slot
from oht50d.model.bus import BusRequest, ExceptionReply, ExchangeResult, ReadRegisters, ReadReply
from oht50d.model.registers import BlockReadings, DataType, RegisterSpec

MAX_ASKED = 1000
REFUSALS = (4, 5, 6, 8, 10, 11)
"""Exception codes: which one comes says which request is refused."""


@frozen
class Asked:
    """A request as its module got it, and the words that answer it and no other."""

    number: int
    request: BusRequest
    words: tuple[int, ...]

    @property
    def refusal(self) -> int:
        return REFUSALS[self.number % len(REFUSALS)]


@frozen
class Wrong:
    """Words that were told under a request which they do not answer; `owner` is the one that they do answer."""

    request: BusRequest
    sent_ns: int
    owner: Asked | None

    @property
    def is_same_block(self) -> bool:
        return self.owner is not None and self.owner.request == self.request


@define(slots=False)
class NumberedReplies:
    """The modules of a bench, asked through `reply`; owner of the truth about what was asked when."""

    bench: Bench
    wrong: dict[int, Wrong] = field(factory=dict)
    """By the time of the request."""
    judged: int = 0
    refusals: int = 0
    _asked: dict[int, Asked] = field(factory=dict)
    _number: int = 0
    _since_ns: int = 0

    def listen(self) -> None:
        """Judge every outcome from now on, as those get it who asked."""
        self._since_ns = now_ns()
        polls, sequencer = self.bench.schedule.polls, self.bench.schedule.sequencer
        complete_poll, complete_stop = polls.complete, sequencer.complete

        def take_poll(slot: Slot, result: ExchangeResult) -> BlockReadings | None:
            self._judge_result(result)
            return complete_poll(slot, result)

        def take_stop(frame: StopFrame, result: ExchangeResult) -> None:
            if frame.is_read_back:
                self._judge_result(result)
            complete_stop(frame, result)

        polls.complete = take_poll  # type: ignore[method-assign] # listens in
        sequencer.complete = take_stop  # type: ignore[method-assign] # listens in

    def reply(self, request: BusRequest, honest: bytes, *, is_refused: bool = False) -> bytes:
        """The frame that answers a request which is sent now; once for each request."""
        self._number += 1
        if not isinstance(request, ReadRegisters):
            return honest
        asked = self._asked[now_ns()] = Asked(self._number, request, self._words(request))
        while len(self._asked) > MAX_ASKED:
            del self._asked[next(iter(self._asked))]
        if is_refused:
            return encode_reply(ExceptionReply(request.unit, 3, asked.refusal))
        return encode_reply(ReadReply(request.unit, asked.words))

    def judge(self, readings: BlockReadings) -> None:
        """What was published."""
        if readings.requested_ns >= self._since_ns:
            self._judge(readings.block.request, readings.words, readings.requested_ns)

    def _judge_result(self, result: ExchangeResult) -> None:
        if result.sent_ns < self._since_ns:
            return
        if isinstance(result.reply, ReadReply):
            self._judge(result.request, result.reply.words, result.sent_ns)
        elif isinstance(result.reply, ExceptionReply):
            self.refusals += 1
            if result.reply.code != self._asked[result.sent_ns].refusal:
                self.wrong[result.sent_ns] = Wrong(result.request, result.sent_ns, None)

    def _judge(self, request: BusRequest, words: tuple[int, ...], sent_ns: int) -> None:
        self.judged += 1
        asked = self._asked[sent_ns]
        if asked.request == request and asked.words == words and asked.number == self._number:
            return
        owner = next((other for other in self._asked.values() if other.words == words), None)
        self.wrong[sent_ns] = Wrong(request, sent_ns, owner)

    def _words(self, request: ReadRegisters) -> tuple[int, ...]:
        module = self.bench.modules[request.unit]
        span = range(request.address, request.address + request.count)
        return tuple(self._word(module.map.by_address[a], module.word(a)) for a in span)

    def _word(self, spec: RegisterSpec, word: int) -> int:
        if spec.role is None and not spec.is_writable:
            return (self._number + 31 * spec.address) & 0xFFFF
        if spec.data_type is DataType.UINT8:
            number = self._number >> 8 if spec.address % 3 == 0 else self._number
            return (number & 0xFF) << 8 | word
        return word
