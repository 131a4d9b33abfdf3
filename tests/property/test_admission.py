"""What admission accepts is kept: the real schedule in virtual time, each reply as slow as the worst that was measured.

Random maps, speeds and turnarounds; motion frames wanted at every moment; a dead module; one lost reply now and then.
"""

import itertools
from collections.abc import Iterator
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from attrs import evolve, frozen
from core_fixtures import CONFIG, DOCK, FORWARD, MS, POWER, TIMES, WireBench, permit, shipped_maps
from hypothesis import given, settings

from oht50d.core.exchange_times import LineSpeed
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.poll_rates import VITAL
from oht50d.core.wire_schedule import Idle, Purpose, Slot, WireSchedule
from oht50d.model.bus import Failure
from oht50d.model.motion import MotionDemand
from oht50d.model.registers import ModuleMap, PollClass

S = 1_000_000_000
LOSS_NS = CONFIG.moving_loss.ns
SPAN_NS = 4 * S
EACH_LOSS_NS = 700 * MS
VELOCITY = 0x33
KEPT = ("identity.", "drive.", "chain.", "safety.", "velocity", "brake")
OTHERS = sorted(set(PollClass) - VITAL, key=lambda poll: poll.value)

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time; under the tracer they would take six times as long and show no line that others do not."""


@frozen
class Wire:
    """One case: `turnarounds_us` by unit, `seed` for the maps (0: the shipped ones) and the moments of losses."""

    baud: int
    turnarounds_us: dict[int, int]
    travel: str
    is_power_dead: bool
    seed: int


WIRES = st.builds(
    Wire,
    baud=st.sampled_from([38_400, 57_600, 115_200, 115_200, 230_400]),
    turnarounds_us=st.fixed_dictionaries({unit: st.integers(100, 10_000) for unit in (2, 3, 4, 5)})
    | st.integers(100, 10_000).map(lambda us: dict.fromkeys((2, 3, 4, 5), us)),
    travel=st.sampled_from(["travel_motor", "travel_motor_timeout"]),
    is_power_dead=st.booleans(),
    seed=st.integers(0, 1 << 32),
)


def _changed(module: ModuleMap, random: Random) -> ModuleMap:
    """Some blocks that nobody needs are not polled, cut short, or read with another class that is not vital."""
    specs = dict(module.by_address)
    for block in plan_blocks(module):
        is_free = block.poll not in VITAL and not any((s.role or "x").startswith(KEPT) for s in block.specs)
        if is_free and random.random() < 0.5:
            poll, kept = random.choice([None, *OTHERS]), random.randrange(block.count + 1)
            for spec in block.specs[:kept]:
                specs[spec.address] = evolve(spec, poll=poll)
    return evolve(module, registers=tuple(specs[address] for address in sorted(specs)))


class SlowBench(WireBench):
    """Exchanges take what the wire's speed and the units' turnarounds say; one reply is lost each `EACH_LOSS_NS`."""

    def __init__(self, wire: Wire, *, has_losses: bool) -> None:
        random = Random(wire.seed)
        maps = shipped_maps(wire.travel)
        super().__init__(maps=tuple(_changed(module, random) for module in maps) if wire.seed else maps)
        self._wire = wire
        self._random = random
        self.speed = LineSpeed.of_baud(wire.baud)
        times = evolve(TIMES, speed=self.speed, stop_ns=self.speed.silence_ns + 10 * MS)
        self.schedule = WireSchedule(self.maps, self.actuators, CONFIG, times)
        self.has_losses = has_losses
        self._lost_ns = 0
        self.losses = 0

    def serve(self) -> Slot | None:
        """One slot with its outcome, silence after it included, or the idle time."""
        step = self.schedule.next(self.now_ns)
        if isinstance(step, Idle):
            self.now_ns = min(step.until_ns, self.now_ns + 2 * MS)
            return None
        answer = self.slaves.answer(step.request)
        if self._is_lost(step):
            answer = Failure.SILENT
        turnaround_ns = self._wire.turnarounds_us.get(step.request.unit, 1000) * 1000
        whole_ns = self.speed.request_ns(step.request, turnaround_ns)
        waited_ns = self.speed.whole_ns(step.request, step.timeout_ns)
        if answer is Failure.SILENT or whole_ns > waited_ns:
            answer, whole_ns = Failure.SILENT, waited_ns
        self.sent.append((self.now_ns, step))
        self.finish(step, answer, taking_ns=whole_ns - self.speed.silence_ns)
        self.now_ns += self.speed.silence_ns
        return step

    def _is_lost(self, slot: Slot) -> bool:
        if not self.has_losses or self.now_ns - self._lost_ns < EACH_LOSS_NS or self._random.random() > 0.05:
            return False
        self._lost_ns = self.now_ns
        self.losses += slot.purpose is Purpose.POLL
        return True

    def pass_time(self, span_ns: int, demands: Iterator[MotionDemand] | None = None) -> None:
        """With `demands` every moment finds a permit, and each write another demand than the one before."""
        ends_ns = self.now_ns + span_ns
        demand = FORWARD
        while self.now_ns < ends_ns:
            if demands is not None:
                self.decide(permit(self.now_ns, duty_limit_ratio=1.0), demand)
            slot = self.serve()
            if demands is not None and slot is not None and slot.purpose is Purpose.MOTION:
                demand = next(demands)


def _wavering() -> Iterator[MotionDemand]:
    return itertools.cycle(evolve(FORWARD, duty_ratio=duty) for duty in (0.02, 0.03, 0.04))


def _settled(wire: Wire, **options: Any) -> SlowBench:
    bench = SlowBench(wire, has_losses=False)
    bench.open()
    bench.pass_time(4 * S)
    bench.slaves.words[DOCK, VELOCITY] = 60
    if wire.is_power_dead:
        bench.slaves.silent.add(POWER)
    bench.pass_time(1 * S, _wavering())
    bench.has_losses = options["has_losses"]
    return bench


def _received(bench: SlowBench, since_ns: int) -> dict[tuple[int, int], list[int]]:
    """When each vital block's valid replies came."""
    found: dict[tuple[int, int], list[int]] = {}
    for readings in bench.published:
        block = readings.block
        if block.poll in VITAL and readings.received_ns >= since_ns:
            found.setdefault((block.unit, block.first), []).append(readings.received_ns)
    return found


def _longest_ns(times: list[int], since_ns: int, until_ns: int) -> int:
    return max(later - before for before, later in itertools.pairwise([since_ns, *times, until_ns]))


@settings(max_examples=25)
@given(wire=WIRES)
def test_an_accepted_plan_keeps_its_gaps(wire: Wire) -> None:
    bench = _settled(wire, has_losses=False)
    admission = bench.schedule.polls.admission.moving
    since_ns, count = bench.now_ns, len(bench.sent)
    bench.pass_time(SPAN_NS, _wavering())
    if admission.refusal or bench.schedule.polls.admission.moving != admission:
        return
    assert bench.schedule.drive_line.is_energised, "nothing stopped it"
    asked: dict[tuple[int, int], list[int]] = {}
    for at_ns, slot in bench.sent[count:]:
        if slot.block is not None and slot.purpose is Purpose.POLL and slot.block.poll in VITAL:
            asked.setdefault((slot.block.unit, slot.block.first), []).append(at_ns)
    assert len(asked) == len(admission.gaps)
    for gap in admission.gaps:
        times = asked[gap.block.unit, gap.block.first]
        assert _longest_ns(times, since_ns, bench.now_ns) <= gap.gap_ns, gap.block.poll


@settings(max_examples=25)
@given(wire=WIRES)
def test_with_an_accepted_plan_one_lost_reply_never_costs_a_vital_module(wire: Wire) -> None:
    bench = _settled(wire, has_losses=True)
    refusal = bench.schedule.polls.admission.moving.refusal
    since_ns = bench.now_ns
    bench.pass_time(SPAN_NS, _wavering())
    if refusal or bench.schedule.polls.admission.moving.refusal:
        return
    assert bench.schedule.drive_line.is_energised, "nothing stopped it"
    received = _received(bench, since_ns)
    for block in (gap.block for gap in bench.schedule.polls.admission.moving.gaps):
        times = received[block.unit, block.first]
        assert _longest_ns(times, since_ns, bench.now_ns) <= LOSS_NS, block.poll


def test_plans_are_accepted_and_refused() -> None:
    """The two properties would hold of nothing: most plans at 1 ms are accepted, none at 16 ms."""
    verdicts = {}
    for turnaround_us in (1000, 8000, 16_000):
        turnarounds = dict.fromkeys((2, 3, 4, 5), turnaround_us)
        bench = _settled(Wire(115_200, turnarounds, "travel_motor", is_power_dead=False, seed=0), has_losses=False)
        verdicts[turnaround_us] = bench.schedule.polls.admission.moving.refusal
    assert (verdicts[1000], verdicts[8000]) == ("", "")
    assert "is read every" in verdicts[16_000]
    print(verdicts[16_000])
