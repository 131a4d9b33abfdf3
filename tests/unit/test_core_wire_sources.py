"""Sources outside the schedule: rank, motion gate, fence; neither polls nor stops wait for them."""

from attrs import define, field
from core_fixtures import BRAKE, DOCK, MS, POWER, SAFETY, WireBench, cause

from oht50d.core.wire_schedule import Purpose, Rank, Slot
from oht50d.model.bus import BusRequest, ExchangeResult, Failure, ReadRegisters, WriteRegister
from oht50d.model.motion import CauseCode, StopKind


@define(eq=False)
class Asker:
    """Wants the same request for ever."""

    request: BusRequest
    outcomes: list[ExchangeResult] = field(factory=list)
    refusals: list[str] = field(factory=list)

    def next_slot(self, now_ns: int) -> Slot | None:
        return None if self.refusals else Slot(self.request, Purpose.ERRAND, 50 * MS)

    def complete(self, slot: Slot, result: ExchangeResult) -> None:
        assert slot.request == self.request
        self.outcomes.append(result)

    def refuse(self, slot: Slot, why: str) -> None:
        self.refusals.append(why)

    def wakeup_ns(self, now_ns: int) -> int | None:
        return now_ns


def settled(*sources: tuple[Asker, Rank]) -> WireBench:
    bench = WireBench()
    bench.settle(400)
    for source, rank in sources:
        bench.schedule.attach(source, rank)
    return bench


def test_a_source_gets_its_outcomes_and_every_poll_that_is_due_its_turn() -> None:
    asker = Asker(ReadRegisters(DOCK, 0x0100, 3))
    bench = settled((asker, Rank.ERRAND))
    slots = bench.run(400)
    errands = [number for number, slot in enumerate(slots) if slot.purpose is Purpose.ERRAND]
    assert len(errands) == len(asker.outcomes) > 10
    assert all(result.is_valid for result in asker.outcomes)
    safety = [slot for slot in slots if slot.request.unit == SAFETY and slot.purpose is Purpose.POLL]
    assert len(safety) >= 7, "20 times a second, whoever else asks"


def test_errands_go_before_searches() -> None:
    errand, search = Asker(ReadRegisters(DOCK, 0x0100, 3)), Asker(ReadRegisters(POWER, 0x0100, 5))
    bench = settled((search, Rank.BACKGROUND), (errand, Rank.ERRAND))
    bench.run(300)
    assert errand.outcomes
    assert not search.outcomes


def test_a_motion_frame_from_outside_is_refused_and_never_sent() -> None:
    asker = Asker(WriteRegister(SAFETY, BRAKE, 1))
    bench = settled((asker, Rank.ERRAND))
    slots = bench.run(200)
    assert len(asker.refusals) == 1
    assert "only the motion gate writes that" in asker.refusals[0]
    assert all(isinstance(slot.request, ReadRegisters) for slot in slots)


def test_no_source_is_asked_while_a_stop_is_under_way() -> None:
    asker = Asker(ReadRegisters(DOCK, 0x0100, 3))
    bench = settled((asker, Rank.ERRAND))
    bench.schedule.trip(StopKind.S0, (cause(CauseCode.OPERATOR_STOP, bench.now_ns),), bench.now_ns)
    while bench.schedule.sequencer.is_active:
        slots = bench.run(5)
        if bench.schedule.sequencer.is_active:
            assert not [slot for slot in slots if slot.purpose is Purpose.ERRAND]


def test_a_source_waits_behind_the_fence_like_everybody() -> None:
    asker = Asker(ReadRegisters(DOCK, 0x0100, 3))
    bench = settled((asker, Rank.ERRAND))
    while (slot := bench.next_slot()).purpose is not Purpose.ERRAND:
        bench.finish(slot, bench.slaves.answer(slot.request))
    bench.finish(slot, Failure.SILENT)
    shapes = [
        (slot.request.address, slot.request.count)
        for slot in bench.run(100)
        if slot.request.unit == DOCK and isinstance(slot.request, ReadRegisters)
    ]
    assert shapes[0] != (0x0100, 3), "another shape must prove first that the old reply is gone"


def test_a_source_learns_from_the_probe_that_its_module_is_still_silent() -> None:
    asker = Asker(ReadRegisters(0x07, 0x0100, 3))
    bench = settled((asker, Rank.BACKGROUND))
    bench.slaves.silent.add(0x07)
    bench.run(400)
    sent = [slot.request for _, slot in bench.sent if slot.request.unit == 0x07]
    assert sent.count(asker.request) == 1, "after that it waits behind probes"
    assert len(asker.outcomes) == len(sent) > 3
    assert {(result.request, result.failure) for result in asker.outcomes} == {(asker.request, Failure.SILENT)}
    bench.slaves.silent.clear()
    bench.run(100)
    assert asker.outcomes[-1].is_valid


def test_a_write_behind_a_probe_that_nobody_answers_is_refused_and_not_said_to_be_sent() -> None:
    asker = Asker(WriteRegister(0x07, 0x0100, 3))
    bench = settled((asker, Rank.ERRAND))
    bench.schedule.gate.refusal = lambda _request: None
    bench.slaves.silent.add(0x07)
    bench.run(400)
    assert [slot.request for _, slot in bench.sent].count(asker.request) == 1
    assert [result.failure for result in asker.outcomes] == [Failure.SILENT]
    (why,) = asker.refusals
    assert why.startswith("not sent")
