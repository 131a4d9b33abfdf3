"""Snapshots, rows and doubles of the ports that the tests of the memory and of the local socket share."""

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import evolve

from oht50d.model.accounts import Account, Role
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.lidar import LidarLinkState, LidarStatus, SectorReport
from oht50d.model.motion import Cause, CauseCode, Decision, MachineState, StopKind, StopPhase, StopReport
from oht50d.model.records import EventRow, Row, Severity, TelemetryRow
from oht50d.model.registers import ModuleKind, Quality, Reading
from oht50d.model.snapshot import Authority, ModuleCounters, ModuleStatus, Snapshot, WireStatus
from oht50d.services.ports import Actor

MS = 1_000_000
S = 1_000_000_000
START_NS = 1_000 * S


def utc_at(taken_ns: int) -> str:
    seconds, rest = divmod((taken_ns - START_NS) // MS, 1000)
    return f"2024-05-01T12:{seconds // 60:02d}:{seconds % 60:02d}.{rest:03d}Z"


def a_reading(
    role: str, value: float | int | bool, *, received_ns: int = START_NS, quality: Quality = Quality.GOOD
) -> Reading:
    return Reading(role.replace(".", "_"), 1, role, 7, value, "V", quality, received_ns - MS, received_ns)


def a_module(
    address: int, kind: ModuleKind, *readings: Reading, online: bool = True, mandatory: bool = True
) -> ModuleStatus:
    return ModuleStatus(
        address=address, kind=kind, title=kind.value.title(), tag=kind.value, is_mandatory=mandatory, is_online=online,
        is_identified=online, last_valid_ns=START_NS if online else None, serial=42, firmware="1.2",
        problem="" if online else "silent", counters=ModuleCounters(requests=10, replies=9, timeouts=1),
        readings={reading.name: reading for reading in readings},
    )  # fmt: skip


def a_sector(index: int, nearest_mm: float | None, last_ns: int) -> SectorReport:
    return SectorReport(index, last_ns - 5 * MS, last_ns, 10, 9, 1, nearest_mm, ())


def a_stop(number: int, phase: StopPhase, **times: Any) -> StopReport:
    return StopReport(number, StopKind.S1, (Cause(CauseCode.OPERATOR_STOP, START_NS),), phase, START_NS, **times)


def a_snapshot(**changes: Any) -> Snapshot:
    """A robot at rest in IDLE with everything known and fresh."""
    power = a_module(
        2, ModuleKind.POWER, a_reading("battery.soc", 87.5), a_reading("battery.voltage", 52.1),
        a_reading("battery.current", -1.5), a_reading("battery.temperature", 25),
    )  # fmt: skip
    travel = a_module(
        4, ModuleKind.TRAVEL, a_reading("drive.1.actual_speed", 0), a_reading("drive.1.enable", False),
        a_reading("drive.2.actual_speed", 0), a_reading("drive.2.enable", False),
    )  # fmt: skip
    taken_ns = changes.pop("taken_ns", START_NS)
    snapshot = Snapshot(
        version=0, taken_ns=taken_ns, taken_utc=utc_at(taken_ns), robot_id="OHT-50-001", is_simulated=True,
        state=MachineState.IDLE, is_latched=False, latched_causes=(),
        decision=Decision(1, taken_ns, None, None, None, (), (Cause(CauseCode.NO_AUTHORITY, START_NS),)),
        authority=Authority("boot-a", 1, None, None), modules=(power, travel),
        wire=WireStatus(True, "/dev/ttyOHT485", "", "", True, START_NS, 1000, 0, 1, START_NS),
        lidar=LidarStatus(LidarLinkState.SCANNING), sectors=(a_sector(0, 812.0, taken_ns), None), stop=None,
        last_stops=(), velocity_mm_s=0.0, position_mm=1234.0, speed_limit_mm_s=300.0, is_commissioned=False,
        jog_nonce=None,
    )  # fmt: skip
    return evolve(snapshot, **changes)


def a_telemetry_row(number: int = 0) -> TelemetryRow:
    taken_ns = START_NS + number * 100 * MS
    return TelemetryRow(utc_at(taken_ns), taken_ns, {"number": number, "state": "IDLE"})


def an_event_row(number: int = 0, kind: str = "test.happened") -> EventRow:
    taken_ns = START_NS + number * 100 * MS
    return EventRow(utc_at(taken_ns), taken_ns, kind, Severity.INFO, f"event {number}", details={"number": number})


class MemoryStore:
    """A store of lists: `problem` makes it fail, `delay_s` makes it slow; keeps the batch promise of the spool."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.problem: str | None = None
        self.squeezed = 0
        self.last_batch = 0
        self.calls = 0

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        self.calls += 1
        if self.problem is not None:
            raise StoreError(self.problem)
        if batch is not None:
            if batch <= self.last_batch:
                return
            self.last_batch = batch
        self.rows.extend(rows)

    def kinds(self) -> list[str]:
        return [row.kind for row in self.rows if isinstance(row, EventRow)]


class ScriptedCommander:
    """Answers STOP with what it was given and keeps who asked."""

    def __init__(self, **answer: object) -> None:
        self.answer: Mapping[str, object] = {"outcome": "verified", "phase": "standstill", "persisted": True} | answer
        self.stops: list[tuple[Actor | None, str]] = []

    async def stop(self, actor: Actor | None, source: str) -> Mapping[str, object]:
        self.stops.append((actor, source))
        return self.answer


class ListedAccounts:
    """Accounts in a dictionary, with the rule on the length of a password."""

    def __init__(self) -> None:
        self.accounts: dict[str, tuple[Account, str]] = {}

    async def add(self, username: str, password: str, role: Role) -> Account:
        if len(password) < 12:
            raise CommandRejected("INVALID_COMMAND", "a password has at least 12 characters", {"field": "password"})
        self.accounts[username] = (Account(username, role, True), password)
        return self.accounts[username][0]

    async def names(self) -> Sequence[Account]:
        return [account for account, _ in self.accounts.values()]


class ListedHistory:
    """Events in a list, or the problem of a store that cannot be read."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, object]] = []
        self.problem: str | None = None

    async def events(self, *, limit: int, before_seq: int | None = None) -> Sequence[Mapping[str, object]]:
        if self.problem is not None:
            raise StoreError(self.problem)
        newest = sorted(self.found, key=lambda event: -int(str(event["seq"])))
        return [event for event in newest if before_seq is None or int(str(event["seq"])) < before_seq][:limit]
