"""Sectors while the LiDAR turns, and whole turns for display (`SectorBuilder` owns what is unfinished).

Sources: RPLIDAR.md, section 3 (output angles of 0x82 are the beam's minus 0 to 7.875 degrees, so neighbours hop
backwards; a turn is split on the flag only; at most 8192 nodes a turn); SAFETY.md, Inputs (sectors, spin-up, loop gap).
"""

from collections.abc import Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from oht50d.model.lidar import LidarPoint, LidarScan, SectorReport

TURN_LIMIT = 8192
NEAR_POINTS = 16
# A report of a sector that was not swept whole carries at most this many points: enough to trip, and fewer than the
# smallest number of returns that any configuration accepts as an observation (4, `ZoneConfig.minimum_valid_returns`).
PARTIAL_POINTS = 3
HYSTERESIS_DEG = 8.0
FORWARD_STEP_DEG = 15.0
BACKWARD_STEP_DEG = 30.0
_QUIET_TURNS = 3

Degrees = NDArray[np.float64]
Millimetres = NDArray[np.float64]


@define
class _OpenSector:
    """A sector that the beam has entered and not left for good. `is_whole` is False if part of it was missed."""

    is_whole: bool
    first_ns: int | None = None
    last_ns: int = 0
    angles: list[Degrees] = field(factory=list)
    distances: list[Millimetres] = field(factory=list)

    def add(self, angles_deg: Degrees, distances_mm: Millimetres, times_ns: NDArray[np.int64]) -> None:
        if self.first_ns is None:
            self.first_ns = int(times_ns[0])
        self.last_ns = int(times_ns[-1])
        self.angles.append(angles_deg)
        self.distances.append(distances_mm)

    def report(self, index: int, near_limit_mm: float) -> SectorReport | None:
        """The sector as a value; None if it holds nothing that may be told."""
        if self.first_ns is None:
            return None
        angles, distances = np.concatenate(self.angles), np.concatenate(self.distances)
        points = _nearest(angles, distances, near_limit_mm, NEAR_POINTS if self.is_whole else PARTIAL_POINTS)
        if not self.is_whole and not points:
            return None
        positive = distances[distances > 0]
        samples, hits = (len(distances), len(positive)) if self.is_whole else (len(points), len(points))
        nearest_mm = float(positive.min()) if hits else None
        return SectorReport(index, self.first_ns, self.last_ns, samples, hits, samples - hits, nearest_mm, points)


def _nearest(angles: Degrees, distances: Millimetres, limit_mm: float, count: int) -> tuple[LidarPoint, ...]:
    candidates = np.flatnonzero((distances > 0) & (distances <= limit_mm))
    chosen = candidates[np.argsort(distances[candidates], kind="stable")[:count]]
    return tuple(LidarPoint(float(angles[i]), float(distances[i])) for i in chosen)


class SectorBuilder:
    """Cuts a stream of samples into sectors of the device's frame and into whole turns.

    The beam itself only moves forward; the angle told for a sample lies up to 8 degrees behind it. The *front* is the
    furthest angle seen. No later sample can lie more than the hysteresis behind the front, so a sector whose end is
    that far behind is complete and is published: the price is 8 degrees of rotation (4 ms at 5.5 Hz), the gain is that
    a point is always judged in the sector where it is. A sample that comes later still is counted into the oldest open
    sector, never lost.

    A jump of the angle (lost packets, an encoder restart) ends the continuity: sectors touched on both sides of it were
    not swept whole and are told only as evidence against (see PARTIAL_POINTS), so they can trip and never clear.
    """

    def __init__(self, sector_count: int = 36, near_limit_mm: float = 2500.0) -> None:
        self._count = sector_count
        self._width_deg = 360.0 / sector_count
        self._near_limit_mm = near_limit_mm
        self._front_deg: float | None = None
        self._open: dict[int, _OpenSector] = {}
        self._turn = _Turn()
        self.jumps = 0

    @property
    def turns(self) -> int:
        """Whole turns assembled so far."""
        return self._turn.number

    @property
    def dropped_samples(self) -> int:
        """Samples of over-long turns that the display lost (never the sectors)."""
        return self._turn.dropped

    def interrupt(self) -> list[SectorReport]:
        """Samples were lost (checksum, noise): the sectors under way tell what they have against, no more."""
        for sector in self._open.values():
            sector.is_whole = False
        self._front_deg = None
        return self._report(sorted(self._open))

    def restart(self) -> list[SectorReport]:
        """The turn itself is void (scan reset, drained input): as `interrupt`, and wait for the next start flag."""
        self._turn.void()
        return self.interrupt()

    def add(
        self,
        angles_deg: Degrees,
        distances_mm: Millimetres,
        qualities: NDArray[np.integer],
        starts: NDArray[np.bool_],
        *,
        received_ns: int,
        sample_period_ns: int,
    ) -> tuple[list[SectorReport], list[LidarScan]]:
        """Samples in the order of measurement, all arrays of one length; the last was measured at `received_ns`.

        Angles in [0, 360), distance 0 is no return, `starts` is true where a new turn begins. Returns the sectors that
        are complete now, in order, and the turns that ended.
        """
        times_ns = received_ns - np.arange(len(angles_deg) - 1, -1, -1, dtype=np.int64) * sample_period_ns
        scans = self._turn.add(angles_deg, distances_mm, qualities, starts, times_ns)
        reports: list[SectorReport] = []
        begin = 0
        while begin < len(angles_deg):
            track_deg, end = self._follow(angles_deg[begin:])
            if end == 0:
                self.jumps += 1
                reports += self.interrupt()
                continue
            part = slice(begin, begin + end)
            self._sort_in(track_deg, angles_deg[part], distances_mm[part], times_ns[part])
            reports += self._close_complete()
            begin += end
        return reports, scans

    def _follow(self, angles_deg: Degrees) -> tuple[Degrees, int]:
        """Continuous (unwrapped) angles of the samples up to the first jump, and how many those are."""
        if self._front_deg is None:
            self._front_deg = float(angles_deg[0])
            self._open_partly_missed(self._front_deg)
        offsets = (np.diff(angles_deg, prepend=self._front_deg % 360.0) + 180.0) % 360.0 - 180.0
        rough_deg = self._front_deg + np.cumsum(offsets)
        track_deg = np.rint((rough_deg - angles_deg) / 360.0) * 360.0 + angles_deg
        fronts = np.maximum.accumulate(np.concatenate(([self._front_deg], track_deg)))[:-1]
        is_jump = (track_deg - fronts > FORWARD_STEP_DEG) | (fronts - track_deg > BACKWARD_STEP_DEG)
        end = int(is_jump.argmax()) if is_jump.any() else len(angles_deg)
        return track_deg[:end], end

    def _open_partly_missed(self, front_deg: float) -> None:
        """At a new beginning the beam may be up to the hysteresis ahead of the angle that it tells."""
        last = int((front_deg + HYSTERESIS_DEG) // self._width_deg)
        for number in range(int(front_deg // self._width_deg), last + 1):
            self._open[number] = _OpenSector(is_whole=False)

    def _sort_in(
        self, track_deg: Degrees, angles_deg: Degrees, distances_mm: Millimetres, times_ns: NDArray[np.int64]
    ) -> None:
        assert self._front_deg is not None, "samples are sorted in only after the front is known"
        self._front_deg = max(self._front_deg, float(track_deg.max()))
        oldest = min(self._open)
        for number in range(max(self._open) + 1, int(self._front_deg // self._width_deg) + 1):
            self._open[number] = _OpenSector(is_whole=True)
        numbers = np.maximum(track_deg // self._width_deg, oldest).astype(np.int64)
        for number in np.unique(numbers).tolist():
            chosen = numbers == number
            self._open[number].add(angles_deg[chosen], distances_mm[chosen], times_ns[chosen])

    def _close_complete(self) -> list[SectorReport]:
        assert self._front_deg is not None, "sectors are open only after the front is known"
        complete_deg = self._front_deg - HYSTERESIS_DEG
        done = [number for number in sorted(self._open) if (number + 1) * self._width_deg <= complete_deg]
        reports = self._report(done)
        if self._front_deg >= _QUIET_TURNS * 360.0:
            self._rewind()
        return reports

    def _rewind(self) -> None:
        """Keep the continuous angle small, so that its precision does not fade with the hours."""
        assert self._front_deg is not None, "nothing to rewind before the first sample"
        turns = int(self._front_deg // 360.0) - 1
        self._front_deg -= turns * 360.0
        self._open = {number - turns * self._count: sector for number, sector in self._open.items()}

    def _report(self, numbers: Sequence[int]) -> list[SectorReport]:
        told = [self._open.pop(number).report(number % self._count, self._near_limit_mm) for number in numbers]
        return [report for report in told if report is not None]


class _Turn:
    """The turn under way: nothing is kept before the first start flag, nor beyond TURN_LIMIT samples."""

    def __init__(self) -> None:
        self.number = 0
        self.dropped = 0
        self._is_running = False
        self._length = 0
        self._pieces: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]] = []
        self._started_ns = 0

    def void(self) -> None:
        """Drop the unfinished turn and wait for the next flag."""
        self._is_running = False
        self._length = 0
        self._pieces = []

    def add(
        self,
        angles_deg: Degrees,
        distances_mm: Millimetres,
        qualities: NDArray[np.integer],
        starts: NDArray[np.bool_],
        times_ns: NDArray[np.int64],
    ) -> list[LidarScan]:
        """Split at the flags: a flagged sample is the first of its turn."""
        scans: list[LidarScan] = []
        begin = 0
        for at in [*np.flatnonzero(starts).tolist(), len(starts)]:
            self._append(angles_deg[begin:at], distances_mm[begin:at], qualities[begin:at])
            if at < len(starts):
                scans += self._close(int(times_ns[at]))
            begin = at
        return scans

    def _append(self, angles_deg: Degrees, distances_mm: Millimetres, qualities: NDArray[np.integer]) -> None:
        if not self._is_running:
            return
        room = min(len(angles_deg), TURN_LIMIT - self._length)
        self.dropped += len(angles_deg) - room
        self._length += room
        self._pieces.append(
            (
                angles_deg[:room].astype(np.float32),
                distances_mm[:room].astype(np.float32),
                qualities[:room].astype(np.uint8),
            )
        )

    def _close(self, ended_ns: int) -> list[LidarScan]:
        is_whole, pieces, started_ns = self._is_running and self._length > 0, self._pieces, self._started_ns
        self.void()
        self._is_running = True
        self._started_ns = ended_ns
        if not is_whole:
            return []
        self.number += 1
        angles, distances, qualities = (np.concatenate(column) for column in zip(*pieces, strict=True))
        return [LidarScan(angles, distances, qualities, started_ns, ended_ns, self.number)]
