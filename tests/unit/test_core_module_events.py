"""Modules in the history: who was discovered, came, went, changed or kept silent, each told once."""

from typing import Any

from attrs import evolve
from memory_samples import MS, START_NS, S, a_module, a_snapshot

from oht50d.core.module_events import SETTLE_NS, TIMEOUTS_TOLD, ModuleWatcher
from oht50d.model.modules import (
    DiscoveryStatus,
    FoundModule,
    FoundState,
    ModuleRecord,
    ModuleTrust,
    ScanProgress,
    Trust,
)
from oht50d.model.records import EventRow, Severity
from oht50d.model.registers import ModuleKind
from oht50d.model.snapshot import ModuleCounters, ModuleStatus, Snapshot

RECORD = ModuleRecord(
    address=5, type_code=5, serial=1000, firmware="1.01", map_name="dock.toml", accepted_utc="", accepted_by="uid:0"
)  # fmt: skip
LIFTER = FoundModule(address=6, state=FoundState.IDENTIFIED, seen_ns=START_NS, type_code=6, serial=777)


def dock(**changes: Any) -> ModuleStatus:
    return evolve(a_module(5, ModuleKind.DOCK), **changes)


def at(
    second: float, *modules: ModuleStatus, found: tuple[FoundModule, ...] = (), scan: ScanProgress | None = None
) -> Snapshot:
    snapshot = a_snapshot(taken_ns=START_NS + round(second * S), modules=modules)
    status = DiscoveryStatus(first=2, last=8, rounds=1, is_searching=False, finished_ns=START_NS, found=found)
    return evolve(snapshot, discovery=status, wire=evolve(snapshot.wire, scan=scan))


def told(*snapshots: Snapshot) -> list[EventRow]:
    """The events of all but the first."""
    watcher = ModuleWatcher()
    watcher.begin(snapshots[0])
    return [row for snapshot in snapshots[1:] for row in watcher.observe(snapshot)]


def kinds(*snapshots: Snapshot) -> list[str]:
    return [row.kind for row in told(*snapshots)]


def test_what_is_so_at_the_start_is_no_event() -> None:
    first = at(0, dock(trust=ModuleTrust(Trust.ACCEPTED, "", RECORD, is_new=True)), found=(LIFTER,))
    assert kinds(first, first) == []


def test_first_sight_is_a_discovery_with_its_number() -> None:
    seen = dock(trust=ModuleTrust(Trust.ACCEPTED, "", RECORD, is_new=True))
    (row,) = told(at(0, dock()), at(1, seen), at(2, seen))
    assert (row.kind, row.severity, row.details["serial"]) == ("module.discovered", Severity.INFO, 1000)
    assert row.message == "Dock (0x05) is registered with serial 1000"


def test_a_known_module_that_is_seen_again_after_a_restart_is_no_news() -> None:
    assert kinds(at(0, dock()), at(1, dock(trust=ModuleTrust(Trust.ACCEPTED, "", RECORD)))) == []


def test_a_changed_module_is_an_error_another_firmware_a_warning_and_the_acceptance_good_news() -> None:
    rows = told(
        at(0, dock(trust=ModuleTrust(Trust.ACCEPTED, "", RECORD))),
        at(1, dock(trust=ModuleTrust(Trust.UPDATED, "firmware 1.02 instead of 1.01", RECORD))),
        at(2, dock(trust=ModuleTrust(Trust.UNSEEN))),
        at(3, dock(trust=ModuleTrust(Trust.CHANGED, "another module at 0x05", RECORD))),
        at(4, dock(trust=ModuleTrust(Trust.ACCEPTED, "", RECORD))),
    )
    assert [(row.kind, row.severity) for row in rows] == [
        ("module.updated", Severity.WARNING), ("module.updated", Severity.ERROR), ("module.updated", Severity.INFO),
    ]  # fmt: skip
    assert rows[1].message == "another module at 0x05"


def test_strangers_come_change_and_go() -> None:
    rows = told(
        at(0),
        at(1, found=(LIFTER,)),
        at(2, found=(evolve(LIFTER, seen_ns=START_NS + S),)),
        at(3, found=(evolve(LIFTER, serial=778),)),
        at(4, found=(evolve(LIFTER, serial=778, state=FoundState.GARBLED, problem="two modules at one address"),)),
        at(5),
    )
    assert [row.kind for row in rows] == ["module.discovered", "module.updated", "module.updated", "module.offline"]
    assert rows[0].message == "An unknown module answers at 0x06: type 6, serial 777; it stays read only"
    assert rows[2].message == "An unknown module answers at 0x06: two modules at one address"


def test_lost_replies_are_told_once_a_window_and_not_one_by_one() -> None:
    def silent(times: int) -> ModuleStatus:
        return dock(counters=ModuleCounters(timeouts=times))

    assert kinds(at(0, silent(0)), *(at(20 * n, silent(n)) for n in range(1, 9))) == []
    rows = told(at(0, silent(0)), at(1, silent(TIMEOUTS_TOLD)), at(2, silent(9)), at(11, silent(9)), at(12, silent(13)))
    assert [row.details["count"] for row in rows] == [TIMEOUTS_TOLD, 4]
    assert rows[0].kind == "module.timeout"


def test_a_scan_makes_nobody_lost() -> None:
    scan = ScanProgress(is_running=True, asked=1, planned=9, at="0x01", found=())
    over = evolve(scan, is_running=False, found=(LIFTER,), end="complete")
    gone = dock(is_online=False)
    settled = 3 + SETTLE_NS / S
    rows = told(
        at(0, dock()), at(1, dock(), scan=scan), at(2, gone, scan=scan), at(3, gone, scan=over),
        at(3.5, gone, scan=over), at(4, dock(), scan=over), at(settled + 1, dock(), scan=over),
    )  # fmt: skip
    assert [(row.kind, row.message) for row in rows] == [
        ("bus.scan.finished", "The bus scan is over (complete): 1 found")
    ]
    assert kinds(at(0, dock()), at(2, gone, scan=scan), at(3, gone, scan=over), at(settled + 1, gone, scan=over)) == [
        "bus.scan.finished", "module.offline",
    ]  # fmt: skip


def test_without_a_search_there_are_no_strangers() -> None:
    nobody = evolve(at(0), discovery=None)
    assert kinds(nobody, nobody) == []
    assert MS
