"""Properties of errands: whatever the wire answers, a write goes out once at most and everybody hears one end."""

import hypothesis.strategies as st
from hypothesis import given

from oht50d.core.errands import Errands, Patience
from oht50d.core.poll_plan import NEVER_NS
from oht50d.core.probe_budget import ProbeBudget
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
from oht50d.model.errands import ErrandOutcome, ErrandResult, ReadErrand, WriteErrand

MS = 1_000_000
FAILURES = st.sampled_from([Failure.SILENT, Failure.NOISE, Failure.MISMATCH, Failure.ABANDONED, Failure.LINK_LOST])
ERRANDS = st.one_of(
    st.builds(ReadErrand, st.builds(ReadRegisters, st.just(5), st.integers(0, 3), st.just(1))),
    st.builds(
        WriteErrand,
        st.builds(WriteRegister, st.just(5), st.integers(0, 3), st.integers(0, 3)),
        is_readable=st.booleans(),
    ),
)
ACTS = st.one_of(
    st.just("answer"),
    st.just("refuse"),
    st.just("lose the slot"),
    st.tuples(st.just("exception"), st.sampled_from([2, 5, 6])),
    st.tuples(st.just("fail"), FAILURES),
    st.tuples(st.just("withdraw"), st.integers(0, 9)),
)


class Module:
    """Four registers that keep what is written."""

    def __init__(self) -> None:
        self.words = [0, 0, 0, 0]

    def answer(self, request: BusRequest) -> BusReply:
        if isinstance(request, WriteRegister):
            self.words[request.address] = request.word
            return WriteReply(5, request.address, 1, request.word)
        assert isinstance(request, ReadRegisters)
        return ReadReply(5, (self.words[request.address],))


@given(st.lists(ERRANDS, min_size=1, max_size=6), st.lists(ACTS, max_size=60))
def test_one_end_each_and_no_write_twice(asked: list[ReadErrand | WriteErrand], acts: list[object]) -> None:
    errands, module = Errands(lambda _request: Patience(50 * MS, 2), ProbeBudget(lambda: NEVER_NS)), Module()
    ends: list[list[ErrandResult]] = [[] for _ in asked]
    withdraws = [errands.submit(errand, ends[number].append) for number, errand in enumerate(asked)]
    written: list[WriteRegister] = []
    now_ns = 0
    for act in acts + ["answer"] * 40:
        if isinstance(act, tuple) and act[0] == "withdraw":
            withdraw = withdraws[act[1] % len(withdraws)]
            assert withdraw is not None
            withdraw()
            continue
        now_ns += 200 * MS
        slot = errands.next_slot(now_ns)
        if slot is None or act == "lose the slot":
            continue
        if act == "refuse":
            errands.refuse(slot, "no")
            continue
        if isinstance(slot.request, WriteRegister):
            written.append(slot.request)
        reply, failure = _outcome(act, slot.request, module)
        errands.complete(slot, ExchangeResult(slot.request, reply, failure, now_ns, now_ns + 5 * MS))
    assert errands.waiting == 0
    assert [len(end) for end in ends] == [1] * len(asked)
    assert len(written) <= sum(isinstance(errand, WriteErrand) for errand in asked)
    for errand, (end,) in zip(asked, ends, strict=True):
        if isinstance(errand, WriteErrand) and end.outcome is ErrandOutcome.VERIFIED:
            assert end.was_sent
            assert end.after == errand.request.word
        assert (end.outcome in (ErrandOutcome.READ, ErrandOutcome.FAILED)) == isinstance(errand, ReadErrand) or (
            end.outcome is ErrandOutcome.REJECTED
        )


def _outcome(act: object, request: BusRequest, module: Module) -> tuple[BusReply | None, Failure | None]:
    match act:
        case ("exception", int() as code):
            return ExceptionReply(5, 3 if isinstance(request, ReadRegisters) else 6, code), None
        case ("fail", Failure() as failure):
            module.answer(request)  # it arrived, its reply did not
            return None, failure
    return module.answer(request), None
