"""The one word on safety speaks of the present: every cause in every place, every stop in every phase."""

import itertools

import pytest
from attrs import evolve
from web_fakes import boot_snapshot, with_obstacle

from oht50d.core.failsafes import FAILSAFES
from oht50d.core.safety_word import CHAIN_FRESH_NS, SafetyWord, evaluate_safety_word
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import Cause, CauseCode, MachineState, StopKind, StopPhase, StopReport
from oht50d.model.registers import Quality
from oht50d.model.snapshot import Snapshot

NOW_NS = 1_000_000_000_000
C, W = CauseCode, SafetyWord
ORDINARY = {C.NO_DEMAND, C.NO_AUTHORITY, C.RELEASE_FIRST, C.BRAKE_UNKNOWN, C.PAUSED, C.JOG_RELEASED}
PERSON_RELATED = {
    C.CHAIN_OPEN, C.SAFETY_LOST, C.SAFETY_ERROR, C.OVERSPEED, C.WRONG_WAY, C.DRIVES_DISAGREE, C.UNCOMMANDED,
    C.UNDRIVEN_MOTION, C.STOP_UNVERIFIED, C.STOP_LATE,
}  # fmt: skip
BLIND = {
    C.LIDAR_ABSENT, C.LIDAR_SILENT, C.SECTOR_UNKNOWN, C.MODULE_MISSING, C.TRAVEL_LOST, C.POSITION_LOST, C.POWER_LOST,
    C.BUS_LOST, C.NO_EVIDENCE, C.STOPPING, C.ZONE_STOP, C.MIXED_SIMULATION, C.SAFETY_AUTO_RESET,
}  # fmt: skip
UNDER_WAY = {StopPhase.SENDING, StopPhase.STOPPING, StopPhase.NOT_CONFIRMED}


def idle() -> Snapshot:
    """Reset, standing, everything seen, nobody asks for anything."""
    snapshot = boot_snapshot(NOW_NS)
    decision = evolve(snapshot.decision, inhibits=(Cause(C.NO_AUTHORITY, NOW_NS),))
    return evolve(snapshot, state=MachineState.IDLE, is_latched=False, latched_causes=(), decision=decision)


def with_chain(snapshot: Snapshot, **changes: object) -> Snapshot:
    """The reading of the chain replaced in the safety module."""
    modules = tuple(
        evolve(module, readings={
            name: evolve(item, **changes) if item.role == "chain.open" else item
            for name, item in module.readings.items()
        })
        for module in snapshot.modules
    )  # fmt: skip
    return evolve(snapshot, modules=modules)


def with_inhibit(snapshot: Snapshot, code: CauseCode) -> Snapshot:
    inhibits = (Cause(code, NOW_NS), *snapshot.decision.inhibits)
    return evolve(snapshot, decision=evolve(snapshot.decision, inhibits=inhibits))


def expected_of(code: CauseCode) -> SafetyWord:
    if code in PERSON_RELATED:
        return W.EMERGENCY
    return W.SAFE if code in ORDINARY else W.WARNING


def word(snapshot: Snapshot, now_ns: int = NOW_NS) -> SafetyWord:
    return evaluate_safety_word(snapshot, now_ns)


def test_standing_without_an_order_is_safe() -> None:
    assert word(idle()) is W.SAFE


def test_the_lists_are_the_table() -> None:
    assert {code for code, row in FAILSAFES.items() if row.is_ordinary} == ORDINARY
    assert {code for code, row in FAILSAFES.items() if row.is_person_related} == PERSON_RELATED
    assert not BLIND & (ORDINARY | PERSON_RELATED)


@pytest.mark.parametrize("code", CauseCode)
def test_every_inhibit_has_its_word(code: CauseCode) -> None:
    assert word(with_inhibit(idle(), code)) is expected_of(code)


@pytest.mark.parametrize("code", CauseCode)
def test_every_cause_of_a_stop_has_its_word(code: CauseCode) -> None:
    snapshot = idle()
    stopping = evolve(snapshot.decision, stop_causes=(Cause(code, NOW_NS),))
    assert word(evolve(snapshot, decision=stopping)) is expected_of(code)


@pytest.mark.parametrize("code", CauseCode)
def test_every_latched_cause_warns_at_least(code: CauseCode) -> None:
    latched = evolve(idle(), is_latched=True, latched_causes=(Cause(code, NOW_NS),))
    assert word(latched) is (W.EMERGENCY if code in PERSON_RELATED else W.WARNING)


@pytest.mark.parametrize(("kind", "phase"), [*itertools.product(StopKind, StopPhase)])
def test_an_uncontrolled_stop_is_an_emergency_only_while_it_is_under_way(kind: StopKind, phase: StopPhase) -> None:
    stop = StopReport(7, kind, (Cause(C.CHAIN_OPEN, NOW_NS),), phase, NOW_NS)
    is_emergency = kind is StopKind.S0 and phase in UNDER_WAY
    assert word(evolve(idle(), stop=stop, last_stops=(stop,))) is (W.EMERGENCY if is_emergency else W.SAFE)


@pytest.mark.parametrize("kind", StopKind)
def test_a_decision_that_demands_s0_is_an_emergency(kind: StopKind) -> None:
    snapshot = idle()
    demanded = evolve(snapshot, decision=evolve(snapshot.decision, stop=kind))
    assert word(demanded) is (W.EMERGENCY if kind is StopKind.S0 else W.SAFE)


@pytest.mark.parametrize("state", LidarLinkState)
def test_a_lidar_that_does_not_scan_is_never_safe(state: LidarLinkState) -> None:
    snapshot = idle()
    seen = word(evolve(snapshot, lidar=evolve(snapshot.lidar, state=state)))
    assert seen is (W.SAFE if state is LidarLinkState.SCANNING else W.WARNING)


@pytest.mark.parametrize(("zone", "expected"), [("stop", W.WARNING), ("slow", W.WARNING), ("watch", W.SAFE)])
def test_a_zone_that_slows_or_stops_warns_while_moving_is_allowed(zone: str, expected: SafetyWord) -> None:
    """The watch zone does neither: in a narrow hall its walls would warn for ever."""
    hits = tuple(evolve(hit, zone=zone) for hit in with_obstacle(idle()).decision.hits)
    snapshot = idle()
    assert word(evolve(snapshot, decision=evolve(snapshot.decision, inhibits=(), hits=hits))) is expected


@pytest.mark.parametrize("quality", Quality)
def test_only_a_plain_zero_is_a_closed_chain(quality: Quality) -> None:
    assert word(with_chain(idle(), quality=quality)) is (W.SAFE if quality is Quality.GOOD else W.EMERGENCY)
    assert word(with_chain(idle(), quality=quality, raw=1, value=True)) is W.EMERGENCY


def test_an_open_chain_outranks_everything_but_not_knowing() -> None:
    opened = with_chain(with_inhibit(idle(), C.LIDAR_ABSENT), raw=1, value=True)
    assert word(opened) is W.EMERGENCY
    assert word(opened, NOW_NS + CHAIN_FRESH_NS) is W.EMERGENCY
    assert word(opened, NOW_NS + CHAIN_FRESH_NS + 1) is W.UNAVAILABLE


@pytest.mark.parametrize("code", [None, *CauseCode])
def test_without_a_reading_of_the_chain_nobody_knows(code: CauseCode | None) -> None:
    snapshot = idle() if code is None else with_inhibit(idle(), code)
    assert word(evolve(snapshot, modules=())) is W.UNAVAILABLE
    assert word(snapshot, NOW_NS + CHAIN_FRESH_NS + 1) is W.UNAVAILABLE
