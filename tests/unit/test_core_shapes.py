"""Reads of one unit differ in length as far as the map allows; who goes without is told."""

import pytest
from core_fixtures import SHIPPED, shipped_actuators

from oht50d.core.needed_roles import is_judged
from oht50d.core.poll_rates import VITAL
from oht50d.core.shapes import Span, Window, assign
from oht50d.core.unit_plan import Lesson, plan_unit
from oht50d.model.registers import Access, DataType, ModuleKind, ModuleMap, PollClass, RegisterSpec

UNITS = {"safety": 3, "travel_motor": 4, "travel_motor_timeout": 4}


def spec(address: int, poll: PollClass | None, role: str | None = None) -> RegisterSpec:
    return RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", Access.RO, "d", poll=poll, role=role)


def module(*specs: RegisterSpec) -> ModuleMap:
    return ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, specs)


def run(first: int, count: int, poll: PollClass) -> list[RegisterSpec]:
    return [spec(address, poll) for address in range(first, first + count)]


def test_a_window_grows_upwards_then_downwards_and_stays_in_its_stretch() -> None:
    span = Span(10, 12, 8, 14)
    assert list(span.lengths()) == [3, 4, 5, 6, 7]
    assert [span.window(count) for count in (3, 4, 5, 7)] == [Window(10, 3), Window(10, 4), Window(10, 5), Window(8, 7)]
    assert max(Span(0, 2, 0, 99).lengths()) == 40


def test_who_was_first_keeps_a_length_and_gives_a_longer_one_to_who_needs_its_own() -> None:
    roomy, tight = Span(0, 3, 0, 9), Span(20, 23, 20, 23)
    assert assign([roomy, tight]) == [5, 4]
    assert assign([tight, Span(30, 33, 30, 33)]) == [4, None]
    assert assign([roomy, tight], taken={4, 5}) == [6, None]


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_of_the_shipped_maps_only_runs_of_four_in_the_safety_module_share_a_length(name: str) -> None:
    taken = shipped_actuators(name if "travel" in name else "travel_motor").read_lengths.get(UNITS.get(name, 0), set())
    plan = plan_unit(SHIPPED[name], taken=taken)
    assert plan.shared == ({4} if name == "safety" else set())
    alone = [block.count for block in plan.blocks if block.count not in plan.shared]
    assert len(alone) == len(set(alone))
    assert not taken & set(alone)
    assert all(block.count <= 40 for block in plan.blocks)
    vital = {block.count for block in plan.blocks if block.poll in VITAL}
    assert not vital & plan.shared


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_polled_register_of_the_shipped_maps_is_read_and_what_is_judged_at_its_rate(name: str) -> None:
    blocks = plan_unit(SHIPPED[name]).blocks
    for register in SHIPPED[name].registers:
        if register.poll is None or not register.is_readable:
            continue
        polls = {block.poll for block in blocks if register in block.specs}
        assert polls
        if is_judged(register.role):
            assert register.poll in polls


def test_a_block_reads_a_neighbour_to_differ() -> None:
    plan = plan_unit(module(*run(0, 4, PollClass.DOCK), *run(10, 4, PollClass.SLOW), *run(14, 2, PollClass.STATIC)))
    assert [(block.poll.value, block.first, block.count) for block in plan.blocks] == [
        ("dock", 0, 4),
        ("slow", 10, 5),
        ("static", 14, 2),
    ]
    assert not plan.shared


def test_a_vital_block_is_cut_where_nothing_judged_comes_off() -> None:
    drives = [spec(0x10 + offset, PollClass.MOTOR, f"drive.2.{name}") for offset, name in enumerate(("mode", "enable"))]
    first = [spec(0, PollClass.MOTOR, "drive.1.mode"), spec(1, PollClass.MOTOR, "drive.1.enable")]
    plan = plan_unit(module(*first, *drives))
    assert {(block.poll, block.first, block.count) for block in plan.blocks if block.first < 0x10} == {
        (PollClass.MOTOR, 0, 2)
    }
    second = [block for block in plan.blocks if block.first >= 0x10]
    assert (PollClass.MOTOR, 0x11, 1) in {(block.poll, block.first, block.count) for block in second} or plan.shared
    assert all(
        any(register in block.specs and block.poll is PollClass.MOTOR for block in second)
        for register in drives
        if is_judged(register.role)
    )


def test_what_cannot_differ_is_told_and_never_shares_with_a_vital_block() -> None:
    safety = run(0, 4, PollClass.SAFETY)
    plan = plan_unit(module(*safety, *(s for n in range(10, 60, 10) for s in run(n, 4, PollClass.STATIC))))
    assert plan.shared
    (vital,) = (block for block in plan.blocks if block.poll is PollClass.SAFETY)
    assert vital.count == 4
    covered = {register.address for block in plan.blocks for register in block.specs}
    assert covered == {*range(4), *(a for n in range(10, 60, 10) for a in range(n, n + 4))}


def test_a_lesson_leaves_registers_out_and_ends_reads_at_borders() -> None:
    registers = module(*run(0, 10, PollClass.SLOW))
    plan = plan_unit(registers, Lesson(refused=frozenset({3}), borders=frozenset({7})))
    spans = sorted((block.first, block.first + block.count) for block in plan.blocks)
    assert not any(first <= 3 < last or first < 7 < last for first, last in spans)
    assert {a for first, last in spans for a in range(first, last)} == set(range(10)) - {3}
