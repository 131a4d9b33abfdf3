"""The trace ring: every frame of the bus, raw, the newest MAX_FRAMES of them (owner: whoever holds the instance; pure).

Adding costs next to nothing: the columns are arrays of numbers and one list of byte strings, so no object is made that
the garbage collector has to look after, and nothing is formatted before somebody reads. Overflow: the oldest frames
fall out, and the numbers tell (`first_number` has moved on).
"""

from array import array
from collections.abc import Iterator

from attrs import frozen

from oht50d.core.frame_event import Note, Way
from oht50d.core.wire_slots import Purpose

MAX_FRAMES = 60_000
"""About four minutes of a full wire (120 exchanges a second)."""
MAX_BYTES = 8 * 1024 * 1024
"""Bound on the octets that are kept; the ring itself adds about 70 bytes a frame."""


@frozen
class TracedFrame:
    """One frame or event of the line; `number` ascends by one since the start of this process."""

    number: int
    at_ns: int
    way: Way
    octets: bytes
    note: Note
    purpose: Purpose | None


class BusTrace:
    """`add` is an `Observe`; reading never disturbs the ring."""

    def __init__(self, max_frames: int = MAX_FRAMES, max_bytes: int = MAX_BYTES) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._at_ns = array("q", bytes(8 * max_frames))
        self._ways = bytearray(max_frames)
        self._notes = bytearray(max_frames)
        self._purposes: list[Purpose | None] = [None] * max_frames
        self._octets: list[bytes] = [b""] * max_frames
        self._bytes = 0
        self._first = 0
        self._next = 0

    def add(self, at_ns: int, way: Way, octets: bytes, note: Note, purpose: Purpose | None) -> None:
        """One more frame; what no longer fits falls out at the old end."""
        number = self._next
        slot = number % self._max_frames
        if number - self._first == self._max_frames:
            self._drop_oldest()
        self._at_ns[slot] = at_ns
        self._ways[slot] = way
        self._notes[slot] = note
        self._purposes[slot] = purpose
        self._octets[slot] = octets
        self._bytes += len(octets)
        self._next = number + 1
        while self._bytes > self._max_bytes:
            self._drop_oldest()

    @property
    def first_number(self) -> int:
        """Number of the oldest frame that is kept: so many have fallen out."""
        return self._first

    @property
    def next_number(self) -> int:
        """The number that the next frame gets."""
        return self._next

    @property
    def kept_bytes(self) -> int:
        """Octets in the ring now."""
        return self._bytes

    def frame(self, number: int) -> TracedFrame | None:
        """One frame by its number; None if it has fallen out or has not happened."""
        return self._at(number) if self._first <= number < self._next else None

    def frames(self, first: int, limit: int) -> Iterator[TracedFrame]:
        """At most `limit` frames from `first` on, oldest first; begins later if `first` has fallen out."""
        begin = max(first, self._first)
        for number in range(begin, min(self._next, begin + limit)):
            yield self._at(number)

    def number_at(self, at_ns: int) -> int:
        """The number of the first kept frame at or after a moment; `next_number` if all are older."""
        low, high = self._first, self._next
        while low < high:
            middle = (low + high) // 2
            if self._at_ns[middle % self._max_frames] < at_ns:
                low = middle + 1
            else:
                high = middle
        return low

    def _at(self, number: int) -> TracedFrame:
        slot = number % self._max_frames
        return TracedFrame(
            number, self._at_ns[slot], Way(self._ways[slot]), self._octets[slot], Note(self._notes[slot]),
            self._purposes[slot],
        )  # fmt: skip

    def _drop_oldest(self) -> None:
        slot = self._first % self._max_frames
        self._bytes -= len(self._octets[slot])
        self._octets[slot] = b""
        self._first += 1
