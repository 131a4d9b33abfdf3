"""Sampling and thinning: how often a row, which values, and unknown told as None."""

import math

import pytest
from attrs import evolve
from memory_samples import MS, START_NS, S, a_module, a_reading, a_sector, a_snapshot, a_stop

from oht50d.core.history import (
    TELEMETRY_FIELDS,
    PurgeReport,
    TelemetrySampler,
    bounded_rows,
    is_moving,
    telemetry_values,
    thinning_step_ms,
)
from oht50d.model.lidar import LidarLinkState, LidarStatus
from oht50d.model.motion import MachineState, StopPhase
from oht50d.model.registers import ModuleKind, Quality


def rows_over(sampler: TelemetrySampler, seconds: float, **changes: object) -> int:
    """Rows out of snapshots every 50 ms."""
    steps = round(seconds / 0.05)
    return sum(
        sampler.sample(a_snapshot(taken_ns=START_NS + step * 50 * MS, **changes)) is not None for step in range(steps)
    )


def test_at_rest_a_row_every_five_seconds() -> None:
    assert rows_over(TelemetrySampler(), 20.0) == 4


def test_in_motion_five_rows_a_second() -> None:
    assert rows_over(TelemetrySampler(), 20.0, state=MachineState.MOVE, velocity_mm_s=250.0) == 100


def test_a_state_change_is_kept_at_once() -> None:
    sampler = TelemetrySampler()
    assert sampler.sample(a_snapshot()) is not None
    assert sampler.sample(a_snapshot(taken_ns=START_NS + MS)) is None
    row = sampler.sample(a_snapshot(taken_ns=START_NS + 2 * MS, state=MachineState.SAFE))
    assert row is not None
    assert row.values["state"] == "SAFE"
    assert row.monotonic_ns == START_NS + 2 * MS
    assert row.utc == "2024-05-01T12:00:00.002Z"


def test_a_latch_and_the_start_of_motion_are_kept_at_once() -> None:
    sampler = TelemetrySampler()
    sampler.sample(a_snapshot())
    assert sampler.sample(a_snapshot(taken_ns=START_NS + MS, is_latched=True)) is not None
    assert sampler.sample(a_snapshot(taken_ns=START_NS + 2 * MS, is_latched=True, velocity_mm_s=-40.0)) is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, False),
        ({"velocity_mm_s": None}, False),
        ({"velocity_mm_s": 4.9}, False),
        ({"velocity_mm_s": -5.0}, True),
        ({"state": MachineState.DOCK}, True),
        ({"stop": a_stop(1, StopPhase.STOPPING)}, True),
        ({"stop": a_stop(1, StopPhase.NOT_CONFIRMED)}, True),
        ({"stop": a_stop(1, StopPhase.STANDSTILL)}, False),
    ],
)
def test_what_counts_as_motion(changes: dict[str, object], expected: bool) -> None:
    assert is_moving(a_snapshot(**changes)) is expected


def test_every_value_of_a_healthy_robot_is_known() -> None:
    values = telemetry_values(a_snapshot())
    assert list(values) == [field.name for field in TELEMETRY_FIELDS]
    assert None not in values.values()
    assert values["battery_soc_percent"] == 87.5
    assert values["drive_1_enable"] is False
    assert values["lidar_nearest_mm"] == 812.0
    assert values["position_mm"] == 1234.0
    assert values["modules_online"] == 2


@pytest.mark.parametrize(
    ("age_ns", "quality", "expected"),
    [
        (5 * S, Quality.GOOD, 87.5),
        (5 * S + 1, Quality.GOOD, None),
        (0, Quality.OUT_OF_RANGE, None),
        (0, Quality.UNKNOWN_CODE, None),
    ],
)
def test_stale_or_doubtful_values_are_unknown(age_ns: int, quality: Quality, expected: float | None) -> None:
    reading = a_reading("battery.soc", 87.5, received_ns=START_NS - age_ns, quality=quality)
    snapshot = a_snapshot(modules=(a_module(2, ModuleKind.POWER, reading),))
    assert telemetry_values(snapshot)["battery_soc_percent"] == expected
    assert telemetry_values(snapshot)["battery_voltage_v"] is None


def test_values_that_json_cannot_hold_are_unknown() -> None:
    values = telemetry_values(a_snapshot(velocity_mm_s=math.nan, position_mm=math.inf))
    assert values["velocity_mm_s"] is None
    assert values["position_mm"] is None


def test_nearest_point_is_the_smallest_of_the_fresh_sectors() -> None:
    fresh, stale = a_sector(0, 900.0, START_NS - S), a_sector(1, 100.0, START_NS - S - 1)
    empty = a_sector(2, None, START_NS)
    assert telemetry_values(a_snapshot(sectors=(fresh, stale, None, empty)))["lidar_nearest_mm"] == 900.0
    assert telemetry_values(a_snapshot(sectors=(stale, empty)))["lidar_nearest_mm"] is None


def test_a_lidar_that_does_not_scan_sees_nothing() -> None:
    values = telemetry_values(a_snapshot(lidar=LidarStatus(LidarLinkState.SILENT)))
    assert values["lidar_nearest_mm"] is None
    assert values["lidar_state"] == "silent"


@pytest.mark.parametrize(
    ("interval_s", "expected"),
    [(1.0, 1000), (0.0, 1), (-3.0, 1), (math.nan, 1), (math.inf, 1), (0.0001, 1), (1e9, 86_400_000), (60, 60_000)],
)
def test_the_thinning_step_is_bounded(interval_s: float, expected: int) -> None:
    assert thinning_step_ms(interval_s) == expected


def test_row_limits_are_bounded() -> None:
    assert [bounded_rows(limit, 100) for limit in (-1, 0, 1, 100, 101)] == [1, 1, 1, 100, 100]


def test_a_purge_is_squeezed_when_rows_went_early() -> None:
    assert not PurgeReport(telemetry_aged=5).is_squeezed
    assert evolve(PurgeReport(), events_squeezed=1).is_squeezed
