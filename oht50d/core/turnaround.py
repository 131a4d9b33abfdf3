"""How long a module takes to answer: percentiles of its newest replies (owner: its module link; pure).

The turnaround is that of PERFORMANCE.md (RS485): what an exchange takes beyond its characters and the two silences, so
it holds the device, the adapter and this process's own lateness in reading.
"""

from collections import deque

from attrs import frozen

WINDOW = 200
NEEDED = 20
"""Before so many replies were measured nothing is known."""
LEFT_OUT = 2
"""The third slowest of `WINDOW` is the 99th percentile. Of fewer replies as many are left out: while it starts, this
process is late with one or two."""
MAX_AGE_NS = 60_000_000_000
"""What was slow longer ago counts no more, unless fewer than `NEEDED` replies have come since."""
MOST = 0.9
SORTED_EVERY = 8
"""Replies between two looks at the window: at 20 a second the figure is at most half a second old."""


@frozen
class Measured:
    """`most_ns` is what nine of ten replies keep, `p99_ns` what all but one of a hundred do."""

    most_ns: int
    p99_ns: int

    @classmethod
    def always(cls, turnaround_ns: int) -> "Measured":
        """An assumption: every reply takes the same."""
        return cls(turnaround_ns, turnaround_ns)


class Turnaround:
    """The newest `WINDOW` measurements: one or two that are slow do not show, a third does."""

    __slots__ = ("_measured", "_news", "_ring")

    def __init__(self) -> None:
        self._ring: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._measured: Measured | None = None
        self._news = 0

    def add(self, measured_ns: int, at_ns: int) -> None:
        """One more reply, which came at `at_ns`."""
        ring = self._ring
        ring.append((at_ns, max(0, measured_ns)))
        while len(ring) > NEEDED and at_ns - ring[0][0] > MAX_AGE_NS:
            ring.popleft()
            self._measured = None
        self._news += 1

    @property
    def measured(self) -> Measured | None:
        """None before `NEEDED` replies."""
        count = len(self._ring)
        if count < NEEDED:
            return None
        if self._measured is None or self._news >= SORTED_EVERY:
            ordered = sorted([measured_ns for _, measured_ns in self._ring])
            self._measured = Measured(ordered[int(MOST * (count - LEFT_OUT))], ordered[count - 1 - LEFT_OUT])
            self._news = 0
        return self._measured

    @property
    def p99_ns(self) -> int | None:
        """None before `NEEDED` replies."""
        measured = self.measured
        return None if measured is None else measured.p99_ns

    def forget(self) -> None:
        """Another module may be there now, or another adapter."""
        self._ring.clear()
        self._measured = None
