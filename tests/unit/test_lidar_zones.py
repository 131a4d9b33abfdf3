"""Zones: trips, releases, the unknown, the two ages, directions and the settings that are refused."""

from collections.abc import Iterable
from typing import Any

import pytest

from oht50d.core.zones import SectorVerdict, ZoneConfig, ZoneMonitor, ZoneView
from oht50d.model.errors import InvariantViolation
from oht50d.model.lidar import LidarPoint, SectorReport
from oht50d.model.motion import Direction
from oht50d.model.units import Duration

MS = 1_000_000
TURN_NS = 180 * MS
FORWARD_SECTORS = (*range(6), *range(30, 36))


def report(index: int, distances: Iterable[float], *, at_ns: int = 0, no_returns: int = 0) -> SectorReport:
    near = sorted(mm for mm in distances if mm > 0)
    points = tuple(LidarPoint(index * 10 + i / 10, mm) for i, mm in enumerate(near) if mm <= 2500)
    return SectorReport(
        index=index,
        first_sample_ns=at_ns - 5 * MS,
        last_sample_ns=at_ns,
        samples=len(near) + no_returns,
        hits=len(near),
        no_returns=no_returns,
        nearest_mm=near[0] if near else None,
        near_points=points[:16],
    )


def clear_monitor(config: ZoneConfig | None = None, at_ns: int = 0) -> ZoneMonitor:
    monitor = ZoneMonitor(config or ZoneConfig())
    for index in range(36):
        monitor.update(report(index, [4000.0] * 20, at_ns=at_ns))
    return monitor


def ahead(monitor: ZoneMonitor, now_ns: int = 0, turn_ns: int | None = TURN_NS) -> ZoneView:
    return monitor.evaluate(Direction.FORWARD, now_ns, turn_ns)


def test_everything_is_unknown_before_the_first_report() -> None:
    view = ahead(ZoneMonitor(ZoneConfig()))
    assert view.unknown_sectors == tuple(sorted(FORWARD_SECTORS))
    assert len(view.unknown_elsewhere) == 24
    assert view.speed_factor == 0.5
    assert not view.must_stop  # nothing was ever seen near; the unknown way ahead forbids the permit by itself


def test_enough_far_returns_everywhere_are_clear() -> None:
    monitor = clear_monitor()
    view = ahead(monitor, 10 * MS)
    assert view == ZoneView((), (), (), (), 1.0, False)
    assert set(monitor.verdicts(10 * MS, TURN_NS)) == {SectorVerdict.CLEAR}


@pytest.mark.parametrize(
    ("distance_mm", "zone", "verdict", "speed_factor", "must_stop"),
    [
        (400.0, "stop", SectorVerdict.VIOLATED, 0.5, True),
        (500.0, "stop", SectorVerdict.VIOLATED, 0.5, True),
        (500.25, "slow", SectorVerdict.SLOW, 0.5, False),
        (1000.0, "slow", SectorVerdict.SLOW, 0.5, False),
        (1000.25, "watch", SectorVerdict.WATCH, 1.0, False),
        (2000.0, "watch", SectorVerdict.WATCH, 1.0, False),
    ],
)
def test_the_closest_zone_wins_and_boundaries_belong_to_it(
    distance_mm: float, zone: str, verdict: SectorVerdict, speed_factor: float, must_stop: bool
) -> None:
    monitor = clear_monitor()
    monitor.update(report(2, [distance_mm] * 2 + [4000.0] * 18, at_ns=20 * MS))
    view = ahead(monitor, 20 * MS)
    (hit,) = view.hits
    assert (hit.zone, hit.sector, hit.nearest_mm, hit.seen_ns) == (zone, 2, distance_mm, 20 * MS)
    assert [point.distance_mm for point in hit.points] == [distance_mm] * 2
    assert view.speed_factor == speed_factor
    assert view.must_stop is must_stop
    assert monitor.verdicts(20 * MS, TURN_NS)[2] is verdict


def test_one_point_is_not_enough_unless_configured() -> None:
    monitor = clear_monitor()
    monitor.update(report(0, [400.0] + [4000.0] * 19, at_ns=1))
    assert ahead(monitor, 1).hits == ()
    monitor = clear_monitor(ZoneConfig(minimum_points=1))
    monitor.update(report(0, [400.0] + [4000.0] * 19, at_ns=1))
    assert ahead(monitor, 1).must_stop


@pytest.mark.parametrize(
    "later",
    [
        [],  # everything vanished
        [4000.0] * 3,  # too few
        [4000.0] * 19 + [500.0],  # one point is still inside
        [500.0] * 2 + [4000.0] * 18,
    ],
)
def test_a_violation_is_not_released_by_less_than_positive_returns_beyond(later: list[float]) -> None:
    monitor = clear_monitor()
    monitor.update(report(0, [450.0] * 5 + [4000.0] * 10, at_ns=1 * MS))
    monitor.update(report(0, later, at_ns=2 * MS, no_returns=20))
    assert ahead(monitor, 2 * MS).must_stop
    assert monitor.verdicts(2 * MS, TURN_NS)[0] is SectorVerdict.VIOLATED
    monitor.update(report(0, [500.25] * 4, at_ns=3 * MS))
    view = ahead(monitor, 3 * MS)
    assert not view.must_stop
    assert [hit.zone for hit in view.hits] == ["slow"]


def test_a_violated_open_sector_is_not_released_by_absence_either() -> None:
    monitor = clear_monitor(ZoneConfig(open_sectors=(0,)))
    monitor.update(report(0, [450.0] * 5, at_ns=1 * MS))
    monitor.update(report(0, [], at_ns=2 * MS, no_returns=20))
    view = ahead(monitor, 2 * MS)
    assert view.must_stop
    assert view.unknown_sectors == ()


def test_an_older_report_can_trip_and_not_release() -> None:
    monitor = clear_monitor(at_ns=10 * MS)
    monitor.update(report(0, [450.0] * 5, at_ns=9 * MS))
    assert ahead(monitor, 10 * MS).must_stop
    monitor.update(report(0, [4000.0] * 20, at_ns=10 * MS))
    assert ahead(monitor, 10 * MS).must_stop


@pytest.mark.parametrize("distances", [[], [4000.0] * 3])
def test_too_few_returns_ahead_are_unknown(distances: list[float]) -> None:
    monitor = clear_monitor()
    monitor.update(report(35, distances, at_ns=1, no_returns=17))
    view = ahead(monitor, 1)
    assert view.unknown_sectors == (35,)
    assert monitor.verdicts(1, TURN_NS)[35] is SectorVerdict.UNKNOWN
    assert monitor.evaluate(Direction.REVERSE, 1, TURN_NS).unknown_elsewhere == (35,)


def test_measured_absence_is_clear_in_an_open_sector_only() -> None:
    monitor = clear_monitor(ZoneConfig(open_sectors=(0,)))
    for index in (0, 1):
        monitor.update(report(index, [], at_ns=1, no_returns=20))
    assert ahead(monitor, 1).unknown_sectors == (1,)
    monitor.update(report(0, [], at_ns=2, no_returns=3))
    assert ahead(monitor, 2).unknown_sectors == (0, 1)


def test_a_masked_sector_counts_as_unobserved() -> None:
    monitor = clear_monitor(ZoneConfig(masked_sectors=(0, 18)))
    monitor.update(report(0, [200.0] * 20, at_ns=1))
    view = ahead(monitor, 1)
    assert (view.unknown_sectors, view.unknown_elsewhere, view.hits) == ((0,), (18,), ())
    assert view.speed_factor == 0.5


@pytest.mark.parametrize(
    ("last_mm", "few", "must_stop"),
    [(1000.0, [], True), (1001.0, [], False), (4000.0, [900.0], True), (900.0, [4000.0], True), (900.0, [950.0], True)],
)
def test_an_unknown_sector_elsewhere_slows_and_stops_where_the_last_hit_was_near(
    last_mm: float, few: list[float], must_stop: bool
) -> None:
    monitor = clear_monitor()
    monitor.update(report(18, [last_mm] * 20, at_ns=1))
    assert (ahead(monitor, 1).speed_factor, ahead(monitor, 1).must_stop) == (1.0, False)
    monitor.update(report(18, few, at_ns=2, no_returns=20))
    view = ahead(monitor, 2)
    assert (view.unknown_elsewhere, view.speed_factor, view.must_stop) == ((18,), 0.5, must_stop)
    monitor.update(report(18, [3000.0] * 20, at_ns=3))
    assert (ahead(monitor, 3).speed_factor, ahead(monitor, 3).must_stop) == (1.0, False)


def test_a_person_beside_the_way_is_told_and_does_not_stop() -> None:
    monitor = clear_monitor()
    monitor.update(report(18, [300.0] * 20, at_ns=1))
    view = ahead(monitor, 1)
    assert [hit.sector for hit in view.hits] == [18]
    assert (view.stop_hits, view.must_stop) == ((), False)
    assert monitor.evaluate(Direction.REVERSE, 1, TURN_NS).must_stop
    assert monitor.evaluate(None, 1, TURN_NS).must_stop


def test_hits_are_told_nearest_first() -> None:
    monitor = clear_monitor()
    for index, mm in ((3, 900.0), (18, 300.0), (1, 450.0)):
        monitor.update(report(index, [mm] * 20, at_ns=1))
    assert [hit.nearest_mm for hit in ahead(monitor, 1).hits] == [300.0, 450.0, 900.0]


def test_a_sector_is_unknown_after_one_and_a_half_turns() -> None:
    monitor = clear_monitor()
    for at_ns in (140 * MS, 270 * MS, 271 * MS):
        monitor.update(report(9, [4000.0] * 20, at_ns=at_ns))  # the link is alive
    assert ahead(monitor, 270 * MS).unknown_sectors == ()
    assert ahead(monitor, 270 * MS + 1).unknown_sectors == tuple(sorted(FORWARD_SECTORS))
    assert monitor.evaluate(Direction.FORWARD, 270 * MS + 1, 90 * MS).unknown_sectors != ()


def test_a_slow_motor_does_not_stretch_the_age_beyond_the_bound() -> None:
    monitor = clear_monitor()
    for at_ns in (140 * MS, 280 * MS, 376 * MS):
        monitor.update(report(9, [4000.0] * 20, at_ns=at_ns))
    assert ahead(monitor, 375 * MS, 2000 * MS).unknown_sectors == ()
    assert ahead(monitor, 376 * MS, 2000 * MS).unknown_sectors == tuple(sorted(FORWARD_SECTORS))


def test_a_silent_link_makes_everything_unknown() -> None:
    monitor = clear_monitor()
    assert ahead(monitor, 150 * MS).unknown_sectors == ()
    assert len(ahead(monitor, 150 * MS + 1).unknown_sectors) == 12
    assert len(ahead(monitor, 150 * MS + 1).unknown_elsewhere) == 24


@pytest.mark.parametrize("turn_ns", [None, 0, -5])
def test_without_a_turn_everything_is_unknown(turn_ns: int | None) -> None:
    assert len(ahead(clear_monitor(), 0, turn_ns).unknown_sectors) == 12


@pytest.mark.parametrize(
    ("mount_deg", "is_mirrored", "sectors"),
    [
        (0.0, False, set(FORWARD_SECTORS)),
        (180.0, False, set(range(12, 24))),
        (90.0, False, set(range(21, 33))),
        (90.0, True, set(range(3, 15))),
        (5.0, False, {0, 1, 2, 3, 4, 5, 29, 30, 31, 32, 33, 34, 35}),
    ],
)
def test_the_way_ahead_follows_the_mounting(mount_deg: float, is_mirrored: bool, sectors: set[int]) -> None:
    monitor = ZoneMonitor(ZoneConfig(mount_angle_deg=mount_deg, is_mirrored=is_mirrored))
    assert monitor.sectors_ahead(Direction.FORWARD) == sectors
    assert monitor.sectors_ahead(None) == sectors | monitor.sectors_ahead(Direction.REVERSE)


@pytest.mark.parametrize("index", [-1, 36])
def test_a_sector_that_does_not_exist_is_a_defect(index: int) -> None:
    with pytest.raises(InvariantViolation):
        ZoneMonitor(ZoneConfig()).update(report(index, []))


@pytest.mark.parametrize(
    "settings",
    [
        {"stop_mm": 0},
        {"stop_mm": 1000},
        {"slow_mm": 2000},
        {"stop_mm": 1500, "slow_mm": 1200},
        {"watch_mm": 10_001},
        {"minimum_points": 0},
        {"minimum_points": 4},
        {"minimum_valid_returns": 3},
        {"arc_half_width_deg": 0.0},
        {"open_sectors": (36,)},
        {"masked_sectors": (-1,)},
        {"open_sectors": (3,), "masked_sectors": (3,)},
        {"sector_age_turns": 1.6},
        {"sector_age_turns": 0.0},
        {"link_silence": Duration(0)},
        {"link_silence": Duration(151 * MS)},
        {"maximum_turn": Duration(0)},
        {"unknown_stop_mm": 500},
    ],
)
def test_settings_that_would_switch_a_zone_off_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ZoneConfig(**settings)
