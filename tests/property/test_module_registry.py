"""The registry as a state machine: whatever the modules do, nobody is trusted who was not accepted."""

from core_fixtures import MS, SHIPPED, START_NS, fresh_registry, shipped_maps
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from oht50d.codec.registers import decode_block
from oht50d.core.module_registry import ModuleRegistry
from oht50d.core.poll_plan import plan_blocks
from oht50d.model.errors import CommandRejected
from oht50d.model.modules import ModuleIdentity, ModuleRecord, StoredModules, Trust

UNITS = st.sampled_from([module.address for module in shipped_maps()])
SERIALS = st.sampled_from([0, 1, 2, 3, 0x10001, 0xFFFFFFFF])
FIRMWARE = st.sampled_from([0x0100, 0x0101])
BLOCKS = {
    module.address: next(b for b in plan_blocks(module) if any(s.role == "identity.type" for s in b.specs))
    for module in SHIPPED.values()
}


class RegistryMachine(RuleBasedStateMachine):
    """Modules that are plugged, unplugged and swapped; a port that is opened; people who accept; restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = START_NS
        self.found: ModuleRegistry = fresh_registry(shipped_maps())
        self.trusted: dict[int, tuple[int, int | None]] = {}
        """By hand: type and serial number that were registered by first sight or accepted."""
        self.shown: dict[int, tuple[int, int | None]] = {}
        self.is_lost = False

    @initialize(is_lost=st.booleans(), serial=SERIALS)
    def begin(self, is_lost: bool, serial: int) -> None:
        self.is_lost = is_lost
        records: tuple[ModuleRecord, ...] = ()
        if serial in (1, 2):
            records = (
                ModuleRecord(
                    address=5, type_code=5, serial=serial, firmware="1.00", map_name="dock.toml", accepted_utc="",
                    accepted_by="uid:0",
                ),
            )  # fmt: skip
            self.trusted[5] = (5, serial)
        self.restart(StoredModules(records=records, is_lost=is_lost, problem="damaged" if is_lost else ""))

    def restart(self, stored: StoredModules) -> None:
        self.found = fresh_registry(shipped_maps(), stored)
        self.shown.clear()

    @rule(unit=UNITS, serial=SERIALS, firmware=FIRMWARE)
    def shows(self, unit: int, serial: int, firmware: int) -> None:
        """An identified module answers with its identity block; with another type it would not be identified."""
        block = BLOCKS[unit]
        words = {
            "identity.type": unit, "identity.firmware": firmware, "identity.serial_low": serial & 0xFFFF,
            "identity.serial_high": serial >> 16,
        }  # fmt: skip
        self.now_ns += 10 * MS
        octets = tuple(words.get(spec.role or "", 0) for spec in block.specs)
        self.found.apply(decode_block(block, octets, requested_ns=self.now_ns, received_ns=self.now_ns + 5 * MS))
        number = None if serial in (0, 0xFFFFFFFF) else serial
        self.shown[unit] = (unit, number)
        if unit not in self.trusted and not self.is_lost:
            self.trusted[unit] = (unit, number)

    @rule(unit=UNITS)
    def falls_silent(self, unit: int) -> None:
        self.now_ns += 10 * MS
        self.found.forget(unit, self.now_ns)
        self.shown.pop(unit, None)

    @rule()
    def opens(self) -> None:
        self.now_ns += 10 * MS
        self.found.reopen(self.now_ns)
        self.shown.clear()

    @rule(unit=st.one_of(UNITS, st.just(6)), serial=st.one_of(SERIALS, st.none()))
    def accepts(self, unit: int, serial: int | None) -> None:
        before = self.found.stored
        try:
            record = self.found.propose(unit, serial, "2024", "uid:0")
        except CommandRejected:
            assert self.found.stored == before, "a refusal changes nothing"
            return
        assert self.shown[unit][1] == serial, "only what shows this number now"
        assert record in self.found.with_record(record).records
        assert self.found.stored == before, "nothing before it is on disk"
        self.found.adopt(record)
        self.trusted[unit] = (unit, serial)
        self.is_lost = self.is_lost and len(self.trusted) < len(shipped_maps())

    @rule()
    def restarts(self) -> None:
        self.restart(self.found.stored)

    @invariant()
    def nobody_is_trusted_who_was_not_accepted(self) -> None:
        for module in shipped_maps():
            unit, trust = module.address, self.found.trust(module.address)
            if unit not in self.shown:
                assert trust.trust is Trust.UNSEEN
                assert self.found.identity(unit) is None
            elif unit not in self.trusted:
                assert trust.trust is Trust.UNKNOWN
                assert self.is_lost
            elif self.trusted[unit] == self.shown[unit]:
                assert trust.trust in (Trust.ACCEPTED, Trust.UPDATED)
            else:
                assert trust.trust is Trust.CHANGED
                assert "accept" in trust.note

    @invariant()
    def what_is_stored_is_what_was_accepted(self) -> None:
        stored = self.found.stored
        assert {record.address: (record.type_code, record.serial) for record in stored.records} == self.trusted
        assert stored.is_lost is self.is_lost
        assert all(isinstance(record.identity, ModuleIdentity) for record in stored.records)


TestRegistry = RegistryMachine.TestCase
