"""Which differences between two snapshots become events."""

from memory_samples import MS, START_NS, a_module, a_snapshot, a_stop

from oht50d.core.history_events import TransitionWatcher, stop_times_ms
from oht50d.model.lidar import LidarLinkState, LidarPoint, LidarStatus
from oht50d.model.motion import Cause, CauseCode, MachineState, StopPhase, ZoneHit
from oht50d.model.records import EventRow, Severity
from oht50d.model.registers import ModuleKind
from oht50d.model.snapshot import WireStatus

BOOT = Cause(CauseCode.BOOT, START_NS)


def watching(**changes: object) -> TransitionWatcher:
    watcher = TransitionWatcher()
    watcher.observe(a_snapshot(**changes))
    return watcher


def only(events: tuple[EventRow, ...]) -> EventRow:
    assert len(events) == 1, [event.kind for event in events]
    return events[0]


def test_the_first_snapshot_tells_the_start_with_its_causes() -> None:
    snapshot = a_snapshot(state=MachineState.SAFE, is_latched=True, latched_causes=(BOOT,))
    event = only(TransitionWatcher().observe(snapshot))
    assert event.kind == "robot.started"
    assert event.message == "Started in SAFE, locked: The control program has just started"
    assert event.details["boot_id"] == "boot-a"
    assert event.details["causes"] == ["boot"]


def test_the_start_after_an_unclean_end_says_so() -> None:
    boot = Cause(CauseCode.BOOT, START_NS, "the last run ended badly")
    snapshot = a_snapshot(state=MachineState.SAFE, is_latched=True, latched_causes=(boot,))
    event = only(TransitionWatcher().observe(snapshot))
    assert event.message == "Started in SAFE, locked: The control program has just started (the last run ended badly)"
    assert event.details["causes"] == ["boot"]


def test_nothing_new_is_no_event() -> None:
    assert watching().observe(a_snapshot(taken_ns=START_NS + MS)) == ()


def test_a_state_change_names_both_states() -> None:
    event = only(watching().observe(a_snapshot(state=MachineState.FAULT)))
    assert (event.kind, event.severity) == ("robot.status.changed", Severity.CRITICAL)
    assert (event.details["old_status"], event.details["new_status"]) == ("IDLE", "FAULT")


def test_a_latch_trip_carries_zone_and_points() -> None:
    hit = ZoneHit("stop", 500.0, 3, 412.0, (LidarPoint(10.0, 412.0),), START_NS)
    cause = Cause(CauseCode.ZONE_STOP, START_NS, "front", hit)
    event = only(watching().observe(a_snapshot(is_latched=True, latched_causes=(cause,))))
    assert (event.kind, event.severity) == ("safety.emergency.triggered", Severity.EMERGENCY)
    assert event.message == "Locked: Something is inside the stop zone (front)"
    assert event.details["zone"] == "stop"
    assert event.details["points"] == [[10.0, 412.0]]


def test_only_the_new_cause_of_a_latched_robot_is_told() -> None:
    watcher = watching(is_latched=True, latched_causes=(BOOT,))
    chain = Cause(CauseCode.CHAIN_OPEN, START_NS)
    event = only(watcher.observe(a_snapshot(is_latched=True, latched_causes=(BOOT, chain))))
    assert event.details["cause"] == "chain_open"
    assert "zone" not in event.details


def test_a_reset_tells_what_was_cleared() -> None:
    watcher = watching(is_latched=True, latched_causes=(BOOT,))
    event = only(watcher.observe(a_snapshot()))
    assert event.kind == "safety.latch.cleared"
    assert event.message == "Reset: The control program has just started"
    assert event.details["causes"] == ["boot"]


def test_a_lost_and_returning_module() -> None:
    lost = a_module(3, ModuleKind.SAFETY, online=False)
    optional = a_module(6, ModuleKind.DOCK, online=False, mandatory=False)
    watcher = watching(modules=(a_module(3, ModuleKind.SAFETY), a_module(6, ModuleKind.DOCK, mandatory=False)))
    first, second = watcher.observe(a_snapshot(modules=(lost, optional)))
    assert (first.kind, first.severity, first.details["address"]) == ("module.offline", Severity.ERROR, 3)
    assert first.message == "Safety (0x03) is lost: silent"
    assert second.severity is Severity.WARNING
    event = only(watcher.observe(a_snapshot(modules=(a_module(3, ModuleKind.SAFETY), optional))))
    assert event.kind == "module.online"


def test_a_module_that_appears_is_online_only_when_it_answers() -> None:
    silent = a_module(9, ModuleKind.DOCK, online=False)
    assert watching(modules=()).observe(a_snapshot(modules=(silent,))) == ()
    assert (
        only(watching(modules=()).observe(a_snapshot(modules=(a_module(9, ModuleKind.DOCK),)))).kind == "module.online"
    )


def test_the_bus_closes_with_its_remedy_and_opens_again() -> None:
    closed = WireStatus(False, "/dev/ttyOHT485", "absent", "plug it in", True, None, 0, 0, 0, None)
    watcher = watching()
    lost = only(watcher.observe(a_snapshot(wire=closed)))
    assert (lost.kind, lost.severity, lost.details["remedy"]) == ("bus.lost", Severity.ERROR, "plug it in")
    assert only(watcher.observe(a_snapshot())).kind == "bus.opened"


def test_the_lidar_changes_its_state() -> None:
    watcher = watching()
    silent = only(watcher.observe(a_snapshot(lidar=LidarStatus(LidarLinkState.SILENT, cause="no bytes"))))
    assert (silent.severity, silent.message) == (Severity.WARNING, "LiDAR scanning to silent: no bytes")
    assert only(watcher.observe(a_snapshot())).severity is Severity.INFO


def test_a_finished_stop_is_told_once_with_its_four_times() -> None:
    watcher = watching()
    running = a_stop(1, StopPhase.STOPPING, first_frame_ns=START_NS + 4 * MS)
    assert watcher.observe(a_snapshot(stop=running)) == ()
    finished = a_stop(
        1, StopPhase.STANDSTILL, first_frame_ns=START_NS + 4 * MS, output_zero_ns=START_NS + 41 * MS,
        standstill_ns=START_NS + 380 * MS, predicted_ms=400.0,
    )  # fmt: skip
    event = only(watcher.observe(a_snapshot(stop=finished)))
    assert event.kind == "robot.stop.finished"
    times = [event.details[name] for name in ("detected_ms", "first_frame_ms", "output_zero_ms", "standstill_ms")]
    assert times == [0.0, 4.0, 41.0, 380.0]
    assert event.details["causes"] == ["operator_stop"]
    assert watcher.observe(a_snapshot(stop=None, last_stops=(finished,))) == ()


def test_an_unconfirmed_stop_is_told_and_its_late_end_as_well() -> None:
    watcher = watching()
    event = only(watcher.observe(a_snapshot(stop=a_stop(2, StopPhase.NOT_CONFIRMED, unconfirmed_units=(4,)))))
    assert (event.kind, event.severity) == ("robot.stop.unconfirmed", Severity.CRITICAL)
    assert event.details["unconfirmed_units"] == [4]
    assert event.details["standstill_ms"] is None
    late = only(watcher.observe(a_snapshot(last_stops=(a_stop(2, StopPhase.STANDSTILL),))))
    assert late.message == "S1 finished: standstill at an unknown time after detection"


def test_the_memory_of_told_stops_is_bounded() -> None:
    watcher = watching()
    for number in range(200):
        event = only(watcher.observe(a_snapshot(last_stops=(a_stop(number, StopPhase.STANDSTILL),))))
        assert event.details["number"] == number
    assert len(watcher._told_stops) == 64


def test_times_that_were_not_reached_are_none() -> None:
    assert stop_times_ms(a_stop(1, StopPhase.SENDING)) == {
        "detected_ms": 0.0, "first_frame_ms": None, "output_zero_ms": None, "standstill_ms": None,
    }  # fmt: skip
