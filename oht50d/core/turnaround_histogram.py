"""How long a module takes to answer: histogram since the start and the 99th percentile of late (owner: `BusStats`).

The turnaround is that of PERFORMANCE (RS485) and of `poll_plan.transaction_ns`: from the end of t3.5 after the last
character of the request to the moment the reply was read, without the reply's characters. It contains the device, the
latency of the adapter and how late this process woke up.
"""

from bisect import bisect_left
from collections import deque

BUCKETS_NS = tuple(
    round(bound_ms * 1e6) for bound_ms in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0, 50.0, 100.0)
)
"""Upper bounds of the histogram; one more bucket takes what is above."""
RECENT_REPLIES = 512
LEAST_REPLIES = 32
"""Fewer replies prove nothing; also how many new ones make the percentile worth sorting again."""
_SHARE = 0.99


class TurnaroundHistogram:
    """Of one module."""

    __slots__ = ("_p99_ns", "_recent", "_unsorted", "counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_NS) + 1)
        self.sum_ns = 0
        self._recent: deque[int] = deque(maxlen=RECENT_REPLIES)
        self._unsorted = 0
        self._p99_ns: int | None = None

    def add(self, turnaround_ns: int) -> None:
        """One reply."""
        self.counts[bisect_left(BUCKETS_NS, turnaround_ns)] += 1
        self.sum_ns += turnaround_ns
        self._recent.append(turnaround_ns)
        self._unsorted += 1

    @property
    def replies(self) -> int:
        """How many were measured since the start."""
        return sum(self.counts)

    @property
    def p99_ns(self) -> int | None:
        """Of the newest RECENT_REPLIES, at most LEAST_REPLIES replies old; None before so many were measured."""
        if self._unsorted >= LEAST_REPLIES:
            self._unsorted = 0
            ordered = sorted(self._recent)
            self._p99_ns = ordered[min(len(ordered) - 1, int(len(ordered) * _SHARE))]
        return self._p99_ns
