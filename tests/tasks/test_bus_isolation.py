"""Dead modules on a line of memory in virtual time: the others keep their polls, safety its deadline, the wire 95 %.

The ordinary run has 30 s of bus time a case; `tests/soak` has five minutes.
"""

import pytest
from bus_fakes import POWER, SAFETY
from isolation_bench import PAIRS, S, p99, silenced
from trio.testing import MockClock

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
