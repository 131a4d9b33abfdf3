"""Which block is read next, and what the plan costs on the wire."""

from pathlib import Path

import pytest

from oht50d.codec.registers import load_module_map
from oht50d.core.poll_plan import (
    RATES,
    PollPlan,
    block_ns,
    plan_blocks,
    plan_utilisation,
    transaction_ns,
    worst_block_ns,
)
from oht50d.model.registers import (
    Access,
    DataType,
    ModuleKind,
    ModuleMap,
    PollClass,
    RegisterBlock,
    RegisterSpec,
)

MODULES = Path(__file__).parents[2] / "config" / "modules"
MS = 1_000_000
NOBODY: frozenset[int] = frozenset()


def spec(address: int, poll: PollClass | None, access: Access = Access.RO) -> RegisterSpec:
    return RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", access, "d", poll=poll)


def module(*specs: RegisterSpec) -> ModuleMap:
    return ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, specs)


def block(poll: PollClass, unit: int = 3) -> RegisterBlock:
    return RegisterBlock(unit, ModuleKind.SAFETY, poll, 0, (spec(0, poll),))


def shipped(name: str) -> tuple[RegisterBlock, ...]:
    return plan_blocks(load_module_map((MODULES / f"{name}.toml").read_text(), file=name))


def spans(blocks: tuple[RegisterBlock, ...]) -> list[tuple[int, int, PollClass]]:
    return [(entry.first, entry.count, entry.poll) for entry in blocks]


def test_blocks_end_at_gaps_classes_unreadable_and_unpolled_registers_and_at_the_limit() -> None:
    slow, static = PollClass.SLOW, PollClass.STATIC
    blocks = plan_blocks(
        module(
            *(spec(0, slow), spec(1, slow), spec(2, static), spec(4, static), spec(5, None)),
            *(spec(6, static), spec(7, None, Access.WO), spec(8, static)),
            *(spec(address, slow) for address in range(20, 25)),
        ),
        max_registers=3,
    )
    assert spans(blocks) == [
        *((0, 2, slow), (2, 1, static), (4, 1, static), (6, 1, static), (8, 1, static)),
        *((20, 3, slow), (23, 2, slow)),
    ]
    assert {entry.unit for entry in blocks} == {5}
    assert plan_blocks(module()) == ()


def test_blocks_of_the_shipped_maps() -> None:
    assert spans(shipped("safety"))[:4] == [
        (0x00, 8, PollClass.SAFETY),
        (0x10, 8, PollClass.AUXILIARY),
        (0x20, 5, PollClass.INPUTS),
        (0x30, 5, PollClass.AUXILIARY),
    ]
    assert spans(shipped("travel_motor_timeout")) == [
        *((0x00, 13, PollClass.MOTOR), (0x10, 13, PollClass.MOTOR), (0x20, 5, PollClass.SLOW)),
        *((0x30, 6, PollClass.SLOW), (0xF8, 15, PollClass.STATIC), (0x107, 2, PollClass.SLOW)),
    ]
    assert (0x30, 12, PollClass.POSITION) in spans(shipped("dock"))
    assert spans(shipped("power"))[0] == (0, 20, PollClass.BATTERY)


def test_line_times_are_those_of_the_performance_page() -> None:
    assert transaction_ns(115_200, 8, 85, 1 * MS) == pytest.approx(12_573_000, abs=1_000)
    assert block_ns(block(PollClass.SLOW), 115_200, 0) == transaction_ns(115_200, 8, 7, 0)
    assert worst_block_ns([], 115_200, 0) == 0
    every = [entry for name in ("power", "safety", "travel_motor", "dock") for entry in shipped(name)]
    assert worst_block_ns(every, 115_200, 1 * MS) == transaction_ns(115_200, 8, 5 + 2 * 30, 1 * MS)


def test_the_shipped_maps_fit_the_wire() -> None:
    every = [entry for name in ("power", "safety", "travel_motor", "dock") for entry in shipped(name)]
    assert 0.7 < plan_utilisation(every, 115_200, 1 * MS, is_moving=False) < 0.85
    assert 0.7 < plan_utilisation(every, 115_200, 1 * MS) < 0.85, "room for motion writes at 20 Hz"
    assert plan_utilisation([], 115_200, 0) == 0


def test_rates() -> None:
    assert {poll: (rate.rest.ms, rate.moving.ms) for poll, rate in RATES.items()} == {
        PollClass.SAFETY: (50, 50),
        PollClass.MOTOR: (50, 50),
        PollClass.POSITION: (100, 50),
        PollClass.DOCK: (100, 200),
        PollClass.IMU: (100, 500),
        PollClass.INPUTS: (200, 200),
        PollClass.BATTERY: (1000, 1000),
        PollClass.AUXILIARY: (1000, 1000),
        PollClass.SLOW: (5000, 5000),
        PollClass.STATIC: (30_000, 30_000),
    }


def test_everything_is_due_at_the_start_and_safety_goes_first() -> None:
    static, motor, safety = block(PollClass.STATIC), block(PollClass.MOTOR), block(PollClass.SAFETY)
    plan = PollPlan([static, motor, safety])
    assert plan.blocks == (static, motor, safety)
    now = 7_000_000 * MS
    due = plan.next_due_ns(is_moving=False)
    assert due is not None
    assert due <= now
    order = []
    for _ in range(3):
        chosen = plan.next_block(now, is_moving=False)
        assert chosen is not None
        order.append(chosen)
        plan.mark_sent(chosen, now)
    assert order == [safety, motor, static]
    assert plan.next_block(now, is_moving=False) is None
    assert plan.next_due_ns(is_moving=False) == now + 50 * MS


def test_the_rhythm_is_kept_when_a_block_is_late_and_starts_anew_after_a_missed_period() -> None:
    safety = block(PollClass.SAFETY)
    plan = PollPlan([safety])
    plan.mark_sent(safety, 1000 * MS)
    plan.mark_sent(safety, 1060 * MS)
    assert plan.next_due_ns(is_moving=False) == 1100 * MS
    plan.mark_sent(safety, 1160 * MS)
    assert plan.next_due_ns(is_moving=False) == 1210 * MS
    plan.mark_sent(safety, 1170 * MS)
    assert plan.next_due_ns(is_moving=False) == 1220 * MS, "an early reading moves the rhythm"


def test_moving_changes_the_periods_at_once() -> None:
    position, imu = block(PollClass.POSITION), block(PollClass.IMU)
    plan = PollPlan([position, imu])
    for entry in (position, imu):
        plan.mark_sent(entry, 0)
    assert plan.next_block(50 * MS, is_moving=False) is None
    assert plan.next_block(50 * MS, is_moving=True) is position
    plan.mark_sent(position, 50 * MS)
    assert plan.next_block(100 * MS, is_moving=True) is position
    plan.mark_sent(position, 100 * MS)
    assert plan.next_block(140 * MS, is_moving=False) is imu


def test_a_skipped_unit_is_left_out_and_cannot_push_in_front_of_safety_later() -> None:
    safety, lost = block(PollClass.SAFETY, 3), block(PollClass.BATTERY, 2)
    plan = PollPlan([lost, safety])
    skip = frozenset({2})
    assert plan.next_block(1000 * MS, is_moving=False, skip_units=skip) is safety
    plan.mark_sent(safety, 1000 * MS)
    assert plan.next_block(1001 * MS, is_moving=False, skip_units=skip) is None
    assert plan.next_due_ns(is_moving=False, skip_units=skip) == 1050 * MS
    assert plan.next_due_ns(is_moving=False, skip_units=frozenset({2, 3})) is None
    assert plan.next_block(1080 * MS, is_moving=False) is safety, "both deadlines have passed: the class decides"


def test_expedite_makes_a_unit_due_now_and_leaves_others() -> None:
    mine, other, fast = block(PollClass.STATIC, 4), block(PollClass.STATIC, 5), block(PollClass.SAFETY, 4)
    plan = PollPlan([mine, other, fast])
    for entry in (mine, other):
        plan.mark_sent(entry, 1000 * MS)
    plan.mark_sent(fast, 1900 * MS)
    plan.expedite(4, 2000 * MS)
    assert plan.next_due_ns(is_moving=False) == 1950 * MS, "what is overdue is not made younger"
    assert plan.next_block(2000 * MS, is_moving=False) is fast
    plan.mark_sent(fast, 2000 * MS)
    assert plan.next_block(2000 * MS, is_moving=False) is mine
    plan.mark_sent(mine, 2000 * MS)
    assert plan.next_block(2000 * MS, is_moving=False) is None
    assert plan.next_due_ns(is_moving=False, skip_units=frozenset({5})) == 2050 * MS


def test_a_block_whose_reply_was_lost_is_due_again() -> None:
    safety, other = block(PollClass.SAFETY), block(PollClass.SAFETY)
    plan = PollPlan([safety, other])
    for entry in (safety, other):
        plan.mark_sent(entry, 1000 * MS)
    plan.expedite_block(safety, 1010 * MS)
    assert plan.next_block(1010 * MS, is_moving=False) is safety
    plan.mark_sent(safety, 1010 * MS)
    assert plan.next_block(1010 * MS, is_moving=False) is None
    assert plan.next_due_ns(is_moving=False) == 1050 * MS


def test_only_a_vital_block_past_half_its_period_is_overdue_and_the_longest_wait_comes_first() -> None:
    safety, motor, dock = block(PollClass.SAFETY, 3), block(PollClass.MOTOR, 4), block(PollClass.DOCK, 5)
    plan = PollPlan([dock, safety, motor])
    for entry, at_ms in ((dock, 0), (safety, 1000), (motor, 990)):
        plan.mark_sent(entry, at_ms * MS)
    assert plan.next_overdue(1065 * MS, is_moving=True) is None, "due, but within half a period"
    assert plan.next_overdue(1066 * MS, is_moving=True) is motor
    assert plan.next_overdue(1080 * MS, is_moving=True) is motor
    assert plan.next_overdue(1080 * MS, is_moving=True, skip_units=frozenset({4})) is safety
    for entry in (safety, motor):
        plan.mark_sent(entry, 1080 * MS)
    assert plan.next_overdue(1100 * MS, is_moving=True) is None, "the dock is not vital"
