"""Which module was accepted at which address, and whether the one that answers is it (pure; owner: robot state).

Source of the rules: SAFETY.md, Latch, reset, authority: a changed serial number inhibits motion until accepted. First
sight of an address without a record registers by itself, unless an older list was lost.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set

from attrs import define, evolve, field

from oht50d.codec.registers import raw_of_word
from oht50d.core.address_probe import serial_of, version_text
from oht50d.model.errors import CommandRejected
from oht50d.model.modules import ModuleIdentity, ModuleRecord, ModuleTrust, StoredModules, Trust
from oht50d.model.registers import BlockReadings, ModuleMap

TYPE, FIRMWARE = "identity.type", "identity.firmware"
SERIAL_LOW, SERIAL_HIGH = "identity.serial_low", "identity.serial_high"
_ROLES = frozenset({TYPE, FIRMWARE, SERIAL_LOW, SERIAL_HIGH})
FIRST_SIGHT = "first sight"
_UNSEEN = ModuleTrust(Trust.UNSEEN)


@define
class _Sight:
    """What a bound address has shown: words with the time when they were asked for, and the judgement of them."""

    module: ModuleMap
    map_name: str
    wanted: frozenset[str]
    refused: frozenset[str] = frozenset()
    since_ns: int = 0
    words: dict[str, tuple[int, int]] = field(factory=dict)
    identity: ModuleIdentity | None = None

    def is_complete(self) -> bool:
        """Everything was asked for since; what the module refuses to tell counts as told: it shows none."""
        asked = self.wanted - self.refused
        return bool(asked) and all(role in self.words and self.words[role][1] >= self.since_ns for role in asked)

    def read(self) -> ModuleIdentity:
        """The identity out of the words; what the map lacks or the module refuses is unknown."""
        words = {role: word for role, (word, _) in self.words.items() if role not in self.refused}
        firmware, low, high = words.get(FIRMWARE), words.get(SERIAL_LOW), words.get(SERIAL_HIGH)
        return ModuleIdentity(
            type_code=words[TYPE],
            serial=None if low is None or high is None else serial_of(low, high),
            firmware=None if firmware is None else version_text(firmware),
        )

    def forget(self, since_ns: int) -> None:
        """Whatever was asked for before counts no more."""
        self.since_ns = since_ns
        self.words = {role: entry for role, entry in self.words.items() if entry[1] >= since_ns}
        if not self.is_complete():
            self.identity = None


class ModuleRegistry:
    """The accepted modules and what the bound addresses show; bounded by the addresses of a bus."""

    def __init__(self, modules: Iterable[tuple[str, ModuleMap]], stored: StoredModules) -> None:
        """`modules` come with the names of their map files."""
        self._sights = {
            module.address: _Sight(module, name, _ROLES & module.by_role.keys() | {TYPE}) for name, module in modules
        }
        self._records = {record.address: record for record in stored.records}
        self._is_lost = stored.is_lost
        self._problem = stored.problem
        self._new: set[int] = set()
        self._places: dict[tuple[int, int, int], tuple[tuple[int, str], ...]] = {}
        self.revision = 0
        """Ascends with every change that belongs on disk."""
        self.on_change: Callable[[], None] = lambda: None

    # -- what the modules show

    def apply(self, readings: BlockReadings) -> None:
        """Take one decoded reply of an identified module; judges as soon as its whole identity is there."""
        block = readings.block
        sight = self._sights.get(block.unit)
        places = self._identity_places(readings)
        if not places or sight is None:
            return
        for index, role in places:
            word = raw_of_word(block.specs[index], readings.words[index])
            sight.words[role] = (word, readings.requested_ns)
        self._judge(sight)

    def note_refused(self, unit: int, addresses: Set[int]) -> None:
        """The module answers reads of these registers with a refusal."""
        sight = self._sights.get(unit)
        if sight is None or not (addresses or sight.refused):
            return
        refused = frozenset(role for role in sight.wanted - {TYPE} if sight.module.by_role[role].address in addresses)
        if refused != sight.refused:
            sight.refused = refused
            sight.identity = None
            self._judge(sight)

    def forget(self, unit: int, now_ns: int) -> None:
        """The module went silent: whoever answers next has to show who he is."""
        sight = self._sights.get(unit)
        if sight is not None and (sight.words or sight.identity is not None):
            sight.forget(now_ns)

    def reopen(self, opened_ns: int) -> None:
        """The port was opened: what was asked for before counts no more."""
        for sight in self._sights.values():
            if sight.since_ns < opened_ns:
                sight.forget(opened_ns)

    # -- what is known of them

    def identity(self, unit: int) -> ModuleIdentity | None:
        """What the module shows; None until all of it was read."""
        sight = self._sights.get(unit)
        return None if sight is None else sight.identity

    def trust(self, unit: int) -> ModuleTrust:
        """The judgement of a bound address; UNSEEN for any other."""
        sight = self._sights.get(unit)
        record = self._records.get(unit)
        if sight is None or sight.identity is None:
            return evolve(_UNSEEN, record=record) if record is not None else _UNSEEN
        if record is None:
            return ModuleTrust(Trust.UNKNOWN, self._unknown_words(sight, sight.identity))
        trust, difference = evaluate_identity(record, sight.identity)
        note = _note(trust, sight.module, difference, sight.identity)
        return ModuleTrust(trust, note, record, is_new=unit in self._new)

    @property
    def stored(self) -> StoredModules:
        """What belongs on disk."""
        return self._stored(self._records)

    def date_new(self, utc: str) -> None:
        """Give records that were made by first sight their date: the registry itself has no clock."""
        for unit, record in self._records.items():
            if not record.accepted_utc:
                self._records[unit] = evolve(record, accepted_utc=utc)

    # -- acceptance

    def propose(self, unit: int, serial: int | None, utc: str, by: str) -> ModuleRecord:
        """The record that an acceptance would make; raises CommandRejected. `serial` is the guard: the number on the
        module that somebody has checked, None for one that shows none."""
        sight = self._sights.get(unit)
        if sight is None:
            why = f"no register map binds {unit:#04x}: an unknown module stays read-only"
            raise CommandRejected("NOT_FOUND", why, {"field": "address", "known": sorted(self._sights)})
        if sight.identity is None:
            raise CommandRejected("MODULE_OFFLINE", f"the module at {unit:#04x} does not show who it is")
        if sight.identity.serial != serial:
            why = f"the module at {unit:#04x} shows {_serial(sight.identity.serial)}, not {_serial(serial)}"
            raise CommandRejected("CONFLICT", why, {"field": "serial", "serial": sight.identity.serial})
        if self.trust(unit).trust is Trust.ACCEPTED:
            raise CommandRejected("CONFLICT", f"the module at {unit:#04x} is the accepted one: nothing to accept")
        return _record(sight, sight.identity, utc, by)

    def with_record(self, record: ModuleRecord) -> StoredModules:
        """What would be on disk with `record` in it."""
        return self._stored({**self._records, record.address: record})

    def adopt(self, record: ModuleRecord) -> None:
        """Take the record of an acceptance that is on disk."""
        self._records[record.address] = record
        self._is_lost = self.stored.is_lost
        self._note_change()

    # -- helpers

    def _stored(self, records: Mapping[int, ModuleRecord]) -> StoredModules:
        """A lost list is made good once somebody has accepted every bound module."""
        is_lost = self._is_lost and not self._sights.keys() <= records.keys()
        kept = tuple(records[unit] for unit in sorted(records))
        return StoredModules(records=kept, is_lost=is_lost, problem=self._problem if is_lost else "")

    def _identity_places(self, readings: BlockReadings) -> tuple[tuple[int, str], ...]:
        """Where in a block identity stands; looked up once a block."""
        key = (readings.block.unit, readings.block.first, readings.block.count)
        places = self._places.get(key)
        if places is None:
            specs = enumerate(readings.block.specs)
            places = tuple((index, spec.role) for index, spec in specs if spec.role in _ROLES and spec.role is not None)
            self._places[key] = places
        return places

    def _judge(self, sight: _Sight) -> None:
        if sight.is_complete():
            sight.identity = sight.read()
            self._register_new(sight)

    def _register_new(self, sight: _Sight) -> None:
        unit = sight.module.address
        if unit not in self._records and not self._is_lost and sight.identity is not None:
            self._records[unit] = _record(sight, sight.identity, "", FIRST_SIGHT)
            self._new.add(unit)
            self._note_change()

    def _note_change(self) -> None:
        self.revision += 1
        self.on_change()

    def _unknown_words(self, sight: _Sight, identity: ModuleIdentity) -> str:
        why = f"the list of known modules was lost ({self._problem})"
        return f"{_place(sight.module)}: {why}: {_remedy(sight.module.address, identity.serial)}"


def evaluate_identity(record: ModuleRecord, seen: ModuleIdentity) -> tuple[Trust, str]:
    """What the module shows against what was accepted, with the difference in words."""
    if seen.type_code != record.type_code:
        return Trust.CHANGED, f"type {seen.type_code} instead of {record.type_code}"
    if seen.serial != record.serial:
        return Trust.CHANGED, f"{_serial(seen.serial)} instead of {_number(record.serial)}"
    if seen.firmware != record.firmware:
        return Trust.UPDATED, f"firmware {seen.firmware} instead of {record.firmware}"
    return Trust.ACCEPTED, ""


def shared_serials(serials: Sequence[tuple[int, int | None]]) -> Mapping[int, str]:
    """For each address whose serial number also shows at another one: that in words."""
    places: dict[int, list[int]] = {}
    for unit, serial in serials:
        if serial is not None:
            places.setdefault(serial, []).append(unit)
    told = {}
    for serial, units in places.items():
        for unit in units if len(units) > 1 else ():
            others = " and ".join(f"{other:#04x}" for other in units if other != unit)
            told[unit] = f"serial {serial} shows at {others} too: one of them has the wrong number or answers twice"
    return told


def _record(sight: _Sight, identity: ModuleIdentity, utc: str, by: str) -> ModuleRecord:
    return ModuleRecord(
        address=sight.module.address,
        type_code=identity.type_code,
        serial=identity.serial,
        firmware=identity.firmware,
        map_name=sight.map_name,
        accepted_utc=utc,
        accepted_by=by,
    )


def _note(trust: Trust, module: ModuleMap, difference: str, seen: ModuleIdentity) -> str:
    match trust:
        case Trust.CHANGED:
            return f"another module at {_place(module)}: {difference}: {_remedy(module.address, seen.serial)}"
        case Trust.UPDATED:
            fits = "its register map still fits"
            return f"{_place(module)}: {difference}: {fits}; {_remedy(module.address, seen.serial)}"
        case _:
            return "" if seen.serial is not None else f"{_place(module)} shows no serial number: a swap is not noticed"


def _place(module: ModuleMap) -> str:
    return f"{module.address:#04x} ({module.kind.value})"


def _remedy(unit: int, serial: int | None) -> str:
    shown = "none" if serial is None else str(serial)
    return f"check its set-up, then accept it with `oht50ctl modules accept {unit:#04x} --serial {shown}`"


def _serial(serial: int | None) -> str:
    return "no serial number" if serial is None else f"serial {serial}"


def _number(serial: int | None) -> str:
    return "none" if serial is None else str(serial)
