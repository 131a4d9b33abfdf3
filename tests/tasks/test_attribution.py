"""No value is told under a request that it does not answer: the real bus owner against late, damaged, strange replies.

Virtual time; the counts are reduced here, `tests/soak` runs 100,000 late replies.
"""

from itertools import pairwise

import pytest
from attribution_bench import CLEAN, ROUGH, Adversary, Mix, tally
from trio.testing import MockClock

LATE_REPLIES = 2_000
CLEAN_S = 20.0
ALONE = Mix(late=0.02)
"""Nothing but late replies, one request in fifty."""

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time; under the tracer they would take six times as long and show no line that others do not."""


def late_enough(adversary: Adversary, _bus_s: float) -> bool:
    return adversary.counts["late"] >= LATE_REPLIES


async def test_a_late_reply_is_never_told_under_another_request(autojump_clock: MockClock) -> None:
    clean = await tally(1, CLEAN, lambda _, bus_s: bus_s >= CLEAN_S)
    rough = await tally(2, ROUGH, late_enough)
    print(f"{rough.told()}; {rough.rate:.0f} blocks a second instead of {clean.rate:.0f}")
    assert clean.wrong == rough.wrong == []
    assert clean.counts["late"] == 0
    assert rough.counts["late"] >= LATE_REPLIES
    assert rough.counts["aimed"] >= LATE_REPLIES // 4
    assert all(rough.counts[fate] > 50 for fate in ("lost", "damaged", "foreign", "unheard"))
    assert rough.refusals > 50
    assert rough.rate > clean.rate / 10, "modules that answer again are heard again"


async def test_now_and_then_a_late_reply_costs_little_but_its_own_time(autojump_clock: MockClock) -> None:
    """A unit that owes a reply says nothing else before it: half a second at one request in fifty is a lot of time."""
    clean = await tally(3, CLEAN, lambda _, bus_s: bus_s >= CLEAN_S)
    late = await tally(4, ALONE, lambda _, bus_s: bus_s >= 3 * CLEAN_S)
    print(f"{late.told()}; {late.rate:.0f} blocks a second instead of {clean.rate:.0f}")
    assert late.wrong == []
    assert late.rate > clean.rate / 3


async def test_copies_of_replies_are_told_once_a_minute_at_most(autojump_clock: MockClock) -> None:
    """What remains: a copy that comes before the reply itself in the next exchange of the same block."""
    copied = await tally(5, Mix(copied=0.2), lambda _, bus_s: bus_s >= 150)
    print(f"{copied.told()}, {copied.counts['copied']:,} copies")
    assert all(wrong.is_same_block for wrong in copied.wrong)
    for unit in {wrong.request.unit for wrong in copied.wrong}:
        moments = [wrong.sent_ns for wrong in copied.wrong if wrong.request.unit == unit]
        assert all(later - earlier > 59_000_000_000 for earlier, later in pairwise(moments))
    assert len(copied.wrong) < copied.counts["copied"] / 500
