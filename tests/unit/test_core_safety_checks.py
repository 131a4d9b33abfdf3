"""The single judgements of a safety step, each on good inputs with one thing changed."""

from collections.abc import Iterable
from typing import Any

import pytest
from attrs import evolve
from core_fixtures import CONFIG, MS, START_NS, S, cause, codes, drive, field, good_inputs, reading, stop_report

from oht50d.core.inputs import DriveFeedback, ModuleInput
from oht50d.core.safety_checks import (
    REOPENED_GRACE_NS,
    Moment,
    do_drives_disagree,
    evaluate_drives,
    evaluate_evidence,
    evaluate_lidar,
    evaluate_modules,
    evaluate_safety_module,
    evaluate_site,
    evaluate_speed,
    evaluate_stop,
    evaluate_wire,
    is_fresh,
    is_uncommanded,
    is_wrong_way,
)
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.core.zones import ZoneView
from oht50d.model.lidar import LidarLinkState
from oht50d.model.modules import ModuleTrust, ScanProgress, Trust
from oht50d.model.motion import Cause, CauseCode, StopKind, StopPhase, ZoneHit
from oht50d.model.registers import ModuleKind

NOW = START_NS + 60 * S
MOVING = Moment(NOW, is_active=True, floor_ns=START_NS, before_ns=NOW - 10 * MS)
RESTING = evolve(MOVING, is_active=False)
GOOD = good_inputs(NOW)
CLEAR = ZoneView((), (), (), (), 1.0, must_stop=False)
C = CauseCode


def found(causes: Iterable[Cause]) -> set[str]:
    return codes(tuple(causes))


def test_good_inputs_have_nothing_against_motion() -> None:
    for moment in (MOVING, RESTING):
        for causes in (
            evaluate_wire(GOOD, moment), evaluate_modules(GOOD, CONFIG, moment), evaluate_safety_module(GOOD, moment),
            evaluate_evidence(GOOD, moment), evaluate_drives(GOOD, moment), evaluate_speed(GOOD, 100.0, moment),
            evaluate_lidar(GOOD, CLEAR, 150 * MS, moment), evaluate_stop(GOOD, moment),
            evaluate_site(GOOD, CONFIG, moment),
        ):  # fmt: skip
            assert found(causes) == set()


# -- wire and modules


def test_a_port_that_never_opened_is_missing_one_that_closed_is_lost() -> None:
    never = evolve(GOOD, wire=evolve(GOOD.wire, is_open=False, opened_ns=None, cause="no such file"))
    closed = evolve(GOOD, wire=evolve(GOOD.wire, is_open=False))
    assert [c.detail for c in evaluate_wire(never, MOVING)] == ["no such file"]
    assert found(evaluate_wire(never, MOVING)) == {"module_missing"}
    assert found(evaluate_wire(closed, MOVING)) == {"bus_lost"}


def with_module(kind: ModuleKind, module: ModuleInput | None, **changes: Any) -> Any:
    modules = {k: m for k, m in {**GOOD.modules, kind: module}.items() if m is not None}
    return evolve(GOOD, modules=modules, **changes)


def silent_for(kind: ModuleKind, silence_ns: int) -> Any:
    return with_module(kind, ModuleInput(True, True, NOW - silence_ns, "does not answer"))


@pytest.mark.parametrize(
    ("kind", "code", "moving_ms", "resting_ms"),
    [
        (ModuleKind.SAFETY, "safety_lost", 150, 150),
        (ModuleKind.TRAVEL, "travel_lost", 150, 1000),
        (ModuleKind.DOCK, "position_lost", 150, 10_000),
        (ModuleKind.POWER, "power_lost", 5000, 5000),
    ],
)
def test_loss_limits(kind: ModuleKind, code: str, moving_ms: int, resting_ms: int) -> None:
    for moment, limit_ms in ((MOVING, moving_ms), (RESTING, resting_ms)):
        assert found(evaluate_modules(silent_for(kind, limit_ms * MS), CONFIG, moment)) == set()
        assert found(evaluate_modules(silent_for(kind, limit_ms * MS + 1), CONFIG, moment)) == {code}


@pytest.mark.parametrize(
    "module",
    [
        None,
        ModuleInput(False, False, None, "not found yet"),
        ModuleInput(True, True, None, ""),
    ],
    ids=["no map", "never found", "found, but not what it is there for"],
)
@pytest.mark.parametrize("kind", list(ModuleKind))
def test_a_module_that_was_never_read_is_missing_not_lost(kind: ModuleKind, module: ModuleInput | None) -> None:
    assert found(evaluate_modules(with_module(kind, module), CONFIG, MOVING)) == {"module_missing"}


@pytest.mark.parametrize("kind", list(ModuleKind))
@pytest.mark.parametrize("moment", [MOVING, RESTING])
def test_a_module_that_is_not_the_accepted_one_is_a_cause_in_its_own_words(kind: ModuleKind, moment: Moment) -> None:
    for trust in (Trust.CHANGED, Trust.UNKNOWN):
        module = ModuleInput(True, True, NOW, "", trust=ModuleTrust(trust, "another module at 0x05"))
        (cause,) = evaluate_modules(with_module(kind, module), CONFIG, moment)
        assert (cause.code, cause.detail, cause.place) == (C.MODULE_CHANGED, "another module at 0x05", kind.value)
    for trust in (Trust.ACCEPTED, Trust.UPDATED):
        module = ModuleInput(True, True, NOW, "", trust=ModuleTrust(trust, "firmware 1.02 instead of 1.01"))
        assert found(evaluate_modules(with_module(kind, module), CONFIG, moment)) == set()


def test_motion_waits_for_the_serial_number_of_a_module_that_answers() -> None:
    nameless = ModuleInput(True, True, NOW, "", trust=ModuleTrust(Trust.UNSEEN))
    (cause,) = evaluate_evidence(with_module(ModuleKind.POWER, nameless), RESTING)
    assert cause.detail == "waiting for the serial number of every module"
    silent = evolve(nameless, is_identified=False)
    assert found(evaluate_evidence(with_module(ModuleKind.POWER, silent), RESTING)) == set(), "that is a loss"


def test_while_a_scan_runs_nobody_is_lost_and_the_scan_is_the_cause() -> None:
    scan = ScanProgress(is_running=True, asked=3, planned=40, at="0x04", found=())
    inputs = evolve(silent_for(ModuleKind.SAFETY, 60 * S), wire=evolve(GOOD.wire, scan=scan))
    assert found(evaluate_modules(inputs, CONFIG, RESTING)) == set()
    (cause,) = evaluate_wire(inputs, RESTING)
    assert (cause.code, cause.detail) == (C.BUS_SCAN, "40 addresses and settings to ask")
    over = evolve(inputs, wire=evolve(inputs.wire, scan=evolve(scan, is_running=False)))
    assert found(evaluate_wire(over, RESTING)) == set()
    assert found(evaluate_modules(over, CONFIG, RESTING)) == {"safety_lost"}


@pytest.mark.parametrize(("lasted_ms", "expected"), [(150, set()), (150.001, {"position_lost"})])
def test_a_silence_that_has_ended_since_the_last_step_counts(lasted_ms: float, expected: set[str]) -> None:
    ended_ns = NOW - 5 * MS
    silence = (ended_ns - round(lasted_ms * MS), ended_ns)
    inputs = with_module(ModuleKind.DOCK, ModuleInput(True, True, ended_ns, "", ended_silence=silence))
    assert found(evaluate_modules(inputs, CONFIG, MOVING)) == expected
    assert found(evaluate_modules(inputs, CONFIG, RESTING)) == set()
    after_a_gap = evolve(MOVING, floor_ns=ended_ns - 140 * MS)
    assert found(evaluate_modules(inputs, CONFIG, after_a_gap)) == set()


def test_after_an_opening_a_module_has_a_second_before_it_counts_as_lost() -> None:
    limit_ns = REOPENED_GRACE_NS + 150 * MS
    for since_opening_ns, expected in ((limit_ns, set()), (limit_ns + 1, {"safety_lost"})):
        wire = evolve(GOOD.wire, opened_ns=NOW - since_opening_ns)
        inputs = evolve(silent_for(ModuleKind.SAFETY, 5 * S), wire=wire)
        assert found(evaluate_modules(inputs, CONFIG, MOVING)) == expected


def test_the_grace_ends_with_the_first_reply() -> None:
    inputs = evolve(silent_for(ModuleKind.SAFETY, 151 * MS), wire=evolve(GOOD.wire, opened_ns=NOW - 300 * MS))
    assert found(evaluate_modules(inputs, CONFIG, MOVING)) == {"safety_lost"}


def test_a_stall_of_this_process_is_not_held_against_the_modules() -> None:
    after_gap = evolve(MOVING, floor_ns=NOW - 20 * MS)
    assert found(evaluate_modules(silent_for(ModuleKind.SAFETY, 400 * MS), CONFIG, after_gap)) == set()


def test_a_closed_port_is_told_once_and_not_once_a_module() -> None:
    inputs = evolve(silent_for(ModuleKind.SAFETY, S), wire=evolve(GOOD.wire, is_open=False))
    assert found(evaluate_modules(inputs, CONFIG, MOVING)) == set()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (ModuleKind.SAFETY, {"safety_error"}), (ModuleKind.TRAVEL, {"drive_error"}),
        (ModuleKind.POWER, set()), (ModuleKind.DOCK, set()),
    ],
)  # fmt: skip
def test_a_module_wide_error(kind: ModuleKind, expected: set[str]) -> None:
    inputs = with_module(kind, ModuleInput(True, True, NOW, "", error=3))
    assert found(evaluate_modules(inputs, CONFIG, RESTING)) == expected


# -- the safety module


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("chain", 1, {"chain_open"}),
        ("chain", 255, {"chain_open"}),
        ("safety_status", 1, set()),
        ("safety_status", 2, {"safety_error"}),
        ("safety_status", 3, {"safety_error"}),
        ("safety_error", 1, {"safety_error"}),
        ("auto_reset", 1, {"safety_auto_reset"}),
    ],
)
def test_safety_module(name: str, raw: int, expected: set[str]) -> None:
    assert found(evaluate_safety_module(good_inputs(NOW, **{name: reading(raw, NOW)}), RESTING)) == expected


def test_a_chain_reading_outside_its_range_is_an_open_chain() -> None:
    inputs = good_inputs(NOW, chain=reading(0, NOW, is_usable=False))
    assert found(evaluate_safety_module(inputs, RESTING)) == {"chain_open"}


# -- evidence


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("chain", "safety module"), ("safety_status", "safety module"), ("safety_error", "safety module"),
        ("auto_reset", "auto_reset"), ("velocity", "velocity"), ("stop", "opening"),
    ],
)  # fmt: skip
def test_a_missing_input_is_missing_evidence(name: str, told: str) -> None:
    causes = tuple(evaluate_evidence(good_inputs(NOW, **{name: None}), RESTING))
    assert codes(causes) == {"no_evidence"}
    assert told in causes[0].detail


@pytest.mark.parametrize("name", ["chain", "safety_status", "safety_error", "auto_reset", "velocity"])
def test_what_was_read_before_the_port_was_opened_does_not_count(name: str) -> None:
    wire = evolve(GOOD.wire, opened_ns=NOW - S)
    old = reading(0, NOW - S)
    assert found(evaluate_evidence(good_inputs(NOW, wire=wire), RESTING)) == set()
    assert found(evaluate_evidence(good_inputs(NOW, wire=wire, **{name: old}), RESTING)) == {"no_evidence"}


@pytest.mark.parametrize("name", ["enable", "direction", "actual_speed", "error"])
def test_every_drive_must_have_been_read(name: str) -> None:
    drives = (drive(1, NOW), evolve(drive(2, NOW), **field(name)))
    assert found(evaluate_evidence(good_inputs(NOW, drives=drives), RESTING)) == {"no_evidence"}


@pytest.mark.parametrize("changes", [{"drives": ()}, {"is_set_up": False}], ids=["no drives", "time-out not proven"])
def test_drives_without_evidence(changes: dict[str, Any]) -> None:
    assert found(evaluate_evidence(good_inputs(NOW, **changes), RESTING)) == {"no_evidence"}


@pytest.mark.parametrize(
    ("floor_ns", "expected"),
    [
        (NOW - 8 * MS, {"no_evidence"}),
        (NOW - 110 * MS, set()),
        (NOW - 109 * MS, {"no_evidence"}),
        (NOW - 7 * MS, {"no_evidence"}),
    ],
    ids=["turn begun before", "turn begun at the floor", "turn begun just before", "reply requested before"],
)
def test_after_a_gap_one_turn_and_one_safety_reply_must_have_begun_after_it(floor_ns: int, expected: set[str]) -> None:
    assert found(evaluate_evidence(GOOD, evolve(RESTING, floor_ns=floor_ns))) == expected


@pytest.mark.parametrize("name", ["last_turn_ns", "turn_period_ns"])
def test_no_whole_turn_no_evidence(name: str) -> None:
    lidar = evolve(GOOD.lidar, **field(name))
    assert found(evaluate_evidence(evolve(GOOD, lidar=lidar), RESTING)) == {"no_evidence"}


# -- drives and speed


def test_drive_errors() -> None:
    causes = tuple(evaluate_drives(good_inputs(NOW, drives=(drive(1, NOW), drive(2, NOW, error=7))), RESTING))
    assert [c.detail for c in causes] == ["drive 2: error code 7"]
    unread = (evolve(drive(1, NOW), error=None),)
    assert found(evaluate_drives(good_inputs(NOW, drives=unread), RESTING)) == set()


@pytest.mark.parametrize(
    ("velocity", "is_usable", "moment", "expected"),
    [
        (100, True, MOVING, set()),
        (101, True, MOVING, {"overspeed"}),
        (-101, True, MOVING, {"overspeed"}),
        (101, True, RESTING, set()),
        (0, False, MOVING, {"position_lost"}),
        (0, False, RESTING, set()),
    ],
)
def test_speed(velocity: float, is_usable: bool, moment: Moment, expected: set[str]) -> None:
    inputs = good_inputs(NOW, velocity=reading(velocity, NOW, raw=int(velocity) & 0xFFFF, is_usable=is_usable))
    assert found(evaluate_speed(inputs, 100.0, moment)) == expected


def test_no_velocity_is_judged_as_missing_evidence_not_as_speed() -> None:
    assert found(evaluate_speed(good_inputs(NOW, velocity=None), 100.0, MOVING)) == set()


@pytest.mark.parametrize(
    ("velocity", "direction", "expected"),
    [
        (-31, 1, True), (-30, 1, False), (31, 1, False), (31, 2, True), (30, 2, False), (-31, 2, False),
        (-31, 0, False),
        (None, 1, False),
    ],
)  # fmt: skip
def test_wrong_way(velocity: float | None, direction: int, expected: bool) -> None:
    measured = None if velocity is None else reading(velocity, NOW, raw=0)
    assert is_wrong_way(good_inputs(NOW, velocity=measured), direction, 30.0) is expected


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ({"speed": 100}, {"speed": 100}, False),
        ({"speed": 100}, {"speed": 76}, False),
        ({"speed": 100}, {"speed": 74}, True),
        ({"speed": 10}, {"speed": 5}, False),
        ({"speed": 10}, {"speed": 4}, True),
        ({"speed": 10}, {"speed": 0}, True),
        ({"speed": 8, "direction": 1}, {"speed": 8, "direction": 2}, True),
        ({"speed": 0, "direction": 1}, {"speed": 0, "direction": 2}, False),
    ],
)
def test_drives_disagree(one: dict[str, int], two: dict[str, int], expected: bool) -> None:
    assert do_drives_disagree((drive(1, NOW, **one), drive(2, NOW, **two)), 0.25) is expected


def test_drives_that_were_not_read_cannot_disagree() -> None:
    assert not do_drives_disagree((DriveFeedback(1, None, None, None, None),), 0.25)


def test_uncommanded_counts_readings_asked_for_after_the_moment_only() -> None:
    on = (drive(1, NOW), drive(2, NOW, enable=1))
    assert is_uncommanded(on, NOW - 9 * MS)
    assert not is_uncommanded(on, NOW - 8 * MS)
    assert not is_uncommanded((drive(1, NOW), evolve(drive(2, NOW), enable=None)), START_NS)


# -- LiDAR


def hit(index: int = 0, mm: float = 400.0) -> ZoneHit:
    return ZoneHit("stop", 500.0, index, mm, (), NOW)


@pytest.mark.parametrize("state", [state for state in LidarLinkState if state is not LidarLinkState.SCANNING])
def test_everything_but_scanning_is_absence(state: LidarLinkState) -> None:
    inputs = evolve(GOOD, lidar=evolve(GOOD.lidar, state=state, cause="unplugged"))
    causes = tuple(evaluate_lidar(inputs, CLEAR, 150 * MS, MOVING))
    assert [(c.code, c.detail) for c in causes] == [(C.LIDAR_ABSENT, "unplugged")]


def test_scanning_without_a_byte_is_absence() -> None:
    inputs = evolve(GOOD, lidar=evolve(GOOD.lidar, last_byte_ns=None))
    assert found(evaluate_lidar(inputs, CLEAR, 150 * MS, MOVING)) == {"lidar_absent"}


@pytest.mark.parametrize(("age_ms", "expected"), [(150, set()), (151, {"lidar_silent"})])
def test_link_silence(age_ms: int, expected: set[str]) -> None:
    inputs = evolve(GOOD, lidar=evolve(GOOD.lidar, last_byte_ns=NOW - age_ms * MS))
    assert found(evaluate_lidar(inputs, CLEAR, 150 * MS, MOVING)) == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (evolve(CLEAR, unknown_sectors=(3, 4), must_stop=True), {"sector_unknown"}),
        (evolve(CLEAR, hits=(hit(),), stop_hits=(hit(),), must_stop=True), {"zone_stop"}),
        (evolve(CLEAR, hits=(hit(),)), set()),
        (evolve(CLEAR, unknown_elsewhere=(18,), must_stop=True), {"sector_unknown"}),
        (evolve(CLEAR, unknown_elsewhere=(18,)), set()),
        (evolve(CLEAR, stop_hits=(hit(),), unknown_sectors=(4,), must_stop=True), {"zone_stop", "sector_unknown"}),
    ],
    ids=["unknown ahead", "hit ahead", "hit elsewhere", "unknown that was near", "unknown elsewhere", "both"],
)
def test_zones(view: ZoneView, expected: set[str]) -> None:
    assert found(evaluate_lidar(GOOD, view, 150 * MS, MOVING)) == expected


def test_every_violated_sector_is_told_with_its_hit() -> None:
    view = evolve(CLEAR, stop_hits=(hit(0, 400), hit(1, 450)), must_stop=True)
    causes = tuple(evaluate_lidar(GOOD, view, 150 * MS, MOVING))
    assert [c.hit for c in causes] == [hit(0, 400), hit(1, 450)]
    assert "400 mm in sector 0" in causes[0].detail


# -- stop and site


def under_way(kind: StopKind, phase: StopPhase, *found_codes: CauseCode, is_active: bool = True, **changes: Any) -> Any:
    report = stop_report(
        kind=kind, phase=phase, causes=tuple(cause(code, NOW - 20 * MS) for code in found_codes), **changes
    )  # fmt: skip
    return good_inputs(NOW, stop=report, is_stop_active=is_active)


@pytest.mark.parametrize("code", [C.STOP_UNVERIFIED, C.STOP_LATE, C.PERMIT_EXPIRED, C.MOTION_UNKNOWN])
def test_what_the_bus_owner_found_out_is_passed_on(code: CauseCode) -> None:
    inputs = under_way(StopKind.S1, StopPhase.SENDING, code, C.ZONE_STOP)
    assert found(evaluate_stop(inputs, MOVING)) == {code.value, "stopping"}


def test_before_the_first_stop_there_is_nothing_to_pass_on() -> None:
    assert found(evaluate_stop(good_inputs(NOW, stop=None), MOVING)) == set()


@pytest.mark.parametrize(("since_ms", "expected"), [(10, {"stop_late"}), (11, set())])
def test_a_stop_that_is_over_still_tells_what_was_found_since_the_last_step(since_ms: int, expected: set[str]) -> None:
    report = stop_report(causes=(cause(C.STOP_LATE, NOW - since_ms * MS),))
    assert found(evaluate_stop(good_inputs(NOW, stop=report), RESTING)) == expected


@pytest.mark.parametrize(
    ("kind", "phase", "standstill_ns", "expected"),
    [
        (StopKind.S1, StopPhase.SENDING, None, {"stopping"}),
        (StopKind.S0, StopPhase.NOT_CONFIRMED, None, {"stopping"}),
        (StopKind.S1, StopPhase.STOPPING, NOW, {"stopping"}),
        (StopKind.S2, StopPhase.STOPPING, None, {"stopping"}),
        (StopKind.S2, StopPhase.STOPPING, NOW, set()),
    ],
)
def test_only_an_s2_at_standstill_lets_a_new_press_through(
    kind: StopKind, phase: StopPhase, standstill_ns: int | None, expected: set[str]
) -> None:
    assert found(evaluate_stop(under_way(kind, phase, standstill_ns=standstill_ns), RESTING)) == expected


def test_site() -> None:
    assert found(evaluate_site(GOOD, SafetyConfig(brake_wiring=BrakeWiring.UNKNOWN), RESTING)) == {"brake_unknown"}
    mixed = good_inputs(NOW, is_everything_simulated=False)
    assert [c.detail for c in evaluate_site(mixed, CONFIG, RESTING)] == ["only the bus is simulated"]
    lidar = evolve(mixed, wire=evolve(GOOD.wire, is_simulated=False))
    assert [c.detail for c in evaluate_site(lidar, CONFIG, RESTING)] == ["only the LiDAR is simulated"]
    real = good_inputs(NOW, is_everything_simulated=False, is_anything_simulated=False)
    assert found(evaluate_site(real, CONFIG, RESTING)) == set()


@pytest.mark.parametrize(("limit_ns", "expected"), [(3 * MS, True), (3 * MS - 1, False)])
def test_fresh(limit_ns: int, expected: bool) -> None:
    assert is_fresh(reading(0, NOW), NOW, limit_ns) is expected
    assert not is_fresh(None, NOW, limit_ns)
    assert not is_fresh(reading(0, NOW, is_usable=False), NOW, limit_ns)


def test_a_bus_that_is_only_listened_to_refuses_motion_with_words() -> None:
    wire = evolve(GOOD.wire, is_open=False, is_listen_only=True, is_listening=True, opened_ns=None)
    (cause_,) = evaluate_wire(evolve(GOOD, wire=wire), RESTING)
    assert cause_.code is C.LISTEN_ONLY
    assert "nothing is sent" in cause_.detail
    closed = evolve(wire, is_listening=False, cause="no such device")
    assert codes(tuple(evaluate_wire(evolve(GOOD, wire=closed), RESTING))) == {"listen_only", "module_missing"}
