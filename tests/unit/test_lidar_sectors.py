"""Sectors while turning: complete, in order, in time, and honest about what was not swept."""

import numpy as np
import pytest

from oht50d.core.sectors import NEAR_POINTS, PARTIAL_POINTS, TURN_LIMIT, SectorBuilder
from oht50d.model.lidar import LidarScan, SectorReport

PERIOD_NS = 250_000
STEP_DEG = 0.5


class Beam:
    """A device that sends one capsule of 32 samples after the other, its angles pulled back by an offset."""

    def __init__(self, builder: SectorBuilder, *, offset_deg: float = 0.0, hop_deg: float = 0.0) -> None:
        self.builder = builder
        self.position = 0
        self.offset_deg = offset_deg
        self.hop_deg = hop_deg
        self.walls: dict[int, float] = {}
        self.told_deg: list[float] = []

    def sweep(self, samples: int, chunk: int = 32) -> tuple[list[SectorReport], list[LidarScan]]:
        reports: list[SectorReport] = []
        scans: list[LidarScan] = []
        for begin in range(self.position, self.position + samples, chunk):
            steps = np.arange(begin, min(begin + chunk, self.position + samples))
            hops = self.hop_deg * (steps % 3) / 2
            angles = (steps * STEP_DEG - self.offset_deg - hops) % 360.0
            distances = np.array([self.walls.get(int(angle), 4000.0) for angle in angles])
            starts = (steps + 1) % 720 == 0
            more_reports, more_scans = self.builder.add(
                angles,
                distances,
                np.full(len(steps), 188),
                starts,
                received_ns=int(steps[-1]) * PERIOD_NS,
                sample_period_ns=PERIOD_NS,
            )
            reports += more_reports
            scans += more_scans
            self.told_deg += angles.tolist()
        self.position += samples
        return reports, scans


def test_every_sector_is_told_once_a_turn_in_order() -> None:
    reports, _ = Beam(SectorBuilder()).sweep(720 * 3)
    assert [report.index for report in reports[:5]] == [1, 2, 3, 4, 5]
    assert [report.index for report in reports] == [i % 36 for i in range(1, 1 + len(reports))]
    assert {report.samples for report in reports} == {20}
    assert {report.hits for report in reports} == {20}


@pytest.mark.parametrize("sector_count", [12, 36, 40, 120])
def test_other_numbers_of_sectors_work_alike(sector_count: int) -> None:
    reports, _ = Beam(SectorBuilder(sector_count), hop_deg=7.5).sweep(720 * 2)
    first = reports[0].index
    assert [report.index for report in reports] == [i % sector_count for i in range(first, first + len(reports))]
    assert len(reports) > 1.8 * sector_count


@pytest.mark.parametrize("chunk", [1, 7, 32, 500])
def test_hopping_neighbours_stay_in_the_sector_where_they_are(chunk: int) -> None:
    beam = Beam(SectorBuilder(), offset_deg=3.0, hop_deg=7.8)
    reports, _ = beam.sweep(720 * 2, chunk)
    assert [report.index for report in reports] == [
        i % 36 for i in range(reports[0].index, reports[0].index + len(reports))
    ]
    second_turn = {report.index: report.samples for report in reports[-36:]}
    expected = np.bincount([int(angle // 10) for angle in beam.told_deg[-720:]], minlength=36)
    assert second_turn == dict(enumerate(expected.tolist()))


def test_a_sector_is_told_when_the_beam_is_eight_degrees_past_it() -> None:
    beam = Beam(SectorBuilder())
    assert beam.sweep(56, chunk=1)[0] == []  # the front stands at 27.5 degrees
    assert [report.index for report in beam.sweep(1)[0]] == [1]
    assert beam.sweep(19, chunk=1)[0] == []
    assert [report.index for report in beam.sweep(1)[0]] == [2]


def test_sample_times_reach_back_from_the_arrival() -> None:
    reports, scans = Beam(SectorBuilder()).sweep(720 * 3)
    for report in reports[:30]:
        assert report.first_sample_ns == 20 * report.index * PERIOD_NS
        assert report.last_sample_ns == report.first_sample_ns + 19 * PERIOD_NS
    assert [scan.ended_ns - scan.started_ns for scan in scans] == [720 * PERIOD_NS] * 2


def test_near_points_are_the_closest_and_few() -> None:
    beam = Beam(SectorBuilder())
    beam.walls = {50: 700.0, 51: 400.0, 52: 2500.0, 53: 2501.0, 54: 0.0, **dict.fromkeys(range(70, 80), 900.0)}
    reports, _ = beam.sweep(720)
    fifth, seventh = reports[4], reports[6]
    assert (fifth.index, fifth.samples, fifth.hits, fifth.no_returns) == (5, 20, 18, 2)
    assert fifth.nearest_mm == 400.0
    assert [point.distance_mm for point in fifth.near_points] == [400.0, 400.0, 700.0, 700.0, 2500.0, 2500.0]
    assert [point.angle_deg for point in fifth.near_points[:2]] == [51.0, 51.5]
    assert (seventh.hits, len(seventh.near_points)) == (20, NEAR_POINTS)


def test_a_sector_without_returns_says_so() -> None:
    beam = Beam(SectorBuilder())
    beam.walls = dict.fromkeys(range(360), 0.0)
    report = beam.sweep(200)[0][2]
    assert (report.samples, report.hits, report.no_returns, report.nearest_mm, report.near_points) == (
        20,
        0,
        20,
        None,
        (),
    )


def test_a_jump_leaves_unswept_sectors_untold_but_for_the_evidence_against() -> None:
    beam = Beam(SectorBuilder())
    beam.walls = {93: 600.0, 94: 500.0, 161: 300.0}
    before, _ = beam.sweep(190)  # the front stands at 94.5 degrees
    beam.position += 130  # and continues at 160
    after, _ = beam.sweep(100)
    assert [report.index for report in before] == [1, 2, 3, 4, 5, 6, 7]
    assert [report.index for report in after] == [9, 16, 17, 18, 19]
    assert beam.builder.jumps == 1
    ninth, sixteenth, seventeenth = after[:3]
    assert [point.distance_mm for point in ninth.near_points] == [500.0, 500.0, 600.0]
    assert (ninth.samples, ninth.hits, ninth.no_returns) == (PARTIAL_POINTS, PARTIAL_POINTS, 0)
    assert (sixteenth.hits, sixteenth.nearest_mm) == (2, 300.0)
    assert seventeenth.hits == 20


def test_a_backward_jump_is_a_jump_and_a_straggler_is_not() -> None:
    beam = Beam(SectorBuilder())
    beam.sweep(200)
    beam.position -= 80
    beam.sweep(100)
    assert beam.builder.jumps == 1
    straggler = Beam(SectorBuilder())
    told, _ = straggler.sweep(200, 200)
    straggler.builder.add(
        np.array([99.0 - 25.0]),
        np.array([250.0]),
        np.array([188]),
        np.array([False]),
        received_ns=200 * PERIOD_NS,
        sample_period_ns=PERIOD_NS,
    )
    more, _ = straggler.sweep(60)
    assert straggler.builder.jumps == 0
    assert [report.index for report in told + more] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    assert more[0].nearest_mm == 250.0  # told at 74 degrees, counted where it can still be told


def test_an_interruption_keeps_the_turn_and_a_restart_voids_it() -> None:
    beam = Beam(SectorBuilder())
    beam.sweep(1000)
    assert beam.builder.interrupt() == []
    assert len(beam.sweep(720)[1]) == 1
    assert beam.builder.restart() == []
    assert len(beam.sweep(720)[1]) == 0
    assert len(beam.sweep(720)[1]) == 1


def test_evidence_survives_an_interruption() -> None:
    beam = Beam(SectorBuilder())
    beam.walls = {95: 800.0}
    beam.sweep(200)
    (report,) = beam.builder.interrupt()
    assert (report.index, report.hits, report.nearest_mm) == (9, 2, 800.0)
    assert beam.builder.interrupt() == []


def test_turns_are_whole_and_numbered_and_display_what_was_measured() -> None:
    beam = Beam(SectorBuilder(), offset_deg=3.0)
    _, scans = beam.sweep(720 * 4)
    assert [scan.number for scan in scans] == [1, 2, 3]
    assert beam.builder.turns == 3
    scan = scans[0]
    assert scan.angles_deg.tolist() == pytest.approx(beam.told_deg[719 : 719 + 720])
    assert scan.distances_mm.tolist() == [4000.0] * 720
    assert scan.qualities.tolist() == [188] * 720


def test_a_turn_without_end_is_bounded() -> None:
    builder = SectorBuilder()
    for begin in range(0, TURN_LIMIT + 1000, 100):
        angles = (np.arange(begin, begin + 100) * 0.1) % np.float64(360)
        starts = np.arange(begin, begin + 100) == 0
        builder.add(angles, np.ones(100), np.ones(100, int), starts, received_ns=0, sample_period_ns=0)
    _, (scan,) = builder.add(
        np.array([9199 * 0.1 % 360]), np.ones(1), np.ones(1, int), np.array([True]), received_ns=0, sample_period_ns=0
    )
    assert len(scan.angles_deg) == TURN_LIMIT
    assert builder.dropped_samples == 9200 - TURN_LIMIT


def test_nothing_in_nothing_out() -> None:
    none = np.array([])
    builder = SectorBuilder()
    assert builder.add(none, none, none.astype(int), none.astype(bool), received_ns=0, sample_period_ns=1) == ([], [])


def test_hours_of_turning_change_nothing() -> None:
    beam = Beam(SectorBuilder(), hop_deg=7.5)
    reports, _ = beam.sweep(720 * 40, chunk=360)
    assert [report.index for report in reports] == [
        i % 36 for i in range(reports[0].index, reports[0].index + len(reports))
    ]
    assert len(reports) >= 39 * 36


def test_a_narrow_sector_that_no_sample_fell_into_is_not_told() -> None:
    builder = SectorBuilder(120)
    angles = np.arange(0.0, 360.0, 5.0)
    reports, _ = builder.add(
        angles,
        np.full(72, 4000.0),
        np.full(72, 1),
        np.zeros(72, bool),
        received_ns=0,
        sample_period_ns=PERIOD_NS,
    )
    assert [report.index for report in reports] == [i for i in range(3, 115) if i in {int(a // 3) for a in angles}]
