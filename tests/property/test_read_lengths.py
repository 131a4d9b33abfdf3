"""No two reads of one unit have the same length unless the plan says so; nothing is left out; a lesson is kept."""

import hypothesis.strategies as st
from hypothesis import given

from oht50d.core.poll_rates import VITAL
from oht50d.core.unit_plan import Lesson, UnitPlan, plan_unit
from oht50d.model.registers import Access, DataType, ModuleKind, ModuleMap, PollClass, RegisterSpec

RUNS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 50), st.sampled_from([*PollClass])), min_size=1, max_size=14
)
TAKEN = st.frozensets(st.integers(1, 12), max_size=4)


def make_map(runs: list[tuple[int, int, PollClass]]) -> ModuleMap:
    """Runs of one class with a gap of so many addresses before each."""
    specs, address = [], 0
    for gap, count, poll in runs:
        address += gap
        for _ in range(count):
            specs.append(RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", Access.RO, "d", poll=poll))
            address += 1
    return ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, tuple(specs))


def check(plan: UnitPlan, module: ModuleMap, lesson: Lesson, taken: frozenset[int]) -> None:
    counts = [block.count for block in plan.blocks]
    twice = {count for count in counts if counts.count(count) > 1 or count in taken}
    assert plan.shared == twice
    for block in plan.blocks:
        assert block.count <= 40
        addresses = [spec.address for spec in block.specs]
        assert addresses == list(range(block.first, block.first + block.count))
        assert lesson.refused.isdisjoint(addresses)
        assert lesson.borders.isdisjoint(addresses[1:])
    read = {spec.address for block in plan.blocks for spec in block.specs}
    assert read == {spec.address for spec in module.registers} - lesson.refused


@given(runs=RUNS, taken=TAKEN, refused=st.frozensets(st.integers(0, 200), max_size=5))
def test_what_shares_a_length_is_told_and_every_register_is_read(
    runs: list[tuple[int, int, PollClass]], taken: frozenset[int], refused: frozenset[int]
) -> None:
    module = make_map(runs)
    lesson = Lesson(refused & {spec.address for spec in module.registers}, frozenset(refused))
    check(plan_unit(module, lesson, taken), module, lesson, taken)


@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=10, unique=True))
def test_runs_of_different_lengths_stay_as_they_are(counts: list[int]) -> None:
    plan = plan_unit(make_map([(2, count, PollClass.SLOW) for count in counts]))
    assert sorted(block.count for block in plan.blocks) == sorted(counts)
    assert not plan.shared


@given(runs=RUNS)
def test_every_block_is_read_at_the_rate_of_its_registers_or_a_vital_one_gave_them_away(
    runs: list[tuple[int, int, PollClass]],
) -> None:
    module = make_map(runs)
    plan = plan_unit(module)
    for spec in module.registers:
        polls = {block.poll for block in plan.blocks if spec in block.specs}
        assert spec.poll in polls or (spec.poll in VITAL and PollClass.AUXILIARY in polls)


@given(count=st.integers(2, 4), length=st.integers(8, 30))
def test_long_runs_with_one_length_can_always_be_told_apart(count: int, length: int) -> None:
    plan = plan_unit(make_map([(2, length, PollClass.SLOW)] * count))
    assert not plan.shared
