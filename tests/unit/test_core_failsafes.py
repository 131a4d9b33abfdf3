"""The failsafe table against the lists of SAFETY.md."""

import pytest
from core_fixtures import START_NS, cause

from oht50d.core.failsafes import FAILSAFES, Latching, by_severity, stop_kind
from oht50d.model.motion import CauseCode, StopKind

C = CauseCode
S0_CAUSES = {
    C.CHAIN_OPEN, C.SAFETY_LOST, C.SAFETY_ERROR, C.OVERSPEED, C.WRONG_WAY, C.DRIVES_DISAGREE, C.UNCOMMANDED,
    C.UNDRIVEN_MOTION, C.STOP_UNVERIFIED, C.STOP_LATE,
}  # fmt: skip
ALWAYS_LATCHING = S0_CAUSES | {
    C.OPERATOR_STOP, C.DRIVE_ERROR, C.BUS_LOST, C.TRAVEL_LOST, C.POSITION_LOST, C.CRASH, C.SHUTDOWN, C.BOOT,
    C.NO_MOTION, C.BUS_SCAN,
}  # fmt: skip


def test_every_cause_has_exactly_one_row() -> None:
    assert set(FAILSAFES) == set(CauseCode)
    assert all(code is row.code for code, row in FAILSAFES.items())


def test_every_row_says_what_to_do() -> None:
    assert all(row.title and row.remedy.endswith(".") for row in FAILSAFES.values())
    assert len({row.title for row in FAILSAFES.values()}) == len(FAILSAFES)


def test_uncontrolled_stops_are_the_listed_ones() -> None:
    assert {code for code, row in FAILSAFES.items() if row.stop is StopKind.S0} == S0_CAUSES


def test_every_uncontrolled_stop_is_person_related_and_latches() -> None:
    for code, row in FAILSAFES.items():
        assert row.is_person_related is (code in S0_CAUSES), code
    assert all("reset button on the vehicle" in FAILSAFES[code].remedy for code in S0_CAUSES)


def test_what_always_latches_is_the_listed_set() -> None:
    assert {code for code, row in FAILSAFES.items() if row.latching is Latching.ALWAYS} == ALWAYS_LATCHING
    assert all(FAILSAFES[code].is_latching for code in ALWAYS_LATCHING)


@pytest.mark.parametrize("code", [C.ZONE_STOP, C.SECTOR_UNKNOWN, C.LIDAR_SILENT, C.LIDAR_ABSENT])
def test_a_passer_by_stops_by_ramp_and_does_not_latch(code: CauseCode) -> None:
    assert FAILSAFES[code].stop is StopKind.S1
    assert not FAILSAFES[code].is_latching


@pytest.mark.parametrize("code", [C.PAUSED, C.JOG_RELEASED])
def test_monitored_standstill_is_never_an_emergency(code: CauseCode) -> None:
    assert FAILSAFES[code].stop is StopKind.S2
    assert {found for found, row in FAILSAFES.items() if row.stop is StopKind.S2} == {C.PAUSED, C.JOG_RELEASED}


def test_causes_sort_by_severity_then_by_age() -> None:
    old, new = cause(C.ZONE_STOP, START_NS), cause(C.ZONE_STOP, START_NS + 1)
    assert by_severity([new, cause(C.NO_DEMAND), old, cause(C.CHAIN_OPEN), cause(C.BUS_LOST)]) == (
        cause(C.CHAIN_OPEN), cause(C.BUS_LOST), old, new, cause(C.NO_DEMAND),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ((), None),
        ((C.BOOT, C.NO_AUTHORITY), None),
        ((C.JOG_RELEASED, C.BOOT), StopKind.S2),
        ((C.JOG_RELEASED, C.ZONE_STOP), StopKind.S1),
        ((C.ZONE_STOP, C.CHAIN_OPEN, C.JOG_RELEASED), StopKind.S0),
    ],
)
def test_the_hardest_cause_decides(asked: tuple[CauseCode, ...], expected: StopKind | None) -> None:
    assert stop_kind(tuple(cause(code) for code in asked)) is expected
