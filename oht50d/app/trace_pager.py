"""Pages through the daemon's trace ring (owner of the place where it goes on; one question at a time)."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping

Tree = Mapping[str, object]
Ask = Callable[[dict[str, object]], Tree]
"""One question to the daemon; raises what `ctl` makes an exit code of."""
Traced = tuple[int, Tree]
"""When it was, in nanoseconds of UTC, and the frame."""

FOLLOW_S = 0.25


class TracePager:
    """`frames` are those that are kept and pass the filters, oldest first; with `is_endless` new ones for ever.

    `last` takes the newest so many of those that pass; `seconds` those of so long ago.
    """

    def __init__(
        self,
        ask: Ask,
        filters: Mapping[str, object],
        *,
        last: int | None,
        seconds: float | None,
        is_raw: bool = False,
        is_endless: bool = False,
    ) -> None:
        self._ask = ask
        self._filters = filters
        self._last = last
        self._seconds = seconds
        self._is_raw = is_raw
        self._is_endless = is_endless
        self._head: Tree | None = None
        self._next: int | None = None
        self._newest = 0
        self.lost = 0

    def head(self) -> Tree:
        """What the daemon says of its ring: port, framing, newest frame."""
        if self._head is None:
            self._head = self._ask({"op": "bus_trace", "limit": 1, "raw": True})
        return self._head

    def frames(self) -> Iterator[Traced]:
        """See the class."""
        newest, kept = whole(self.head(), "newest"), whole(self.head(), "first_kept")
        opening: dict[str, object] = {"from": kept}
        if self._seconds is not None:
            opening = {"seconds": self._seconds}
        elif self._last is not None and not self._filters:
            opening = {"from": max(kept, newest - self._last)}
        past: Iterable[Traced] = self._walk(opening, newest)
        yield from past if self._last is None else deque(past, maxlen=self._last)
        while self._is_endless:
            if (self._next or 0) >= self._newest:
                time.sleep(FOLLOW_S)
            yield from self._walk({"from": self._next}, 0)

    def _walk(self, where: dict[str, object], end: int) -> Iterator[Traced]:
        """Page after page until one ends at `end` or beyond."""
        while True:
            page = self._ask({"op": "bus_trace", "raw": self._is_raw, **self._filters, **where})
            if self._next is not None:
                self.lost += whole(page, "lost")
            self._next, self._newest = whole(page, "next"), whole(page, "newest")
            to_utc_ns = whole(page, "utc_minus_monotonic_ns")
            found = page.get("frames")
            for frame in found if isinstance(found, list) else ():
                yield whole(frame, "at_ns") + to_utc_ns, frame
            if self._next >= end:
                return
            where = {"from": self._next}


def whole(tree: Tree, key: str) -> int:
    """A number of an answer; 0 where there is none."""
    found = tree.get(key)
    return found if isinstance(found, int) else 0
