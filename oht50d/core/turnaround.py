"""How long a module takes to answer: the 99th percentile of its newest replies (owner: its module link; pure).

The turnaround is that of PERFORMANCE.md (RS485): what an exchange takes beyond its characters and the two silences, so
it holds the device, the adapter and this process's own lateness in reading.
"""

from collections import deque

WINDOW = 200
NEEDED = 20
"""Before so many replies were measured nothing is known."""
PERCENTILE = 0.99
SORTED_EVERY = 8
"""Replies between two looks at the window: at 20 a second the figure is at most half a second old."""


class Turnaround:
    """A ring of `WINDOW` measurements: one or two that are slow do not show, a third does."""

    __slots__ = ("_news", "_p99_ns", "_ring")

    def __init__(self) -> None:
        self._ring: deque[int] = deque(maxlen=WINDOW)
        self._p99_ns: int | None = None
        self._news = 0

    def add(self, measured_ns: int) -> None:
        """One more reply."""
        self._ring.append(max(0, measured_ns))
        self._news += 1

    @property
    def p99_ns(self) -> int | None:
        """None before `NEEDED` replies."""
        if len(self._ring) < NEEDED:
            return None
        if self._p99_ns is None or self._news >= SORTED_EVERY:
            ordered = sorted(self._ring)
            self._p99_ns = ordered[int(PERCENTILE * (len(ordered) - 1))]
            self._news = 0
        return self._p99_ns

    def forget(self) -> None:
        """Another module may be there now, or another adapter."""
        self._ring.clear()
        self._p99_ns = None
