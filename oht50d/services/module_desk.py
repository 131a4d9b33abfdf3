"""Modules over the local socket: who is there, looking for more, accepting a changed one (no state of its own).

A search goes on beside polling and harms nobody. A scan pauses polling: it is for root, never while somebody has
control or something moves; a stop ends it at once, and it ends when nobody asks for it any more. An acceptance is on
disk before it counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from attrs import frozen

from oht50d.clock import NS_PER_S, now_ns
from oht50d.core.bus_scan import UNDER_WAY, ScanOrder
from oht50d.core.local_rights import LocalRight, Peer
from oht50d.model.errors import CommandRejected
from oht50d.model.line import LineSettings, Parity
from oht50d.model.modules import ModuleRecord
from oht50d.model.motion import MachineState
from oht50d.model.records import EventRow, Severity
from oht50d.services.guardian import Guardian
from oht50d.services.local_desk import Operation
from oht50d.services.local_views import Tree, view_discovery, view_found, view_modules, view_scan
from oht50d.services.ports import RecordSink, SnapshotSource
from oht50d.services.registry_keeper import RegistryKeeper

_UNARMED = frozenset({
    MachineState.BOOT, MachineState.INIT, MachineState.SAFE, MachineState.ESTOP, MachineState.FAULT,
    MachineState.SHUTDOWN,
})  # fmt: skip
"""Where authority is no arming (DECISIONS, state machine)."""
_FRESH_NS = NS_PER_S


class Scanner(Protocol):
    """The bus owner as this desk needs it."""

    def start_scan(self, order: ScanOrder) -> None:
        """Raises CommandRejected."""
        ...

    def cancel_scan(self) -> None: ...

    def look_at_scan(self) -> None:
        """Somebody asks how it goes."""
        ...

    def wake(self) -> None: ...


class Searcher(Protocol):
    """The search beside polling."""

    def search_now(self) -> int:
        """A round from now on; the number of rounds that there are when it is over."""
        ...


@frozen(kw_only=True)
class LineChoices:
    """How the port is set, how it can be set, and why it cannot be scanned at all (empty if it can)."""

    own: LineSettings
    speeds: Sequence[int]
    refusal: str = ""


class ModuleDesk:
    """`operations` are joined to those of the local desk."""

    def __init__(
        self,
        *,
        snapshots: SnapshotSource,
        guardian: Guardian,
        keeper: RegistryKeeper,
        scanner: Scanner,
        searcher: Searcher,
        lines: LineChoices,
        standstill_mm_s: float,
        records: RecordSink,
        utc_now: Callable[[], str],
    ) -> None:
        self._snapshots = snapshots
        self._guardian = guardian
        self._keeper = keeper
        self._scanner = scanner
        self._searcher = searcher
        self._lines = lines
        self._standstill_mm_s = standstill_mm_s
        self._records = records
        self._utc_now = utc_now
        self.operations: Mapping[str, Operation] = {
            "modules": Operation(LocalRight.READ, self._modules),
            "modules_search": Operation(LocalRight.READ, self._search),
            "modules_scan": Operation(LocalRight.ADMINISTER, self._scan),
            "modules_accept": Operation(LocalRight.ADMINISTER, self._accept),
        }

    async def _modules(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        self._scanner.look_at_scan()
        snapshot, at_ns = self._snapshots.current(), now_ns()
        # Scan and search as they are now: who has just begun one must not find the end of the one before.
        _, state, wire = self._guardian.inputs_now()
        discovery = state.discovery()
        found = () if discovery is None else discovery.found
        return {
            "modules": view_modules(snapshot, at_ns),
            "found": [view_found(one, at_ns) for one in found],
            "discovery": view_discovery(discovery, at_ns),
            "scan": view_scan(wire.scan, at_ns),
            "registry_problem": self._keeper.problem,
        }

    async def _search(self, _peer: Peer, _request: Mapping[str, object]) -> Tree:
        self._require_open()
        _, _, wire = self._guardian.inputs_now()
        if wire.is_scanning:
            raise CommandRejected("ROBOT_BUSY", UNDER_WAY)
        rounds = self._searcher.search_now()
        self._scanner.wake()
        return {"rounds": rounds}

    # -- a scan with polling paused

    async def _scan(self, peer: Peer, request: Mapping[str, object]) -> Tree:
        match request.get("action"):
            case "start":
                return self._start(peer, request)
            case "cancel":
                return self._cancel(peer)
        raise CommandRejected("INVALID_COMMAND", "action is start or cancel", {"field": "action"})

    def _cancel(self, peer: Peer) -> Tree:
        _, _, wire = self._guardian.inputs_now()
        if not wire.is_scanning:
            return {"is_running": False, "was_running": False}
        self._scanner.cancel_scan()
        self._note(peer, "bus.scan.cancelled", Severity.INFO, "The bus scan was cancelled")
        return {"is_running": False, "was_running": True}

    def _start(self, peer: Peer, request: Mapping[str, object]) -> Tree:
        if self._lines.refusal:
            raise CommandRejected("CONFLICT", self._lines.refusal)
        order = ScanOrder(
            _integer(request, "first", 1, 247), _integer(request, "last", 1, 247), self._lines_of(request)
        )
        self._require_open()
        self._refuse_armed()
        self._scanner.start_scan(order)
        self._guardian.poke()
        message = f"A bus scan begins: addresses {order.first:#04x} to {order.last:#04x}, {len(order.lines)} settings"
        self._note(peer, "bus.scan.started", Severity.WARNING, message, planned=order.planned)
        return {"planned": order.planned}

    def _lines_of(self, request: Mapping[str, object]) -> tuple[LineSettings, ...]:
        """Every speed with every parity; without either, the port's own setting."""
        own = self._lines.own
        speeds = _listed(request, "bauds", self._lines.speeds, (own.baud,))
        parities = _listed(request, "parities", [parity.value for parity in Parity], (own.parity.value,))
        return tuple(
            own if (speed, Parity(parity)) == (own.baud, own.parity) else LineSettings(int(speed), Parity(parity))
            for parity in parities
            for speed in speeds
        )

    def _require_open(self) -> None:
        _, _, wire = self._guardian.inputs_now()
        if wire.refusal:
            raise CommandRejected("NOT_READY", wire.refusal)

    def _refuse_armed(self) -> None:
        kernel, state, _ = self._guardian.inputs_now()
        holder = kernel.authority.holder
        if holder is not None and kernel.state not in _UNARMED:
            raise CommandRejected("SAFETY_VIOLATION", f"{holder} has control of the robot: no scan while it is armed")
        self._refuse_motion("no scan")
        velocity = state.fresh_number("velocity.x", now_ns(), _FRESH_NS)
        if velocity is not None and abs(velocity) > self._standstill_mm_s:
            raise CommandRejected("SAFETY_VIOLATION", f"the carriage moves at {velocity:g} mm/s: no scan")

    def _refuse_motion(self, what: str) -> None:
        kernel, state, wire = self._guardian.inputs_now()
        inputs = state.inputs(wire)
        if inputs.is_energised or inputs.is_stop_judged or kernel.state in (MachineState.MOVE, MachineState.DOCK):
            raise CommandRejected("SAFETY_VIOLATION", f"the robot moves or is being stopped: {what}")

    # -- acceptance

    async def _accept(self, peer: Peer, request: Mapping[str, object]) -> Tree:
        address = _integer(request, "address", 1, 247)
        serial = None if request.get("serial", "") is None else _integer(request, "serial", 1, 0xFFFFFFFE)
        self._refuse_motion("accept the module at standstill")
        _, state, _ = self._guardian.inputs_now()
        before = state.registry.trust(address).record
        record = state.registry.propose(address, serial, self._utc_now(), f"uid:{peer.uid}")
        await self._keeper.accept(record)
        self._guardian.poke()
        message = f"The module at {address:#04x} is accepted: {_told(record)} instead of {_told(before)}"
        self._note(peer, "module.accepted", Severity.WARNING, message, address=address, serial=record.serial)
        return {"address": address, "serial": record.serial, "firmware": record.firmware, "message": message}

    def _note(self, peer: Peer, kind: str, severity: Severity, message: str, **details: object) -> None:
        credentials = {"uid": peer.uid, "pid": peer.pid, "origin": "socket"}
        row = EventRow(
            self._utc_now(), now_ns(), kind, severity, message, actor=f"uid:{peer.uid}", details=credentials | details
        )
        self._records.record(row)


def _told(record: ModuleRecord | None) -> str:
    if record is None:
        return "none"
    serial = "no serial number" if record.serial is None else f"serial {record.serial}"
    return f"type {record.type_code}, {serial}, firmware {record.firmware or 'unknown'}"


def _integer(request: Mapping[str, object], field: str, least: int, most: int) -> int:
    found = request.get(field)
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise CommandRejected("INVALID_COMMAND", f"{field} is a whole number {least}..{most}", {"field": field})
    return found


def _listed(
    request: Mapping[str, object], field: str, known: Sequence[int] | Sequence[str], otherwise: Sequence[int | str]
) -> tuple[int | str, ...]:
    """A list out of `known`, each once; `otherwise` where nothing is said."""
    found = request.get(field)
    if found is None:
        return tuple(otherwise)
    if not isinstance(found, list) or not found or any(isinstance(one, bool) or one not in known for one in found):
        words = ", ".join(map(str, known))
        raise CommandRejected("INVALID_COMMAND", f"{field} is a list out of {words}", {"field": field})
    return tuple(dict.fromkeys(found))
