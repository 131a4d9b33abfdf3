"""What went over the simulated wires: a bounded ring of frames and running counts (each object owns its own).

The ring keeps the newest TRACE_FRAMES frames; what falls out is gone, and a reader sees that by the numbers.
"""

import json
from collections import deque
from pathlib import Path
from typing import TextIO

from attrs import define, field, frozen

TRACE_FRAMES = 20_000
TRACE_LIMIT = 2_000
"""How many frames one answer carries at most."""
LATE_NS = 20_000_000
MAX_TRACE_FILE_BYTES = 256 * 1024 * 1024


@frozen
class TracedFrame:
    """One frame as the master's adapter sees it; `note` says what was odd about it.

    `way` is request or reply, echo, noise, foreign_request or foreign_reply.
    """

    number: int
    monotonic_ns: int
    way: str
    octets: bytes
    note: str

    def as_json(self) -> dict[str, object]:
        return {
            "n": self.number,
            "monotonic_ns": self.monotonic_ns,
            "way": self.way,
            "hex": self.octets.hex(),
            "note": self.note,
        }


@define
class Trace:
    """The ring, and the optional file (JSON lines; it stops growing at MAX_TRACE_FILE_BYTES)."""

    _frames: deque[TracedFrame] = field(factory=lambda: deque(maxlen=TRACE_FRAMES))
    _next: int = 0
    _file: TextIO | None = None
    _file_bytes: int = 0

    def open_file(self, path: Path) -> None:
        self._file = path.open("w", encoding="ascii", buffering=1)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, monotonic_ns: int, way: str, octets: bytes, note: str = "") -> None:
        frame = TracedFrame(self._next, monotonic_ns, way, octets, note)
        self._next += 1
        self._frames.append(frame)
        if self._file is not None and self._file_bytes < MAX_TRACE_FILE_BYTES:
            self._file_bytes += self._file.write(json.dumps(frame.as_json()) + "\n")

    def since(self, number: int, limit: int) -> list[TracedFrame]:
        """At most `limit` frames from `number` on, oldest first."""
        newest = self._frames[-1].number if self._frames else -1
        skip = max(0, len(self._frames) - (newest - number + 1))
        return [self._frames[index] for index in range(skip, min(len(self._frames), skip + limit))]

    @property
    def next_number(self) -> int:
        return self._next


@define
class ModuleCount:
    """Of one bus address: requests understood, replies written, refusals among them.

    `wire_busy_ns` is the line's time: characters of requests and replies, and the wait between the two where a reply
    came. `faults` counts by kind what went wrong on purpose.
    """

    requests: int = 0
    replies: int = 0
    exceptions: int = 0
    writes: int = 0
    early_frames: int = 0
    wire_busy_ns: int = 0
    faults: dict[str, int] = field(factory=dict)

    def note_fault(self, kind: str) -> None:
        self.faults[kind] = self.faults.get(kind, 0) + 1


@define
class Counters:
    """Of the whole robot. An early frame came less than t3.5 after the last byte of a reply was delivered.

    `foreign_frames` went to an address that nobody has. `late_ms` is the sum of all wake-ups that came LATE_NS or more
    too late.
    """

    modules: dict[int, ModuleCount] = field(factory=dict)
    early_frames: int = 0
    bad_frames: int = 0
    foreign_frames: int = 0
    overrun_frames: int = 0
    echoed_frames: int = 0
    noise_bytes: int = 0
    second_master_frames: int = 0
    collisions: int = 0
    bus_bytes_dropped: int = 0
    bus_hangups: int = 0
    lidar_bytes: int = 0
    lidar_bytes_dropped: int = 0
    lidar_capsules: int = 0
    lidar_commands: int = 0
    lidar_hangups: int = 0
    late_ms: float = 0.0
    worst_late_ms: float = 0.0

    def note_lateness(self, late_ns: int) -> None:
        """How late this process woke up; what a busy computer does to a module that is made of software."""
        self.worst_late_ms = max(self.worst_late_ms, late_ns / 1e6)
        if late_ns >= LATE_NS:
            self.late_ms += late_ns / 1e6

    def module(self, unit: int) -> ModuleCount:
        return self.modules.setdefault(unit, ModuleCount())
