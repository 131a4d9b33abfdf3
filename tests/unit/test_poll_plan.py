"""Which block is read next, how often, and what the plan costs on the wire."""

import itertools
from pathlib import Path

import pytest

from oht50d.codec.registers import load_module_map
from oht50d.core.exchange_times import block_ns, plan_utilisation, transaction_ns, worst_block_ns
from oht50d.core.poll_plan import PollPlan, plan_blocks
from oht50d.core.poll_rates import RATES, VITAL, YIELDS, periods
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
MOVING = periods(0, is_moving=True)


def spec(address: int, poll: PollClass | None, access: Access = Access.RO) -> RegisterSpec:
    return RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", access, "d", poll=poll)


def module(*specs: RegisterSpec) -> ModuleMap:
    return ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, specs)


def block(poll: PollClass, unit: int = 3, first: int = 0, count: int = 1) -> RegisterBlock:
    specs = tuple(spec(first + offset, poll) for offset in range(count))
    return RegisterBlock(unit, ModuleKind.SAFETY, poll, first, specs)


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
    assert 0.8 < plan_utilisation(every, 115_200, 1 * MS) < 0.9, "before anybody gives way"
    assert plan_utilisation([], 115_200, 0) == 0


def test_rates() -> None:
    assert {poll: (rate.rest.ms, rate.moving.ms) for poll, rate in RATES.items()} == {
        PollClass.SAFETY: (50, 50),
        PollClass.MOTOR: (50, 50),
        PollClass.POSITION: (100, 50),
        PollClass.DOCK: (100, 100),
        PollClass.IMU: (100, 100),
        PollClass.INPUTS: (200, 200),
        PollClass.BATTERY: (1000, 1000),
        PollClass.AUXILIARY: (1000, 1000),
        PollClass.SLOW: (5000, 5000),
        PollClass.STATIC: (30_000, 30_000),
    }


def test_classes_give_way_in_the_stated_order_and_vital_ones_never() -> None:
    assert [step.poll for step in YIELDS[:2]] == [PollClass.IMU, PollClass.DOCK]
    assert {step.poll for step in YIELDS} == set(RATES) - VITAL
    before = periods(0, is_moving=True)
    for level, step in enumerate(YIELDS, 1):
        after = periods(level, is_moving=True)
        assert {poll for poll in RATES if after[poll] != before[poll]} == {step.poll}
        assert after[step.poll] > before[step.poll]
        before = after
    assert (before[PollClass.IMU], before[PollClass.DOCK]) == (500 * MS, 200 * MS), "2 Hz and 5 Hz"
    assert before[PollClass.BATTERY] <= 2500 * MS, "two readings within the five seconds after which it is lost"
    assert periods(len(YIELDS), is_moving=False)[PollClass.INPUTS] == 200 * MS, "the reset button is held at standstill"


def test_everything_is_due_at_the_start_and_vital_goes_first() -> None:
    static, motor, safety = block(PollClass.STATIC), block(PollClass.MOTOR), block(PollClass.SAFETY)
    plan = PollPlan([static, motor, safety])
    assert plan.blocks == (static, motor, safety)
    now = 7_000_000 * MS
    due = plan.next_due_ns()
    assert due is not None
    assert due <= now
    order = []
    for _ in range(3):
        chosen = plan.next_block(now)
        assert chosen is not None
        order.append(chosen)
        plan.mark_sent(chosen, now)
    assert order == [safety, motor, static]
    assert plan.next_block(now) is None
    assert plan.next_due_ns() == now + 50 * MS


def test_the_rhythm_is_kept_when_a_block_is_late_and_starts_anew_after_a_missed_period() -> None:
    safety = block(PollClass.SAFETY)
    plan = PollPlan([safety])
    plan.mark_sent(safety, 1000 * MS)
    plan.mark_sent(safety, 1060 * MS)
    assert plan.next_due_ns() == 1100 * MS
    plan.mark_sent(safety, 1160 * MS)
    assert plan.next_due_ns() == 1210 * MS
    plan.mark_sent(safety, 1170 * MS)
    assert plan.next_due_ns() == 1220 * MS, "an early reading moves the rhythm"


def test_other_periods_hold_at_once() -> None:
    position, imu = block(PollClass.POSITION), block(PollClass.IMU)
    plan = PollPlan([position, imu])
    for entry in (position, imu):
        plan.mark_sent(entry, 0)
    assert plan.next_block(50 * MS) is None
    plan.set_periods(MOVING)
    assert plan.next_block(50 * MS) is position
    plan.mark_sent(position, 50 * MS)
    plan.set_periods(periods(1, is_moving=True))
    assert plan.next_other(499 * MS) is None
    assert plan.next_other(500 * MS) is imu
    plan.set_periods(periods(0, is_moving=False))
    assert plan.next_other(100 * MS) is imu


def test_the_vital_block_read_longest_ago_goes_first_and_a_lost_one_before_all() -> None:
    safety, motor, other = block(PollClass.SAFETY, 3), block(PollClass.MOTOR, 4), block(PollClass.MOTOR, 4, 16)
    plan = PollPlan([safety, motor, other])
    for entry, at_ms in ((safety, 1010), (motor, 1000), (other, 1005)):
        plan.mark_sent(entry, at_ms * MS)
    order = []
    while (chosen := plan.next_vital(1070 * MS)) is not None:
        order.append(chosen)
        plan.mark_sent(chosen, 1070 * MS)
    assert order == [motor, other, safety]
    plan.retry_block(other, 1071 * MS)
    assert plan.next_vital(1120 * MS) is other
    assert plan.is_retry(other)
    plan.mark_sent(other, 1120 * MS)
    assert not plan.is_retry(other)


@pytest.mark.parametrize("taken_ms", [5, 16, 17, 23, 40])
def test_a_vital_block_is_read_within_its_period_and_one_exchange_or_within_one_round(taken_ms: int) -> None:
    """The lemma of ADR 0015, however long the exchanges take."""
    blocks = [block(PollClass.SAFETY, 3), block(PollClass.MOTOR, 4), block(PollClass.POSITION, 5)]
    plan = PollPlan(blocks)
    plan.set_periods(MOVING)
    now = 0
    times: dict[int, list[int]] = {0: [], 1: [], 2: []}
    while now < 10_000:
        chosen = plan.next_vital(now * MS)
        if chosen is None:
            now += 1
            continue
        plan.mark_sent(chosen, now * MS)
        times[blocks.index(chosen)].append(now)
        now += taken_ms
    gaps = [later - before for read in times.values() for before, later in itertools.pairwise(read)]
    assert max(gaps) <= max(50 + taken_ms, 3 * taken_ms)


def test_a_skipped_unit_is_left_out_and_what_is_latest_by_its_own_period_goes_first_later() -> None:
    imu, lost = block(PollClass.IMU, 3), block(PollClass.BATTERY, 2)
    plan = PollPlan([lost, imu])
    skip = frozenset({2})
    assert plan.next_block(1000 * MS, skip) is imu
    plan.mark_sent(imu, 1000 * MS)
    assert plan.next_block(1001 * MS, skip) is None
    assert plan.next_due_ns(skip) == 1100 * MS
    assert plan.next_due_ns(frozenset({2, 3})) is None
    assert plan.next_block(1150 * MS) is lost, "late by 1.15 of its periods, the other one by 0.5"
    assert plan.next_block(1250 * MS) is imu, "late by 1.5 of its periods"


def test_too_much_to_read_slows_all_classes_alike_and_forgets_none() -> None:
    blocks = [
        block(PollClass.IMU, 2),
        block(PollClass.INPUTS, 3),
        block(PollClass.BATTERY, 4),
        block(PollClass.SLOW, 5),
    ]
    plan = PollPlan(blocks)
    counts = dict.fromkeys(range(4), 0)
    for now in range(0, 60_000, 200):
        chosen = plan.next_other(now * MS)
        if chosen is not None:
            counts[blocks.index(chosen)] += 1
            plan.mark_sent(chosen, now * MS)
    assert sum(counts.values()) == 300
    assert all(counts.values())
    assert counts[0] > counts[1] > counts[2] > counts[3] >= 3


def test_expedite_makes_a_unit_due_now_and_leaves_others() -> None:
    mine, other, fast = block(PollClass.STATIC, 4), block(PollClass.STATIC, 5), block(PollClass.SAFETY, 4)
    plan = PollPlan([mine, other, fast])
    for entry in (mine, other):
        plan.mark_sent(entry, 1000 * MS)
    plan.mark_sent(fast, 1900 * MS)
    plan.expedite(4, 2000 * MS)
    assert plan.next_due_ns() == 1950 * MS, "what is overdue is not made younger"
    assert plan.next_block(2000 * MS) is fast
    plan.mark_sent(fast, 2000 * MS)
    assert plan.next_block(2000 * MS) is mine
    plan.mark_sent(mine, 2000 * MS)
    assert plan.next_block(2000 * MS) is None
    assert plan.next_due_ns(frozenset({5})) == 2050 * MS


def test_a_block_whose_reply_was_lost_is_due_again() -> None:
    safety, other = block(PollClass.SAFETY), block(PollClass.SAFETY)
    plan = PollPlan([safety, other])
    for entry in (safety, other):
        plan.mark_sent(entry, 1000 * MS)
    plan.expedite_block(safety, 1010 * MS)
    assert plan.next_block(1010 * MS) is safety
    plan.mark_sent(safety, 1010 * MS)
    assert plan.next_block(1010 * MS) is None
    assert plan.next_due_ns() == 1050 * MS


def test_the_safety_block_is_late_past_half_its_period_only() -> None:
    safety, motor = block(PollClass.SAFETY, 3), block(PollClass.MOTOR, 4)
    plan = PollPlan([safety, motor])
    plan.mark_sent(safety, 1000 * MS)
    plan.mark_sent(motor, 900 * MS)
    assert plan.late_safety(1075 * MS) is None
    assert plan.late_safety(1076 * MS) is safety
    assert plan.late_safety(1076 * MS, frozenset({3})) is None
    assert (plan.is_late(motor, 975 * MS), plan.is_late(motor, 976 * MS)) == (False, True)


def test_a_raised_block_keeps_its_higher_rate_for_its_time_and_never_a_lower_one() -> None:
    slow, inputs = block(PollClass.SLOW), block(PollClass.INPUTS, 3, 8)
    plan = PollPlan([slow, inputs])
    for entry in (slow, inputs):
        plan.mark_sent(entry, 0)
    plan.raise_block(slow, 1000 * MS, 2500 * MS)
    plan.raise_block(inputs, 5000 * MS, 9000 * MS)
    assert plan.next_due_ns(frozenset()) == 200 * MS
    plan.mark_sent(inputs, 200 * MS)
    for at_ms in (1000, 2000, 3000):
        assert plan.next_other(at_ms * MS) is not None
        plan.mark_sent(inputs, at_ms * MS)
        assert plan.next_other(at_ms * MS) is slow
        plan.mark_sent(slow, at_ms * MS)
    assert plan.next_other(3100 * MS) is None
    plan.mark_sent(inputs, 3200 * MS)
    plan.expedite_block(inputs, 7990 * MS)
    plan.mark_sent(inputs, 7990 * MS)
    assert plan.next_other(7999 * MS) is None, "back to each five seconds"
    assert plan.next_other(8000 * MS) is slow


def test_other_blocks_of_a_unit_are_due_when_the_old_ones_were() -> None:
    whole, far = block(PollClass.SLOW, 4, 0, 8), block(PollClass.SLOW, 5)
    plan = PollPlan([whole, far])
    for entry in (whole, far):
        plan.mark_sent(entry, 1000 * MS)
    low, high, new = block(PollClass.SLOW, 4, 0, 4), block(PollClass.SLOW, 4, 4, 4), block(PollClass.SLOW, 4, 40)
    plan.replace(4, [low, high, new], 2000 * MS)
    assert set(map(id, plan.blocks)) == set(map(id, (far, low, high, new)))
    assert plan.next_other(2000 * MS) is new
    plan.mark_sent(new, 2000 * MS)
    assert plan.next_other(4999 * MS) is None
    plan.postpone_block(low, 9000 * MS)
    plan.mark_sent(far, 5000 * MS)
    assert plan.next_other(5000 * MS) is high
    plan.mark_sent(whole, 5000 * MS)
    assert plan.next_other(5000 * MS) is high, "what is not in the plan any more changes nothing"
