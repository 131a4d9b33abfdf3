"""Each module silenced alone and in pairs, five minutes of bus time a case, at rest and while moving."""

import pytest
from bus_fakes import POWER, SAFETY
from isolation_bench import PAIRS, S, p99, silenced
from trio.testing import MockClock

SECONDS = 300.0
LOSS_MS = 150.0

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("is_moving", [False, True], ids=["at rest", "moving"])
@pytest.mark.parametrize("dead", PAIRS, ids=lambda dead: "+".join(map(str, sorted(dead))))
async def test_five_minutes_of_silence(autojump_clock: MockClock, dead: frozenset[int], is_moving: bool) -> None:
    figures = await silenced(dead, SECONDS, is_moving=is_moving)
    print(figures.line())
    assert figures.dead_share(figures.began_ns + S) <= 0.05
    assert 0 < figures.longest_probe_ms() <= 25.0
    if SAFETY not in dead:
        assert figures.safety_gap_ms() <= LOSS_MS
    if not is_moving or dead == {POWER}:
        assert p99(figures.jitter_ms()) <= 20.0
