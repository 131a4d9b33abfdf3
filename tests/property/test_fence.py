"""Whatever a unit does with its replies, as long as they come in order: what the fence lets through is the answer.

The adversary holds every reply of one unit back, loses or damages it, or hands any number of them out, oldest first, in
an exchange of its choice; under suspicion it also hands out copies. Attribution is decided by request number.
"""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from oht50d.codec.rtu import encode_reply
from oht50d.core.fence import Fence, shape_of
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)

UNIT = 4
MS = 1_000_000
WANTED: list[BusRequest] = [
    ReadRegisters(UNIT, 0x00, 13),
    ReadRegisters(UNIT, 0x10, 13),
    ReadRegisters(UNIT, 0x20, 1),
    ReadRegisters(UNIT, 0x30, 2),
    WriteRegister(UNIT, 0x07, 1),
    WriteRegister(UNIT, 0x07, 2),
]
STOP = WriteRegisters(UNIT, 0x01, (0, 0, 0))


class Unit:
    """Replies in the order of the requests; `late` holds (number of the request, request, reply)."""

    def __init__(self) -> None:
        self.fence = Fence()
        self.late: deque[tuple[int, BusRequest, BusReply]] = deque()
        self.number = 0
        self.now_ns = 0
        self.accepted = 0

    def ask(
        self, wanted: BusRequest, fate: str, released: int, *, refuses: bool, is_write_exempt: bool = False
    ) -> bool:
        """One exchange; True if it brought an answer to `wanted`."""
        is_free = self.fence.is_free(wanted) or is_write_exempt
        request = wanted if is_free else self.fence.probe(wanted, self.now_ns)
        self.number += 1
        self.now_ns += 30 * MS
        self.fence.sent(request)
        if fate != "lost":
            self.late.append((self.number, request, self.reply(request, refuses=refuses)))
        came = [self.late.popleft() for _ in range(min(released, len(self.late)))]
        if fate == "prompt":
            came += list(self.late)
            self.late.clear()
        result = self.exchange(request, came, is_damaged=fate == "damaged")
        return request is wanted and result.reply is not None

    def reply(self, request: BusRequest, *, refuses: bool) -> BusReply:
        if refuses:
            return ExceptionReply(UNIT, shape_of(request)[0], 2)
        if isinstance(request, ReadRegisters):
            return ReadReply(UNIT, (self.number,) * request.count)
        if isinstance(request, WriteRegister):
            return WriteReply(UNIT, request.address, 1, request.word)
        return WriteReply(UNIT, request.address, len(request.words), None)

    def exchange(
        self, request: BusRequest, came: list[tuple[int, BusRequest, BusReply]], *, is_damaged: bool
    ) -> ExchangeResult:
        """What the line makes of the replies that come while `request` is outstanding, the oldest first."""
        outcome: tuple[int, BusReply] | None = None
        for number, asked, reply in came:
            if outcome is not None:
                self.fence.unexpected(encode_reply(reply), self.now_ns)
            elif self._fits(request, asked, reply):
                outcome = (number, reply)
            else:
                self.fence.unexpected(encode_reply(reply), self.now_ns)
        sent_ns = self.now_ns - 30 * MS
        if outcome is None or is_damaged:
            failure = Failure.SILENT if outcome is None else Failure.NOISE
            return self.fence.attributed(ExchangeResult(request, None, failure, sent_ns, self.now_ns))
        result = self.fence.attributed(ExchangeResult(request, outcome[1], None, sent_ns, self.now_ns))
        if result.reply is not None and (request != STOP or isinstance(result.reply, ExceptionReply)):
            assert outcome[0] == self.number, "a reply to an older request was let through"
            self.accepted += 1
        return result

    @staticmethod
    def _fits(request: BusRequest, asked: BusRequest, reply: BusReply) -> bool:
        """What the client takes for the reply to `request`."""
        if isinstance(reply, ExceptionReply):
            return reply.function == shape_of(request)[0]
        if isinstance(reply, ReadReply):
            return isinstance(request, ReadRegisters) and len(reply.words) == request.count
        return request == asked


FATES = st.sampled_from(["prompt", "late", "late", "lost", "damaged"])
STEPS = st.lists(
    st.tuples(st.sampled_from([*WANTED, *WANTED, STOP]), FATES, st.integers(0, 3), st.booleans()), max_size=60
)


@settings(max_examples=400, deadline=None)
@given(STEPS, st.permutations(WANTED))
def test_replies_in_order_are_never_taken_for_another_answer(
    steps: list[tuple[BusRequest, str, int, bool]], at_last: list[BusRequest]
) -> None:
    unit = Unit()
    for wanted, fate, released, refuses in steps:
        unit.ask(wanted, fate, released, refuses=refuses, is_write_exempt=wanted == STOP)
    assert not unit.fence.is_suspect(UNIT, unit.now_ns), "every reply came once"
    # A unit that answers in time again is heard after two probes at most.
    for wanted in at_last:
        assert any(unit.ask(wanted, "prompt", 0, refuses=False) for _ in range(3))


COPIES = st.lists(
    st.tuples(st.sampled_from(WANTED), st.integers(0, 3), st.integers(0, 3), st.sampled_from([False, False, True])),
    max_size=60,
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(COPIES)
def test_under_suspicion_copies_in_order_fit_nowhere(steps: list[tuple[BusRequest, int, int, bool]]) -> None:
    """Each reply comes at once, and up to three more times, whenever the adversary likes, before any later reply."""
    unit = Unit()
    unit.ask(WANTED[0], "prompt", 0, refuses=False)
    unit.fence.unexpected(encode_reply(ReadReply(UNIT, (1,) * 13)), unit.now_ns)
    copies: deque[tuple[int, BusRequest, BusReply]] = deque()
    before = deaf_for = 0
    for wanted, kept, released, refuses in steps:
        assert unit.fence.is_suspect(UNIT, unit.now_ns)
        request = wanted if unit.fence.is_free(wanted) else unit.fence.probe(wanted, unit.now_ns)
        unit.number += 1
        unit.now_ns += 30 * MS
        unit.fence.sent(request)
        own = (unit.number, request, unit.reply(request, refuses=refuses))
        came = [copies.popleft() for _ in range(min(released, len(copies)))]
        unit.exchange(request, [*came, own], is_damaged=False)
        # Replies come in order: no copy of an older one is left once a later one has come.
        copies = deque([own] * kept)
        deaf_for = 0 if unit.accepted > before else deaf_for + 1
        before = unit.accepted
        assert deaf_for <= 3 or any(refuses for _, _, _, refuses in steps), "a unit that answers is heard"
