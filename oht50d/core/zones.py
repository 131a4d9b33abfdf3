"""Zones by distance, judged sector by sector while the LiDAR turns (`ZoneMonitor` owns the last verdicts).

Sources: SAFETY.md, Inputs (clear, unknown, release, two ages); DOMAIN.md 6.1 (distances, allowed settings, "closest
zone wins", inclusive boundaries); DECISIONS.md, zones. Distances are measured from the LiDAR's origin.
"""

import enum
import math
from collections.abc import Mapping, Sequence

from attrs import field, frozen, validators

from oht50d.model.errors import InvariantViolation
from oht50d.model.lidar import SectorReport
from oht50d.model.motion import Direction, ZoneHit
from oht50d.model.units import Duration, SettingClash, Validator, between, milliseconds

STOP_ZONE = "stop"
SLOW_ZONE = "slow"
WATCH_ZONE = "watch"
SLOW_FACTOR = 0.5
_CENTRE_DEG = {Direction.FORWARD: 0.0, Direction.REVERSE: 180.0}


def _within(low: float, high: float) -> Sequence[Validator]:
    return (validators.ge(low), validators.le(high))


@frozen(kw_only=True)
class ZoneConfig:
    """Shape and judgement of the zones. A site may be stricter; no zone can be switched off by a zero.

    `mount_angle_deg` is where the device's front points in the robot's frame, clockwise seen from above, 0 forward;
    `is_mirrored` is an upside-down device. Sector numbers count from the device's front. A report with fewer than
    `minimum_valid_returns` positive returns says nothing, but in `open_sectors` (commissioned as facing nothing within
    range) measured absence counts. `masked_sectors` are never observed. `maximum_turn` bounds what a slow motor may
    make of the sector age.
    """

    # Below 250 mm the zone would lie in what a LiDAR cannot see (150 mm) and the shortest way to stop.
    stop_mm: int = field(default=500, validator=_within(250, 2000))
    slow_mm: int = field(default=1000, validator=_within(200, 5000))
    watch_mm: int = field(default=2000, validator=_within(500, 10_000))
    minimum_points: int = field(default=2, validator=_within(1, 3))
    minimum_valid_returns: int = field(default=4, validator=_within(4, 64))
    arc_half_width_deg: float = field(default=60.0, validator=_within(5, 90))
    mount_angle_deg: float = field(default=0.0, validator=_within(-360, 360))
    is_mirrored: bool = False
    open_sectors: tuple[int, ...] = ()
    masked_sectors: tuple[int, ...] = ()
    sector_count: int = field(default=36, validator=_within(12, 120))
    link_silence: Duration = field(
        default=Duration(150_000_000), validator=between(milliseconds(20), milliseconds(150))
    )
    sector_age_turns: float = field(default=1.5, validator=(validators.gt(1), validators.le(1.5)))
    maximum_turn: Duration = field(
        default=Duration(250_000_000), validator=between(milliseconds(50), milliseconds(1000))
    )
    unknown_stop_mm: int = field(default=1000, validator=_within(1000, 10_000))

    def __attrs_post_init__(self) -> None:
        if not self.stop_mm < self.slow_mm:
            raise SettingClash("slow_mm", f"above stop_mm {self.stop_mm}", self.slow_mm)
        if not self.slow_mm < self.watch_mm:
            raise SettingClash("watch_mm", f"above slow_mm {self.slow_mm}", self.watch_mm)
        for name, sectors in (("open_sectors", self.open_sectors), ("masked_sectors", self.masked_sectors)):
            if any(not 0 <= sector < self.sector_count for sector in sectors) or len(set(sectors)) != len(sectors):
                raise SettingClash(name, f"within 0..{self.sector_count - 1}, each once", list(sectors))
        both = set(self.open_sectors) & set(self.masked_sectors)
        if both:
            raise SettingClash("masked_sectors", "without the open sectors", sorted(both))
        for direction in Direction:
            ahead = self.sectors_ahead(direction)
            if ahead <= set(self.open_sectors):
                # A LiDAR that is blind or covered would read as a clear track.
                words = f"such that one sector is left that must be seen {direction.name.lower()}"
                raise SettingClash("open_sectors", words, sorted(ahead))

    def sectors_ahead(self, direction: Direction) -> frozenset[int]:
        """Sectors that overlap the arc of travel in one direction."""
        return _arc(self, _CENTRE_DEG[direction])

    @property
    def zones(self) -> tuple[tuple[str, int], ...]:
        """Name and limit in millimetres, the closest first."""
        return ((STOP_ZONE, self.stop_mm), (SLOW_ZONE, self.slow_mm), (WATCH_ZONE, self.watch_mm))


class SectorVerdict(enum.Enum):
    """What is known about one sector."""

    CLEAR = "clear"
    WATCH = "watch"
    SLOW = "slow"
    VIOLATED = "violated"
    UNKNOWN = "unknown"


_VERDICTS = {STOP_ZONE: SectorVerdict.VIOLATED, SLOW_ZONE: SectorVerdict.SLOW, WATCH_ZONE: SectorVerdict.WATCH}


class SectorWatch:
    """The last word on one sector. Trips at once; a violation outlives vanishing returns, silence and age."""

    def __init__(self, index: int, config: ZoneConfig) -> None:
        self._index = index
        self._config = config
        self._is_open = index in config.open_sectors
        self._is_masked = index in config.masked_sectors
        self._is_observed = False
        self.hit: ZoneHit | None = None
        self.last_hit_mm: float | None = None
        self.seen_ns: int | None = None

    @property
    def is_violated(self) -> bool:
        """True from the trip until positive returns release it."""
        return self.hit is not None and self.hit.zone == STOP_ZONE

    def update(self, report: SectorReport) -> None:
        """Take one report. One that is not later than the last can trip and do nothing else."""
        if self._is_masked:
            return
        hit = self._judge(report)
        is_trip = hit is not None and hit.zone == STOP_ZONE
        is_later = self.seen_ns is None or report.last_sample_ns > self.seen_ns
        if is_trip or (is_later and (not self.is_violated or self._releases(report))):
            self.hit = hit
        if is_later:
            self.seen_ns = report.last_sample_ns
            self._is_observed = self._observes(report)
            self._remember_nearest(report)

    def is_unknown(self, now_ns: int, age_limit_ns: int | None) -> bool:
        """True if the last report said too little or is too old (`age_limit_ns` None: whatever is held is too old)."""
        if age_limit_ns is None or self.seen_ns is None or not self._is_observed:
            return True
        return now_ns - self.seen_ns > age_limit_ns

    def verdict(self, now_ns: int, age_limit_ns: int | None) -> SectorVerdict:
        """A violation first, then unknown, then the zone of the last report."""
        if self.is_violated:
            return SectorVerdict.VIOLATED
        if self.is_unknown(now_ns, age_limit_ns):
            return SectorVerdict.UNKNOWN
        return SectorVerdict.CLEAR if self.hit is None else _VERDICTS[self.hit.zone]

    def _judge(self, report: SectorReport) -> ZoneHit | None:
        """The closest zone that holds enough points."""
        for zone, limit_mm in self._config.zones:
            points = tuple(point for point in report.near_points if point.distance_mm <= limit_mm)
            if len(points) >= self._config.minimum_points:
                return ZoneHit(zone, limit_mm, self._index, points[0].distance_mm, points, report.last_sample_ns)
        return None

    def _releases(self, report: SectorReport) -> bool:
        if report.nearest_mm is None or report.nearest_mm <= self._config.stop_mm:
            return False
        return report.hits >= self._config.minimum_valid_returns

    def _observes(self, report: SectorReport) -> bool:
        evidence = report.hits + report.no_returns if self._is_open else report.hits
        return evidence >= self._config.minimum_valid_returns

    def _remember_nearest(self, report: SectorReport) -> None:
        """What may still be there while the sector is unknown: the nearest return since it was last observed."""
        if self._is_observed:
            self.last_hit_mm = report.nearest_mm
        elif report.nearest_mm is not None:
            self.last_hit_mm = min(report.nearest_mm, self.last_hit_mm or math.inf)


@frozen
class ZoneView:
    """The zones at one moment for one direction of travel.

    `hits` has the closest violated zone of every sector, nearest first; `stop_hits` those of the stop zone in the
    direction of travel. Any entry of `unknown_sectors` (in the direction of travel) means that no permit may be given;
    `unknown_elsewhere` slows. `must_stop`: a stop hit ahead, or an unknown sector elsewhere whose last hit was near.
    """

    hits: tuple[ZoneHit, ...]
    stop_hits: tuple[ZoneHit, ...]
    unknown_sectors: tuple[int, ...]
    unknown_elsewhere: tuple[int, ...]
    speed_factor: float
    must_stop: bool


class ZoneMonitor:
    """All sectors of one LiDAR; begins with everything unknown."""

    def __init__(self, config: ZoneConfig) -> None:
        self._config = config
        self._watches = tuple(SectorWatch(index, config) for index in range(config.sector_count))
        self._newest_ns: int | None = None
        arcs: dict[Direction | None, frozenset[int]] = {d: _arc(config, centre) for d, centre in _CENTRE_DEG.items()}
        arcs[None] = frozenset[int]().union(*arcs.values())
        self._arcs: Mapping[Direction | None, frozenset[int]] = arcs

    def sectors_ahead(self, direction: Direction | None) -> frozenset[int]:
        """Sectors that overlap the arc of travel; without a direction those of both ways."""
        return self._arcs[direction]

    def update(self, report: SectorReport) -> None:
        """Take a report; raises InvariantViolation if its sector does not exist."""
        if not 0 <= report.index < len(self._watches):
            raise InvariantViolation(f"sector {report.index} of {len(self._watches)}")
        self._watches[report.index].update(report)
        if self._newest_ns is None or report.last_sample_ns > self._newest_ns:
            self._newest_ns = report.last_sample_ns

    def verdicts(self, now_ns: int, turn_period_ns: int | None) -> tuple[SectorVerdict, ...]:
        """One verdict a sector, in order."""
        limit_ns = self._age_limit_ns(now_ns, turn_period_ns)
        return tuple(watch.verdict(now_ns, limit_ns) for watch in self._watches)

    def evaluate(self, direction: Direction | None, now_ns: int, turn_period_ns: int | None) -> ZoneView:
        """Judge for one direction; None (unknown or standing) is judged as both. `turn_period_ns` None: no turn yet."""
        limit_ns = self._age_limit_ns(now_ns, turn_period_ns)
        ahead = self._arcs[direction]
        found = (watch.hit for watch in self._watches if watch.hit is not None)
        hits = tuple(sorted(found, key=lambda hit: hit.nearest_mm))
        hits_ahead = tuple(hit for hit in hits if hit.sector in ahead)
        stop_hits = tuple(hit for hit in hits_ahead if hit.zone == STOP_ZONE)
        unknown = tuple(i for i, watch in enumerate(self._watches) if watch.is_unknown(now_ns, limit_ns))
        elsewhere = tuple(index for index in unknown if index not in ahead)
        is_slow = bool(elsewhere) or any(hit.zone != WATCH_ZONE for hit in hits_ahead)
        return ZoneView(
            hits=hits,
            stop_hits=stop_hits,
            unknown_sectors=tuple(index for index in unknown if index in ahead),
            unknown_elsewhere=elsewhere,
            speed_factor=SLOW_FACTOR if is_slow else 1.0,
            must_stop=bool(stop_hits) or any(self._was_near(index) for index in elsewhere),
        )

    def _was_near(self, index: int) -> bool:
        last_mm = self._watches[index].last_hit_mm
        return last_mm is not None and last_mm <= self._config.unknown_stop_mm

    def _age_limit_ns(self, now_ns: int, turn_period_ns: int | None) -> int | None:
        """How old a sector may be; None if nothing counts: no turn is known, or the link is silent."""
        if turn_period_ns is None or turn_period_ns <= 0 or self._newest_ns is None:
            return None
        if now_ns - self._newest_ns > self._config.link_silence.ns:
            return None
        return round(min(turn_period_ns, self._config.maximum_turn.ns) * self._config.sector_age_turns)


def _arc(config: ZoneConfig, centre_deg: float) -> frozenset[int]:
    """Sectors that overlap the arc around `centre_deg` of the robot's frame."""
    width_deg = 360.0 / config.sector_count
    sign = -1.0 if config.is_mirrored else 1.0
    reach_deg = config.arc_half_width_deg + width_deg / 2 - 1e-6

    def off_centre_deg(index: int) -> float:
        middle_deg = config.mount_angle_deg + sign * (index + 0.5) * width_deg
        return abs((middle_deg - centre_deg + 180.0) % 360.0 - 180.0)

    return frozenset(index for index in range(config.sector_count) if off_centre_deg(index) < reach_deg)
