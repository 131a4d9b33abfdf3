"""What a technician sees of the bus: numbers and the trace, page by page (no state of its own).

Decoding happens here, when somebody reads, and in small portions: between two of them every other task gets its turn.
"""

from collections.abc import Callable, Mapping

import trio
from attrs import frozen

from oht50d.clock import now_ns
from oht50d.core.bus_sight import Sight
from oht50d.core.bus_trace import TracedFrame
from oht50d.core.frame_reader import ERROR_NOTES, REWIND_FRAMES, FrameReader
from oht50d.core.local_rights import LocalRight, Peer
from oht50d.model.errors import CommandRejected
from oht50d.services.bus_views import view_frame, view_raw_frame, view_stats
from oht50d.services.local_desk import Operation
from oht50d.services.local_views import Tree
from oht50d.services.ports import SnapshotSource

MAX_PAGE = 100
"""Frames in one answer: about 90 kB, which take 2 ms to write as JSON; nothing else runs meanwhile."""
MAX_SCAN = 4000
"""Frames looked at for one answer; with a filter an answer may be empty and say where to go on."""
PORTION = 8
MAX_SECONDS = 3600.0


@frozen
class _Filter:
    """Which frames are wanted."""

    unit: int | None
    function: int | None
    errors: bool

    def passes(self, frame: TracedFrame, who: tuple[int, int] | None) -> bool:
        if self.errors and frame.note not in ERROR_NOTES:
            return False
        if self.unit is None and self.function is None:
            return True
        return who is not None and self.unit in (None, who[0]) and self.function in (None, who[1])


class BusDesk:
    """Its `operations` join those of the local desk: bus_stats and bus_trace."""

    def __init__(self, sight: Sight, snapshots: SnapshotSource, utc_ns: Callable[[], int]) -> None:
        """`utc_ns` is the wall clock: monotonic times mean nothing to people."""
        self._sight = sight
        self._snapshots = snapshots
        self._utc_ns = utc_ns
        self.operations: Mapping[str, Operation] = {
            "bus_stats": Operation(LocalRight.READ, self._stats),
            "bus_trace": Operation(LocalRight.READ, self._trace),
        }

    async def _stats(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        return view_stats(self._sight, self._snapshots.current(), now_ns())

    async def _trace(self, _peer: Peer, request: Mapping[str, object]) -> Tree:
        """Frames from number `from` on, at most `limit`; without `from` those of the last `seconds`, else the newest.

        `next` is where to go on. With `raw` the frames are not decoded.
        """
        trace = self._sight.trace
        limit = _whole(request, "limit", 1, MAX_PAGE) or MAX_PAGE
        first = self._first(request, limit)
        lost = max(0, trace.first_number - first)
        wanted = _Filter(
            _whole(request, "unit", 0, 247), _whole(request, "function", 1, 127), request.get("errors") is True
        )  # fmt: skip
        frames, following = await self._page(first + lost, limit, wanted, is_raw=request.get("raw") is True)
        at_ns = now_ns()
        return {
            "frames": frames,
            "next": following,
            "newest": trace.next_number,
            "first_kept": trace.first_number,
            "lost": lost,
            "utc_minus_monotonic_ns": self._utc_ns() - at_ns,
            "now_ns": at_ns,
            "port": self._snapshots.current().wire.port,
            "is_tcp": self._sight.is_tcp,
        }

    def _first(self, request: Mapping[str, object], limit: int) -> int:
        trace = self._sight.trace
        first = _whole(request, "from", 0, 2**62)
        seconds = request.get("seconds")
        if first is not None:
            return min(first, trace.next_number)
        if seconds is None:
            return max(trace.first_number, trace.next_number - limit)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_SECONDS:
            raise _invalid("seconds", f"seconds is a number up to {MAX_SECONDS:g}")
        return trace.number_at(now_ns() - int(seconds * 1e9))

    async def _page(self, first: int, limit: int, wanted: _Filter, *, is_raw: bool) -> tuple[list[Tree], int]:
        """The frames of one page and the number after the last one that was looked at."""
        sight, found = self._sight, list[Tree]()
        reader = FrameReader(sight.maps, sight.character_ns, is_tcp=sight.is_tcp)
        for before in sight.trace.frames(first - REWIND_FRAMES, min(first, REWIND_FRAMES)):
            reader.skip(before)
        number, ends = first, first + MAX_SCAN
        while number < ends and len(found) < limit and (frame := sight.trace.frame(number)) is not None:
            number += 1
            if not wanted.passes(frame, reader.unit_and_function(frame)):
                reader.skip(frame)
            elif is_raw:
                reader.skip(frame)
                found.append(view_raw_frame(frame))
            else:
                found.append(view_frame(reader.decode(frame), sight.maps))
            if number % PORTION == 0:
                await trio.lowlevel.checkpoint()
        return found, number


def _whole(request: Mapping[str, object], field: str, least: int, most: int) -> int | None:
    found = request.get(field)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise _invalid(field, f"{field} is a whole number {least}..{most}")
    return found


def _invalid(field: str, why: str) -> CommandRejected:
    return CommandRejected("INVALID_COMMAND", why, {"field": field})
