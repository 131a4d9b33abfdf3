"""A feasible plan starves nobody; every block is planned exactly once."""

from collections.abc import Sequence
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import assume, given, settings

from oht50d.codec.registers import load_module_map
from oht50d.core.exchange_times import block_ns, plan_utilisation
from oht50d.core.poll_plan import PollPlan, plan_blocks
from oht50d.core.poll_rates import RATES, periods
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
MAPS = [
    load_module_map((MODULES / f"{name}.toml").read_text(), file=name)
    for name in ("power", "safety", "travel_motor_timeout", "dock")
]
BLOCKS = tuple(block for module_map in MAPS for block in plan_blocks(module_map))
FAST = tuple(block for block in BLOCKS if RATES[block.poll].rest.ms <= 1000)
SPAN_NS = 3_000_000_000


def longest_waits(
    blocks: Sequence[RegisterBlock], *, baud: int, turnaround_ns: int, is_moving: bool, span_ns: int
) -> dict[int, int]:
    """The longest time without a reading of each block, by index, in a simulated run without idle losses."""
    plan = PollPlan(blocks)
    plan.set_periods(periods(0, is_moving=is_moving))
    last = dict.fromkeys(range(len(blocks)), 0)
    longest = dict.fromkeys(range(len(blocks)), 0)
    now_ns = 0
    while now_ns < span_ns:
        block = plan.next_block(now_ns)
        if block is None:
            due_ns = plan.next_due_ns()
            assert due_ns is not None
            assert due_ns > now_ns, "a block is due and was not chosen"
            now_ns = due_ns
            continue
        plan.mark_sent(block, now_ns)
        index = next(index for index, other in enumerate(blocks) if other is block)
        longest[index] = max(longest[index], now_ns - last[index])
        last[index] = now_ns
        now_ns += block_ns(block, baud, turnaround_ns)
    for index in last:
        longest[index] = max(longest[index], min(now_ns, span_ns) - last[index])
    return longest


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(FAST), unique_by=id, min_size=1),
    st.sampled_from([57_600, 115_200, 460_800]),
    st.integers(0, 4_000_000),
    st.booleans(),
)
def test_every_block_of_a_feasible_load_meets_its_period_and_a_half(
    blocks: list[RegisterBlock], baud: int, turnaround_ns: int, is_moving: bool
) -> None:
    assume(plan_utilisation(blocks, baud, turnaround_ns, is_moving=is_moving) <= 0.95)
    waits = longest_waits(blocks, baud=baud, turnaround_ns=turnaround_ns, is_moving=is_moving, span_ns=SPAN_NS)
    for index, block in enumerate(blocks):
        period_ns = RATES[block.poll].period_ns(is_moving=is_moving)
        assert waits[index] <= period_ns * 3 // 2, block.poll


def test_the_shipped_robot_meets_every_rate_on_its_own_wire() -> None:
    for is_moving in (False, True):
        waits = longest_waits(
            BLOCKS, baud=115_200, turnaround_ns=1_000_000, is_moving=is_moving, span_ns=70_000_000_000
        )
        for index, block in enumerate(BLOCKS):
            assert waits[index] <= RATES[block.poll].period_ns(is_moving=is_moving) * 3 // 2, block.poll


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([*PollClass, None]), st.sampled_from(Access)), max_size=60),
    st.integers(1, 40),
)
def test_every_readable_register_is_in_exactly_one_contiguous_block_of_its_class(
    rows: list[tuple[int, PollClass | None, Access]], max_registers: int
) -> None:
    address = 0
    specs = []
    for gap, poll, access in rows:
        address += gap
        chosen = None if access is Access.WO else poll
        specs.append(RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", access, "d", poll=chosen))
    module_map = ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, tuple(specs))
    blocks = plan_blocks(module_map, max_registers)
    assert [entry for block in blocks for entry in block.specs] == [entry for entry in specs if entry.poll is not None]
    for block in blocks:
        assert 1 <= block.count <= max_registers
        assert [entry.address for entry in block.specs] == list(range(block.first, block.first + block.count))
        assert {entry.poll for entry in block.specs} == {block.poll}
