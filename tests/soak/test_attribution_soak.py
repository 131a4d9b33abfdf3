"""100,000 late replies in chunks that can be resumed; no value is told under a request that it does not answer."""

import pytest
from attribution_bench import CLEAN, ROUGH, Mix, tally
from trio.testing import MockClock

CHUNKS = 50
LATE_REPLIES = 2_000
CLEAN_S = 60.0
MIXES = (
    ROUGH,
    Mix(late=0.02),
    Mix(late=0.3, deaf=0.1, refused=0.02),
    Mix(late=0.1, deaf=0.9, damaged=0.05, foreign=0.05),
    Mix(late=0.05, deaf=0.0, lost=0.05),
)

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("number", range(CHUNKS))
async def test_chunk_of_late_replies(number: int, autojump_clock: MockClock) -> None:
    mix = MIXES[number % len(MIXES)]
    found = await tally(1000 + number, mix, lambda adversary, _: adversary.counts["late"] >= LATE_REPLIES)
    print(f"{found.told()}; {found.rate:.1f} blocks a second; {mix}")
    assert found.wrong == []
    assert found.published > 0


async def test_throughput_without_late_replies(autojump_clock: MockClock) -> None:
    """What the rates of the chunks are to be compared with."""
    clean = await tally(999, CLEAN, lambda _, bus_s: bus_s >= CLEAN_S)
    print(f"{clean.told()}; {clean.rate:.1f} blocks a second")
    assert clean.wrong == []
