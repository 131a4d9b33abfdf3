"""Which differences between two snapshots are events of modules: discovered, online, offline, updated, timeout (pure).

State: a `ModuleWatcher` belongs to the recorder's transition watcher. Source of the kinds: DOMAIN, section 3.
"""

from collections.abc import Iterator

from oht50d.model.modules import FoundModule, FoundState, Trust
from oht50d.model.records import EventRow, Severity
from oht50d.model.snapshot import ModuleStatus, Snapshot

SETTLE_NS = 3_000_000_000
"""After a scan the modules prove again who they are; until then nobody counts as gone."""
TIMEOUT_WINDOW_NS = 10_000_000_000
TIMEOUTS_TOLD = 3
"""So many replies of one module that did not come within the window are told, once a window."""


def event(now: Snapshot, kind: str, severity: Severity, message: str, **details: object) -> EventRow:
    """One row of this moment."""
    return EventRow(now.taken_utc, now.taken_ns, kind, severity, message, details=details)


class ModuleWatcher:
    """Keeps who was there and what was told; bounded by the addresses of a bus."""

    def __init__(self) -> None:
        self._online: dict[int, bool] = {}
        self._trust: dict[int, Trust] = {}
        self._serials: dict[int, int | None] = {}
        self._timeouts: dict[int, tuple[int, int, bool]] = {}
        self._found: dict[int, FoundModule] = {}
        self._was_scanning = False
        self._settled_ns = 0

    def begin(self, first: Snapshot) -> None:
        """What is so at the start is no event."""
        for _ in self.observe(first):
            pass

    def observe(self, now: Snapshot) -> Iterator[EventRow]:
        """The events since the last observed snapshot."""
        yield from self._scan(now)
        for module in now.modules:
            yield from self._link(now, module)
            yield from self._identity(now, module)
            yield from self._silence(now, module)
        yield from self._strangers(now)

    def _link(self, now: Snapshot, module: ModuleStatus) -> Iterator[EventRow]:
        was_online = self._online.get(module.address, False)
        if module.is_online is was_online or now.wire.is_scanning or now.taken_ns < self._settled_ns:
            return
        self._online[module.address] = module.is_online
        details = {"address": module.address, "module": module.kind.value, "serial": module.serial}
        if module.is_online:
            yield event(now, "module.online", Severity.INFO, f"{_name(module)} answers", **details)
            return
        severity = Severity.ERROR if module.is_mandatory else Severity.WARNING
        message = f"{_name(module)} is lost" + (f": {module.problem}" if module.problem else "")
        yield event(now, "module.offline", severity, message, **details)

    def _identity(self, now: Snapshot, module: ModuleStatus) -> Iterator[EventRow]:
        """A module that is registered by first sight is discovered; one that is not the known one is updated."""
        trust, record = module.trust.trust, module.trust.record
        if trust is Trust.UNSEEN or trust is self._trust.get(module.address):
            return
        was_known = module.address in self._trust
        self._trust[module.address] = trust
        serial = None if record is None else record.serial
        details = {"address": module.address, "module": module.kind.value, "trust": trust.value}
        if trust.is_inhibiting or trust is Trust.UPDATED:
            severity = Severity.ERROR if trust.is_inhibiting else Severity.WARNING
            yield event(now, "module.updated", severity, module.trust.note, **details)
        elif was_known:
            yield event(now, "module.updated", Severity.INFO, f"{_name(module)} is the accepted one", **details)
        elif module.trust.is_new:
            told = "without a serial number" if serial is None else f"with serial {serial}"
            message = f"{_name(module)} is registered {told}"
            yield event(now, "module.discovered", Severity.INFO, message, serial=serial, **details)

    def _silence(self, now: Snapshot, module: ModuleStatus) -> Iterator[EventRow]:
        """Lost replies of a module that is there; that it is gone is told as such."""
        count = module.counters.timeouts
        first, since_ns, is_told = self._timeouts.get(module.address, (count, now.taken_ns, False))
        if not module.is_online or now.taken_ns - since_ns >= TIMEOUT_WINDOW_NS:
            first, since_ns, is_told = count, now.taken_ns, False
        if count - first >= TIMEOUTS_TOLD and not is_told:
            is_told = True
            message = f"{_name(module)}: {count - first} replies did not come within {TIMEOUT_WINDOW_NS // 10**9} s"
            details = {"address": module.address, "module": module.kind.value, "count": count - first}
            yield event(now, "module.timeout", Severity.WARNING, message, **details)
        self._timeouts[module.address] = (first, since_ns, is_told)

    def _strangers(self, now: Snapshot) -> Iterator[EventRow]:
        if now.discovery is None:
            return
        found = {one.address: one for one in now.discovery.found}
        for address, one in found.items():
            before = self._found.get(address)
            if before is None:
                yield event(now, "module.discovered", Severity.WARNING, _stranger(one), **_details(one))
            elif _key(before) != _key(one):
                yield event(now, "module.updated", Severity.WARNING, _stranger(one), **_details(one))
        for address, one in self._found.items():
            if address not in found:
                message = f"The unknown module at {address:#04x} is gone"
                yield event(now, "module.offline", Severity.INFO, message, **_details(one))
        self._found = found

    def _scan(self, now: Snapshot) -> Iterator[EventRow]:
        if now.wire.is_scanning is self._was_scanning:
            return
        self._was_scanning = now.wire.is_scanning
        if now.wire.scan is not None and not now.wire.is_scanning:
            self._settled_ns = now.taken_ns + SETTLE_NS
            count = len(now.wire.scan.found)
            message = f"The bus scan is over ({now.wire.scan.end}): {count} found"
            yield event(now, "bus.scan.finished", Severity.INFO, message, found=count, end=now.wire.scan.end)


def _name(module: ModuleStatus) -> str:
    return f"{module.title} ({module.address:#04x})"


def _key(found: FoundModule) -> tuple[object, ...]:
    return found.state, found.type_code, found.serial, found.firmware


def _details(found: FoundModule) -> dict[str, object]:
    return {"address": found.address, "type_code": found.type_code, "serial": found.serial, "state": found.state.value}


def _stranger(found: FoundModule) -> str:
    """Somebody at an address that no map binds, in words."""
    place = f"An unknown module answers at {found.address:#04x}"
    if found.state is not FoundState.IDENTIFIED:
        return f"{place}: {found.problem}"
    serial = "no serial number" if found.serial is None else f"serial {found.serial}"
    return f"{place}: type {found.type_code}, {serial}; it stays read only"
