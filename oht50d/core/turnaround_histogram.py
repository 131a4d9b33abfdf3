"""How long a module took to answer since the start, for people and Prometheus (owner: `BusStats`; pure).

The turnaround is that of PERFORMANCE (RS485) and of `exchange_times.py`: from the end of t3.5 after the last character
of the request to the moment the reply was read, without the reply's characters. It contains the device, the latency of
the adapter and how late this process woke up. The percentile that admission counts with is in `turnaround.py`.
"""

from bisect import bisect_left

BUCKETS_NS = tuple(
    round(bound_ms * 1e6) for bound_ms in (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 25.0, 50.0, 100.0)
)
"""Upper bounds of the histogram; one more bucket takes what is above."""


class TurnaroundHistogram:
    """Of one module."""

    __slots__ = ("counts", "sum_ns")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS_NS) + 1)
        self.sum_ns = 0

    def add(self, turnaround_ns: int) -> None:
        """One reply."""
        self.counts[bisect_left(BUCKETS_NS, turnaround_ns)] += 1
        self.sum_ns += turnaround_ns

    @property
    def replies(self) -> int:
        """How many were measured."""
        return sum(self.counts)
