"""Dead modules on a line of memory in virtual time: the others keep their polls, safety its deadline, the wire 95 %.

The ordinary run has 30 s of bus time a case; `tests/soak` has five minutes.
"""

from itertools import pairwise

import pytest
import trio
from bus_fakes import MS, POWER, SAFETY, Pieces, make_bench
from isolation_bench import PAIRS, WARM_S, S, p99, silenced
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.model.bus import BusRequest

SECONDS = 30.0
LOSS_MS = 150.0

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time; under the tracer they would take six times as long and show no line that others do not."""


@pytest.mark.parametrize("dead", PAIRS, ids=lambda dead: "+".join(map(str, sorted(dead))))
async def test_a_silent_module_or_two_leave_the_others_their_polls(
    autojump_clock: MockClock, dead: frozenset[int]
) -> None:
    figures = await silenced(dead, SECONDS)
    print(figures.line())
    assert p99(figures.jitter_ms()) <= 20.0
    assert figures.dead_share(figures.began_ns + S) <= 0.05
    assert 0 < figures.longest_probe_ms() <= 25.0
    if SAFETY not in dead:
        assert figures.safety_gap_ms() <= LOSS_MS


@pytest.mark.parametrize("dead", PAIRS, ids=lambda dead: "+".join(map(str, sorted(dead))))
async def test_while_moving_too_the_safety_module_is_never_lost_for_others(
    autojump_clock: MockClock, dead: frozenset[int]
) -> None:
    """Permits go on whatever dies, as no guardian would let them: a stop and its repeats take part."""
    figures = await silenced(dead, SECONDS, is_moving=True)
    print(figures.line())
    assert figures.dead_share(figures.began_ns + S) <= 0.05
    if SAFETY not in dead:
        assert figures.safety_gap_ms() <= LOSS_MS
    if dead == {POWER}:
        assert p99(figures.jitter_ms()) <= 20.0, "the robot goes on, so its polls must"


@pytest.mark.parametrize("turnaround_ms", [1, 8, 12, 16])
async def test_on_a_full_wire_too_a_dead_module_is_asked_each_two_seconds(
    autojump_clock: MockClock, turnaround_ms: int
) -> None:
    """Polls that are always late leave no quiet moment: a probe that has waited long goes before those not vital."""
    bench, asked_ns = make_bench(), list[int]()
    is_silent = False

    def slowed(request: BusRequest, honest: Pieces) -> Pieces:
        if is_silent and request.unit == POWER:
            asked_ns.append(now_ns())
            return []
        return [(moment_ns + (turnaround_ms - 1) * MS, octets) for moment_ns, octets in honest]

    bench.rules.append(slowed)
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await bench.settle()
        await trio.sleep(WARM_S)
        is_silent = True
        await trio.sleep(SECONDS)
        gaps = [(later - before) / S for before, later in pairwise([*asked_ns, now_ns()])]
        is_silent, back_ns = False, now_ns()
        await bench.until(lambda: bench.schedule.links[POWER].is_identified)
        back_s = (now_ns() - back_ns) / S
        nursery.cancel_scope.cancel()
    print(f"{turnaround_ms} ms: asked at most every {max(gaps):.2f} s, back after {back_s:.2f} s")
    assert len(asked_ns) >= SECONDS / 2
    assert max(gaps) <= 2.0
    assert back_s <= 3.0
