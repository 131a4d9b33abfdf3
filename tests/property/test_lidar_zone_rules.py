"""The rules of SAFETY.md, Inputs, for any history of reports."""

from hypothesis import given
from hypothesis import strategies as st

from oht50d.core.zones import ZoneConfig, ZoneMonitor
from oht50d.model.lidar import LidarPoint, SectorReport
from oht50d.model.motion import Direction

MS = 1_000_000
STEP_NS = 5 * MS
TURN_NS = 180 * MS
CONFIG = ZoneConfig(open_sectors=(7,), masked_sectors=(20,))

distance = st.one_of(st.integers(1, 16000), st.sampled_from([300, 500, 501, 1000, 1001, 2000, 2001])).map(float)
directions = st.sampled_from([Direction.FORWARD, Direction.REVERSE, None])
sweeps = st.lists(st.tuples(st.integers(0, 35), st.lists(distance, max_size=25), st.integers(0, 25)), max_size=60)


def report(index: int, distances: list[float], no_returns: int, at_ns: int) -> SectorReport:
    ordered = sorted(distances)
    points = tuple(LidarPoint(10.0 * index, mm) for mm in ordered if mm <= 2500)[:16]
    nearest = ordered[0] if ordered else None
    samples = len(ordered) + no_returns
    return SectorReport(index, at_ns - STEP_NS, at_ns, samples, len(ordered), no_returns, nearest, points)


def played(history: list[tuple[int, list[float], int]], *, is_clear_before: bool) -> tuple[ZoneMonitor, int]:
    monitor, now_ns = ZoneMonitor(CONFIG), 0
    if is_clear_before:
        for index in range(36):
            monitor.update(report(index, [5000.0] * 20, 0, now_ns))
    for index, distances, no_returns in history:
        now_ns += STEP_NS // 10
        monitor.update(report(index, distances, no_returns, now_ns))
    return monitor, now_ns


@given(
    past=st.tuples(sweeps, st.booleans()),
    index=st.integers(0, 35),
    seen=st.lists(distance, min_size=CONFIG.minimum_valid_returns, max_size=25),
    obstacle=distance,
    direction=directions,
)
def test_one_more_obstacle_point_never_makes_anything_better(
    past: tuple[list[tuple[int, list[float], int]], bool],
    index: int,
    seen: list[float],
    obstacle: float,
    direction: Direction | None,
) -> None:
    views = []
    for distances in (seen, [*seen, obstacle]):
        monitor, now_ns = played(past[0], is_clear_before=past[1])
        monitor.update(report(index, distances, 0, now_ns + 1))
        views.append(monitor.evaluate(direction, now_ns + 1, TURN_NS))
    without, with_obstacle = views
    assert with_obstacle.speed_factor <= without.speed_factor
    assert with_obstacle.must_stop or not without.must_stop
    assert set(with_obstacle.unknown_sectors) >= set(without.unknown_sectors)


@given(
    history=sweeps,
    index=st.integers(0, 35).filter(lambda sector: sector not in CONFIG.masked_sectors),
    few=st.lists(st.lists(distance, max_size=CONFIG.minimum_valid_returns - 1), max_size=10),
    no_returns=st.integers(0, 30),
)
def test_vanishing_returns_never_release(
    history: list[tuple[int, list[float], int]], index: int, few: list[list[float]], no_returns: int
) -> None:
    monitor, now_ns = played(history, is_clear_before=True)
    monitor.update(report(index, [400.0] * 3 + [4000.0] * 10, 0, now_ns + 1))
    for step, distances in enumerate(few):
        monitor.update(report(index, distances, no_returns, now_ns + 2 + step))
    view = monitor.evaluate(None, now_ns + 20, TURN_NS)
    assert any(hit.sector == index and hit.zone == "stop" for hit in view.hits)
    for direction in Direction:
        if index in monitor.sectors_ahead(direction):
            assert monitor.evaluate(direction, now_ns + 20, TURN_NS).must_stop


@given(history=sweeps, silent=st.sets(st.integers(0, 35)), direction=directions)
def test_missing_reports_are_unknown(
    history: list[tuple[int, list[float], int]], silent: set[int], direction: Direction | None
) -> None:
    monitor, now_ns = played(history, is_clear_before=True)
    last_ns = now_ns + 2 * TURN_NS
    for index in set(range(36)) - silent:
        monitor.update(report(index, [5000.0] * 20, 0, last_ns))
    view = monitor.evaluate(direction, last_ns, TURN_NS)
    assert set(view.unknown_sectors) | set(view.unknown_elsewhere) == silent | {20}
    late = monitor.evaluate(direction, last_ns + CONFIG.link_silence.ns + 1, TURN_NS)
    assert len(late.unknown_sectors) + len(late.unknown_elsewhere) == 36
    assert late.speed_factor == 0.5 or direction is not None or not late.unknown_elsewhere


@given(history=sweeps, direction=directions)
def test_a_permit_never_meets_a_stop_hit_ahead(
    history: list[tuple[int, list[float], int]], direction: Direction | None
) -> None:
    monitor, now_ns = played(history, is_clear_before=True)
    view = monitor.evaluate(direction, now_ns, TURN_NS)
    assert view.must_stop or not view.stop_hits
    assert {hit.sector for hit in view.stop_hits} <= monitor.sectors_ahead(direction)
    assert not set(view.unknown_sectors) & set(view.unknown_elsewhere)
