"""When a scripted fault is in force."""

import random

import pytest

from oht50d.model.units import Duration
from oht50d.sim.faults import MAX_FAULTS, FaultBoard, FaultKind, ScriptedFault

S = 1_000_000_000
START = 100 * S


def board(*scripts: ScriptedFault) -> FaultBoard:
    found = FaultBoard(random.Random(1))
    for script in scripts:
        found.add(script, START)
    return found


def script(kind: FaultKind = FaultKind.SILENCE, *, at: int = 2, **others: object) -> ScriptedFault:
    return ScriptedFault(kind=kind, at=Duration(at * S), **others)  # type: ignore[arg-type]  # keywords of one test


def test_in_force_from_its_beginning_to_its_end() -> None:
    faults = board(script(for_=Duration(3 * S)))
    in_force = {at for at in range(10) if faults.first(FaultKind.SILENCE, START + at * S)}
    assert in_force == {2, 3, 4}


def test_without_for_it_lasts_until_cleared() -> None:
    faults = board(script())
    assert faults.first(FaultKind.SILENCE, START + 10_000 * S)
    assert faults.clear() == 1
    assert faults.first(FaultKind.SILENCE, START + 10_000 * S) is None


def test_every_repeats_it() -> None:
    faults = board(script(for_=Duration(S), every=Duration(5 * S)))
    in_force = {at for at in range(14) if faults.first(FaultKind.SILENCE, START + at * S)}
    assert in_force == {2, 7, 12}


def test_a_module_limits_it() -> None:
    faults = board(script(module=3))
    assert faults.first(FaultKind.SILENCE, START + 3 * S, 3)
    assert faults.first(FaultKind.SILENCE, START + 3 * S, 4) is None
    assert faults.first(FaultKind.CRC, START + 3 * S, 3) is None


def test_edges_come_in_order() -> None:
    faults = board(script(for_=Duration(S), every=Duration(5 * S)), script(FaultKind.ESTOP, at=4))
    edges, at = [], START
    for _ in range(6):
        edge = faults.next_edge_ns(at)
        assert edge is not None
        at = edge
        edges.append((at - START) // S)
    assert edges == [2, 3, 4, 7, 8, 12]


def test_no_edges_once_all_is_over() -> None:
    assert board(script(for_=Duration(S))).next_edge_ns(START + 3 * S) is None


def test_a_ratio_lets_some_through() -> None:
    faults = board(script(FaultKind.CRC, at=0, ratio=0.25))
    hits = sum(faults.first(FaultKind.CRC, START + S) is not None for _ in range(4000))
    assert 850 < hits < 1150


def test_the_board_is_bounded_and_forgets_what_is_over() -> None:
    faults = board(*(script(at=0, for_=Duration(S)) for _ in range(MAX_FAULTS)))
    with pytest.raises(ValueError, match="at most"):
        faults.add(script(), START)
    faults.add(script(at=0), START + 2 * S)
    assert faults.first(FaultKind.SILENCE, START + 2 * S)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ratio": 0.0},
        {"ratio": 1.5},
        {"code": 70_000},
        {"kind": FaultKind.EXCEPTION, "code": 12},
        {"kind": FaultKind.STUCK_REGISTER, "module": 3},
        {"every": Duration(S)},
        {"every": Duration(S), "for_": Duration(S)},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"ratio|code|stuck_register|every"):
        ScriptedFault(**{"kind": FaultKind.SILENCE, "at": Duration(0), **wrong})  # type: ignore[arg-type]  # wrong on purpose
