"""Which module is accepted where: first sight, change, loss of the list, acceptance, and what is said of it."""

from typing import Any

import pytest
from attrs import evolve
from core_fixtures import DOCK, MS, POWER, START_NS, TRAVEL, fresh_registry, load_map, shipped_maps

from oht50d.codec.registers import decode_block
from oht50d.core.module_registry import FIRST_SIGHT, ModuleRegistry, evaluate_identity, shared_serials
from oht50d.core.poll_plan import plan_blocks
from oht50d.model.errors import CommandRejected
from oht50d.model.modules import ModuleIdentity, ModuleRecord, StoredModules, Trust
from oht50d.model.registers import BlockReadings, ModuleMap

UTC = "2024-05-01T12:00:00.000Z"
SEEN = ModuleIdentity(5, 1000, "1.01")
RECORD = ModuleRecord(
    address=DOCK, type_code=5, serial=1000, firmware="1.01", map_name="dock.toml", accepted_utc=UTC, accepted_by="uid:0"
)


def readings_of(module: ModuleMap, identity: ModuleIdentity, at_ns: int = START_NS) -> list[BlockReadings]:
    """The blocks that carry the identity, as read from a module that shows it."""
    serial = identity.serial or 0
    major, _, minor = (identity.firmware or "0.0").partition(".")
    words = {
        "identity.type": identity.type_code, "identity.firmware": int(major) << 8 | int(minor),
        "identity.serial_low": serial & 0xFFFF, "identity.serial_high": serial >> 16,
    }  # fmt: skip
    blocks = [block for block in plan_blocks(module) if any(spec.role in words for spec in block.specs)]
    return [
        decode_block(
            block, tuple(words.get(spec.role or "", 0) for spec in block.specs),
            requested_ns=at_ns, received_ns=at_ns + 5 * MS,
        )
        for block in blocks
    ]  # fmt: skip


def registry(*records: ModuleRecord, **stored: Any) -> ModuleRegistry:
    return fresh_registry(shipped_maps(), StoredModules(records=records, **stored))


def shown(found: ModuleRegistry, identity: ModuleIdentity, at_ns: int = START_NS, unit: int = DOCK) -> Trust:
    """The registry's word after the module at `unit` has shown `identity`."""
    module = next(module for module in shipped_maps() if module.address == unit)
    for readings in readings_of(module, identity, at_ns):
        found.apply(readings)
    return found.trust(unit).trust


def test_nobody_is_trusted_before_he_has_shown_who_he_is() -> None:
    found = registry(RECORD)
    trust = found.trust(DOCK)
    assert (trust.trust, trust.record) == (Trust.UNSEEN, RECORD)
    assert found.identity(DOCK) is None


def test_first_sight_registers_by_itself() -> None:
    found = registry()
    assert shown(found, SEEN) is Trust.ACCEPTED
    (record,) = found.stored.records
    assert (record.identity, record.map_name, record.accepted_by) == (SEEN, "dock.toml", FIRST_SIGHT)
    assert found.revision == 1
    found.date_new(UTC)
    assert found.stored.records[0].accepted_utc == UTC


def test_the_known_one_changes_nothing() -> None:
    found = registry(RECORD)
    assert shown(found, SEEN) is Trust.ACCEPTED
    assert (found.stored.records, found.revision, found.trust(DOCK).note) == ((RECORD,), 0, "")


def test_another_serial_number_inhibits_in_words_and_the_record_stays() -> None:
    found = registry(RECORD)
    assert shown(found, evolve(SEEN, serial=1234)) is Trust.CHANGED
    assert found.trust(DOCK).trust.is_inhibiting
    assert found.trust(DOCK).note == (
        "another module at 0x05 (dock): serial 1234 instead of 1000: check its set-up, then accept it with "
        "`oht50ctl modules accept 0x05 --serial 1234`"
    )
    assert found.stored.records == (RECORD,)


def test_a_module_that_shows_no_serial_number_any_more_has_changed() -> None:
    found = registry(RECORD)
    assert shown(found, evolve(SEEN, serial=None)) is Trust.CHANGED
    assert "no serial number instead of 1000" in found.trust(DOCK).note
    assert "--serial none" in found.trust(DOCK).note


def test_one_that_shows_a_serial_number_where_none_was_known_has_changed() -> None:
    assert shown(registry(evolve(RECORD, serial=None)), SEEN) is Trust.CHANGED


def test_another_type_has_changed() -> None:
    found = registry(evolve(RECORD, type_code=6))
    assert shown(found, SEEN) is Trust.CHANGED
    assert "type 5 instead of 6" in found.trust(DOCK).note


def test_another_firmware_of_the_same_module_is_told_and_does_not_inhibit() -> None:
    found = registry(RECORD)
    assert shown(found, evolve(SEEN, firmware="1.02")) is Trust.UPDATED
    assert not Trust.UPDATED.is_inhibiting
    assert "firmware 1.02 instead of 1.01" in found.trust(DOCK).note


def test_a_module_without_serial_number_is_registered_and_says_that_a_swap_is_not_noticed() -> None:
    found = registry()
    assert shown(found, evolve(SEEN, serial=None)) is Trust.ACCEPTED
    assert "a swap is not noticed" in found.trust(DOCK).note


def test_after_the_loss_of_the_list_nobody_is_registered_by_himself() -> None:
    found = registry(is_lost=True, problem="modules.json is damaged")
    assert shown(found, SEEN) is Trust.UNKNOWN
    assert Trust.UNKNOWN.is_inhibiting
    assert "modules.json is damaged" in found.trust(DOCK).note
    assert found.stored.records == ()


# -- what counts as seen


def test_silence_makes_it_show_itself_again() -> None:
    found = registry(RECORD)
    shown(found, SEEN, START_NS)
    found.forget(DOCK, START_NS + 5 * MS)
    assert found.trust(DOCK).trust is Trust.UNSEEN
    assert shown(found, evolve(SEEN, serial=7), START_NS + 20 * MS) is Trust.CHANGED


def test_what_was_asked_for_before_an_opening_does_not_count_after_it() -> None:
    found = registry(RECORD)
    shown(found, SEEN, START_NS)
    found.reopen(START_NS + MS)
    assert found.trust(DOCK).trust is Trust.UNSEEN
    assert shown(found, SEEN, START_NS) is Trust.UNSEEN
    assert shown(found, SEEN, START_NS + MS) is Trust.ACCEPTED
    found.reopen(START_NS + MS)
    assert found.trust(DOCK).trust is Trust.ACCEPTED, "the same opening, told again"


def test_an_identity_in_two_blocks_is_judged_when_both_are_there() -> None:
    whole = load_map("dock")
    gap = next(spec for spec in whole.registers if spec.name == "register_checksum")
    split = evolve(whole, registers=tuple(spec for spec in whole.registers if spec is not gap))
    found = ModuleRegistry([("dock.toml", split)], StoredModules(records=(RECORD,)))
    serial, type_code = readings_of(split, evolve(SEEN, serial=9))
    found.apply(type_code)
    assert found.trust(DOCK).trust is Trust.UNSEEN
    found.apply(serial)
    assert found.trust(DOCK).trust is Trust.CHANGED


def test_a_map_without_serial_registers_shows_none() -> None:
    whole = load_map("dock")
    hidden = {"identity.serial_low", "identity.serial_high"}
    bare = evolve(whole, registers=tuple(spec for spec in whole.registers if spec.role not in hidden))
    found = ModuleRegistry([("dock.toml", bare)], StoredModules())
    for readings in readings_of(bare, SEEN):
        found.apply(readings)
    assert found.identity(DOCK) == evolve(SEEN, serial=None)


def test_a_module_that_refuses_its_serial_number_shows_none() -> None:
    found = registry(RECORD)
    low, high = load_map("dock").by_role["identity.serial_low"], load_map("dock").by_role["identity.serial_high"]
    shown(found, SEEN)
    found.note_refused(DOCK, frozenset({low.address, high.address, 0x0001}))
    assert found.trust(DOCK).trust is Trust.CHANGED
    assert "no serial number instead of 1000" in found.trust(DOCK).note
    found.note_refused(DOCK, frozenset())
    assert found.trust(DOCK).trust is Trust.ACCEPTED
    found.note_refused(0x06, frozenset({low.address}))


def test_a_refused_serial_number_is_not_waited_for() -> None:
    whole = load_map("dock")
    gap = next(spec for spec in whole.registers if spec.name == "register_checksum")
    split = evolve(whole, registers=tuple(spec for spec in whole.registers if spec is not gap))
    found = ModuleRegistry([("dock.toml", split)], StoredModules())
    _, type_code = readings_of(split, SEEN)
    found.apply(type_code)
    assert found.trust(DOCK).trust is Trust.UNSEEN
    found.note_refused(DOCK, frozenset({0x00FB, 0x00FC}))
    assert found.identity(DOCK) == evolve(SEEN, serial=None)


# -- acceptance


def changed() -> ModuleRegistry:
    found = registry(RECORD)
    shown(found, evolve(SEEN, serial=1234))
    return found


def test_an_acceptance_is_proposed_stored_and_then_taken() -> None:
    found = changed()
    record = found.propose(DOCK, 1234, UTC, "uid:0")
    assert (record.serial, record.accepted_by, record.accepted_utc) == (1234, "uid:0", UTC)
    assert found.with_record(record).records == (record,)
    assert found.trust(DOCK).trust is Trust.CHANGED, "what is not stored is not accepted"
    found.adopt(record)
    assert (found.trust(DOCK).trust, found.stored.records) == (Trust.ACCEPTED, (record,))


def test_after_the_loss_of_the_list_each_module_is_accepted_for_itself() -> None:
    found = registry(is_lost=True, problem="damaged")
    shown(found, SEEN)
    shown(found, ModuleIdentity(2, 2000, "1.00"), unit=POWER)
    found.adopt(found.propose(DOCK, 1000, UTC, "uid:0"))
    assert (found.trust(DOCK).trust, found.trust(POWER).trust) == (Trust.ACCEPTED, Trust.UNKNOWN)
    assert found.stored.is_lost, "until somebody has looked at all of them"


def test_the_list_is_whole_again_once_every_bound_module_is_accepted() -> None:
    found = registry(is_lost=True, problem="damaged")
    for module in shipped_maps():
        shown(found, ModuleIdentity(module.type_code, module.address, "1.00"), unit=module.address)
        found.adopt(found.propose(module.address, module.address, UTC, "uid:0"))
    assert (found.stored.is_lost, found.stored.problem, len(found.stored.records)) == (False, "", 4)


@pytest.mark.parametrize(
    ("unit", "serial", "code"),
    [(DOCK, 1000, "CONFLICT"), (DOCK, None, "CONFLICT"), (0x06, 1, "NOT_FOUND"), (TRAVEL, 1, "MODULE_OFFLINE")],
)
def test_the_guard_keeps_somebody_from_accepting_what_he_has_not_looked_at(
    unit: int, serial: int | None, code: str
) -> None:
    with pytest.raises(CommandRejected) as refusal:
        changed().propose(unit, serial, UTC, "uid:0")
    assert refusal.value.code == code


def test_there_is_nothing_to_accept_about_the_accepted_one() -> None:
    found = registry(RECORD)
    shown(found, SEEN)
    with pytest.raises(CommandRejected, match="nothing to accept"):
        found.propose(DOCK, 1000, UTC, "uid:0")


def test_a_module_without_serial_number_is_accepted_by_saying_so() -> None:
    found = registry(RECORD)
    shown(found, evolve(SEEN, serial=None))
    found.adopt(found.propose(DOCK, None, UTC, "uid:0"))
    assert found.trust(DOCK).trust is Trust.ACCEPTED


# -- words


def test_one_serial_number_at_two_addresses_is_told_at_both() -> None:
    told = shared_serials([(4, 1000), (5, 1000), (6, 7), (7, None), (8, None)])
    assert set(told) == {4, 5}
    assert "serial 1000 shows at 0x05 too" in told[4]


def test_judgement_without_a_registry() -> None:
    assert evaluate_identity(RECORD, SEEN) == (Trust.ACCEPTED, "")
