"""Who is on the bus: identities, what was found where no map is bound, the registry's records (no state)."""

import enum
from collections.abc import Mapping

from attrs import frozen

from oht50d.model.line import LineSettings

TYPE_NAMES: Mapping[int, str] = {
    2: "power", 3: "safety", 4: "travel motor", 5: "dock and location", 6: "lifter", 7: "cargo door",
    8: "extended safety", 9: "RFID", 10: "camera", 11: "environment",
}  # fmt: skip
"""What a type code stands for, also where no map is shipped (DOMAIN, section 2)."""


@frozen
class ModuleIdentity:
    """What a module says about itself; `serial` is None where it shows none, `firmware` as in 1.01."""

    type_code: int
    serial: int | None
    firmware: str | None


class FoundState(enum.Enum):
    """How much is known of somebody who answers at an address."""

    IDENTIFIED = "identified"
    """It said its type."""
    PRESENT = "present"
    """It answers and does not say who it is."""
    GARBLED = "garbled"
    """Something answers and its replies are damaged: two modules at one address, or another line setting."""


@frozen(kw_only=True)
class FoundModule:
    """Somebody found by asking; `problem` is in words for a technician, `line` says how the port was set if not as
    always."""

    address: int
    state: FoundState
    seen_ns: int
    type_code: int | None = None
    device_id: int | None = None
    firmware: str | None = None
    serial: int | None = None
    tag: str | None = None
    problem: str = ""
    line: LineSettings | None = None


class Trust(enum.Enum):
    """What the registry says about the module that answers at a bound address."""

    UNSEEN = "unseen"
    """Its whole identity was not read since the port was opened."""
    ACCEPTED = "accepted"
    """It is the one of the record."""
    UPDATED = "updated"
    """The one of the record with another firmware: told, and its map still fits."""
    CHANGED = "changed"
    """Another one: motion waits for somebody to accept it."""
    UNKNOWN = "unknown"
    """The list of known modules was lost: motion waits for somebody to accept it."""

    @property
    def is_inhibiting(self) -> bool:
        """Whether motion has to wait for an acceptance."""
        return self in (Trust.CHANGED, Trust.UNKNOWN)


@frozen(kw_only=True)
class ModuleRecord:
    """The module that was accepted at an address; `map_name` is the kind of the map it was accepted for."""

    address: int
    type_code: int
    serial: int | None
    firmware: str | None
    map_name: str
    accepted_utc: str
    accepted_by: str

    @property
    def identity(self) -> ModuleIdentity:
        return ModuleIdentity(self.type_code, self.serial, self.firmware)


@frozen(kw_only=True)
class StoredModules:
    """The registry as it is kept on disk. `is_lost`: an older list could not be read, so whoever has no record here is
    unknown and not new; `problem` says why, in words."""

    records: tuple[ModuleRecord, ...] = ()
    is_lost: bool = False
    problem: str = ""


@frozen
class ModuleTrust:
    """The registry's word on one address: `note` is in words, empty if there is nothing to say.

    `is_new`: registered by first sight since this program started.
    """

    trust: Trust
    note: str = ""
    record: ModuleRecord | None = None
    is_new: bool = False


@frozen(kw_only=True)
class ScanProgress:
    """A scan with polling paused, under way or over; `asked` of `planned` addresses and settings are done."""

    is_running: bool
    asked: int
    planned: int
    at: str
    found: tuple[FoundModule, ...]
    end: str = ""
    """Why it is over, in words; empty while it runs."""


@frozen(kw_only=True)
class DiscoveryStatus:
    """The search beside polling: when the last round ended (None: never), whether one is under way, who was found
    at addresses that no map binds."""

    first: int
    last: int
    rounds: int
    is_searching: bool
    finished_ns: int | None
    found: tuple[FoundModule, ...]
