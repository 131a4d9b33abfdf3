"""When a scripted fault is in force."""

import random

import pytest

from oht50d.model.units import Duration
from oht50d.sim.fault_kinds import PARAMETERS, Place
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
        {"kind": FaultKind.EXCEPTION, "code": 0},
        {"kind": FaultKind.EXCEPTION, "code": 256},
        {"kind": FaultKind.BUSY, "code": 4},
        {"kind": FaultKind.STUCK_REGISTER, "module": 3},
        {"kind": FaultKind.POWER_CYCLE},
        {"kind": FaultKind.HANGUP, "ratio": 0.5},
        {"kind": FaultKind.CRC, "delay": Duration(S)},
        {"kind": FaultKind.DELAY, "delay": Duration(S), "delay_most": Duration(1)},
        {"kind": FaultKind.DELAY, "delay": Duration(60 * S)},
        {"kind": FaultKind.SPLIT, "pieces": 1},
        {"kind": FaultKind.TRUNCATED, "count": 0},
        {"kind": FaultKind.SECOND_MASTER, "period": Duration(1)},
        {"kind": FaultKind.SECOND_MASTER, "address": 70_000},
        {"kind": FaultKind.SWAP, "module": 3, "serial": 1 << 32},
        {"module": 0},
        {"module": 248},
        {"every": Duration(S)},
        {"every": Duration(S), "for_": Duration(S)},
    ],
)
def test_faults_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(
        ValueError, match=r"ratio|code|needs|takes|every|delay|pieces|count|period|address|serial|module"
    ):
        ScriptedFault(**{"kind": FaultKind.SILENCE, "at": Duration(0), **wrong})  # type: ignore[arg-type]  # wrong on purpose


def test_each_kind_takes_what_the_table_says_and_nothing_else() -> None:
    given: dict[str, object] = {
        "module": 3, "ratio": 0.5, "delay": Duration(S), "delay_most": Duration(2 * S), "code": 5, "register": "x",
        "count": 2, "pieces": 3, "pause": Duration(S), "period": Duration(S), "place": Place.IDLE, "address": 4,
        "serial": 1, "firmware": 2, "type": 3,
    }  # fmt: skip
    assert set(PARAMETERS) == set(FaultKind)
    for kind, names in PARAMETERS.items():
        known = {name: given[name] for name in names}
        assert script(kind, **known).kind is kind
        for strange in set(given) - names:
            with pytest.raises(ValueError, match=f"takes no {strange}"):
                script(kind, **known, **{strange: given[strange]})


def test_one_exchange_draws_every_kind_once_and_for_its_module_only() -> None:
    faults = board(
        script(FaultKind.CRC, at=0, module=3),
        script(FaultKind.DELAY, at=0, delay=Duration(5)),
        script(FaultKind.DELAY, at=0, delay=Duration(9)),
        script(FaultKind.COPY, at=0, ratio=0.5),
        script(FaultKind.ESTOP, at=0),
    )
    assert set(faults.draw(START, 4)) <= {FaultKind.DELAY, FaultKind.COPY}
    found = [faults.draw(START, 3) for _ in range(400)]
    assert all(drawn[FaultKind.DELAY].delay == Duration(5) and FaultKind.CRC in drawn for drawn in found)
    assert 150 < sum(FaultKind.COPY in drawn for drawn in found) < 250
    faults.clear()
    assert faults.draw(START, 3) == {}


def test_a_beginning_is_told_once_even_if_it_is_over_again() -> None:
    faults = board(script(FaultKind.POWER_CYCLE, module=4, for_=Duration(S), every=Duration(5 * S)))
    told = [len(faults.begun(FaultKind.POWER_CYCLE, START + at * S)) for at in (0, 2, 2, 3, 6, 7, 8, 30)]
    assert told == [0, 1, 0, 0, 0, 1, 0, 1]


def test_a_range_of_delays_is_drawn_from() -> None:
    slow = script(FaultKind.DELAY, delay=Duration(10), delay_most=Duration(20))
    drawn = {slow.draw_delay_ns(random.Random(number)) for number in range(500)}
    assert drawn == set(range(10, 21))
    assert script(FaultKind.DELAY, delay=Duration(10)).draw_delay_ns(random.Random(1)) == 10
