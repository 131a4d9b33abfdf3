"""The drives' own time-out counts only when it was read back after it was written."""

from core_fixtures import MS, POWER, SHIPPED, START_NS, TRAVEL, S, shipped_actuators

from oht50d.codec.registers import decode_block
from oht50d.core.drive_timeout import DriveTimeout
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.role_table import RoleTable
from oht50d.model.bus import WriteRegister
from oht50d.model.units import Duration

T = START_NS
BLOCKS = plan_blocks(SHIPPED["travel_motor_timeout"])
BLOCK = next(b for b in BLOCKS if b.first <= 0x35 < b.first + b.count)
WRITE = WriteRegister(TRAVEL, 0x35, 200)


def timeout(travel: str = "travel_motor_timeout") -> tuple[DriveTimeout, RoleTable]:
    roles = RoleTable()
    return DriveTimeout(shipped_actuators(travel), roles, Duration.parse("200ms")), roles


def read(roles: RoleTable, milliseconds: int, at_ns: int) -> None:
    words = tuple(milliseconds if spec.address == 0x35 else 0 for spec in BLOCK.specs)
    roles.apply(decode_block(BLOCK, words, requested_ns=at_ns, received_ns=at_ns + 5 * MS))


def test_a_map_without_one_needs_nothing() -> None:
    plain, _ = timeout("travel_motor")
    assert plain.is_proven
    assert plain.next_write(T) is None
    assert not any(plain.is_read_by(block) for block in BLOCKS)


def test_it_is_proven_by_a_reading_asked_for_after_the_write() -> None:
    drives, roles = timeout()
    read(roles, 200, T - S)
    assert not drives.is_proven, "what stood there before says nothing about this opening"
    assert drives.next_write(T) == WRITE
    drives.complete(T)
    read(roles, 200, T - 1)
    assert not drives.is_proven
    read(roles, 200, T)
    assert drives.is_proven
    assert drives.next_write(T + 10 * S) is None


def test_it_waits_a_second_for_the_read_back_then_writes_again() -> None:
    drives, _ = timeout()
    drives.complete(T)
    assert drives.next_write(T + S - 1) is None
    assert drives.next_write(T + S) == WRITE


def test_a_module_that_lost_it_is_found_out_and_told_again() -> None:
    drives, roles = timeout()
    drives.complete(T)
    read(roles, 200, T + 1)
    assert drives.is_proven
    read(roles, 0, T + 5 * S)
    assert not drives.is_proven
    assert drives.next_write(T + 5 * S) == WRITE


def test_after_forget_the_old_proof_is_void() -> None:
    drives, roles = timeout()
    drives.complete(T)
    read(roles, 200, T + 1)
    drives.forget()
    assert not drives.is_proven
    assert drives.next_write(T + 2) == WRITE


def test_it_knows_the_block_with_its_read_back() -> None:
    drives, _ = timeout()
    assert [block for block in BLOCKS if drives.is_read_by(block)] == [BLOCK]
    assert not any(drives.is_read_by(block) for block in plan_blocks(SHIPPED["power"]) if block.unit == POWER)
