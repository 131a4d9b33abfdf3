"""The reaction sum: every stage is counted, distances follow from speed and ramp."""

import pytest
from attrs import evolve
from core_fixtures import CONFIG, MS, TIMES, shipped_maps

from oht50d.core.poll_plan import PollPlan, plan_blocks, worst_block_ns
from oht50d.core.reaction import TURNAROUND_NS, ReactionModel, ReactionSum, Stage

BLOCKS = [block for module in shipped_maps() for block in plan_blocks(module)]


def model(*, has_drive_timeout: bool = False, drives: int = 2) -> ReactionModel:
    return ReactionModel(
        config=CONFIG, plan=PollPlan(BLOCKS), times=TIMES, baud=115_200, drives=drives,
        has_drive_timeout=has_drive_timeout, speed_mm_s=100.0,
    )  # fmt: skip


def test_time_and_distance_by_hand() -> None:
    total = ReactionSum("x", (Stage("a", 30 * MS), Stage("b", 70 * MS)), speed_mm_s=400.0, deceleration_mm_s2=800.0)
    assert total.until_output_zero_ns == 100 * MS
    assert total.ramp_ns == 500 * MS
    assert total.total_ms == pytest.approx(600.0)
    assert total.distance_mm == pytest.approx(400 * 0.1 + 400 * 0.5 / 2)


def test_one_sum_per_cause_and_the_drives_own_time_out_only_where_there_is_one() -> None:
    causes = [found.cause for found in model().sums()]
    assert causes == [
        "STOP or SIGTERM", "obstacle in the stop zone", "LiDAR silent", "safety bit", "module lost", "jog lease lost",
    ]  # fmt: skip
    assert [found.cause for found in model(has_drive_timeout=True).sums()] == [*causes, "bus closed, drives time out"]


def test_every_sum_holds_the_bus_and_what_comes_before_it() -> None:
    by_cause = {found.cause: found for found in model().sums()}
    stop_ns = by_cause["STOP or SIGTERM"].until_output_zero_ns
    step_ns = CONFIG.step.ns
    assert by_cause["LiDAR silent"].until_output_zero_ns == stop_ns + step_ns + 150 * MS
    assert by_cause["jog lease lost"].until_output_zero_ns == stop_ns + step_ns + 180 * MS
    slowest_turn_ns = CONFIG.zones.maximum_turn.ns
    assert by_cause["obstacle in the stop zone"].until_output_zero_ns >= stop_ns + step_ns + 1.5 * slowest_turn_ns
    assert by_cause["safety bit"].until_output_zero_ns >= stop_ns + step_ns + 50 * MS
    assert by_cause["module lost"].until_output_zero_ns == stop_ns + step_ns + 150 * MS + 2 * TIMES.other_ns
    assert model().after_detection().until_output_zero_ns == stop_ns + step_ns


def test_the_lease_leads_to_setpoint_zero_within_300_ms() -> None:
    found = next(s for s in model().sums() if s.cause == "jog lease lost")
    assert found.until_output_zero_ns <= 300 * MS


def test_the_longest_poll_counts_as_the_exchange_under_way() -> None:
    stage = next(s for s in model().after_detection().stages if "under way" in s.name)
    assert stage.ns >= worst_block_ns(BLOCKS, 115_200, TURNAROUND_NS)


def test_more_drives_and_slower_lines_take_longer() -> None:
    base = model().after_detection().total_ms
    assert model(drives=4).after_detection().total_ms > base
    assert evolve(model(), baud=19_200).after_detection().total_ms > base
    assert evolve(model(), speed_mm_s=200.0).after_detection().distance_mm > model().after_detection().distance_mm


def test_printed_lines_name_every_stage_and_the_end() -> None:
    found = model().sums()[0]
    lines = found.lines()
    assert lines[0] == "STOP or SIGTERM (at 100 mm/s)"
    assert all(any(stage.name in line for line in lines) for stage in found.stages)
    assert "ramp at 200 mm/s2" in lines[-2]
    assert f"{found.total_ms:.1f} ms, {found.distance_mm:.0f} mm" in lines[-1]
