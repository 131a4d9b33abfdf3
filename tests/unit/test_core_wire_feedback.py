"""What the bus owner's own readings say about motion."""

import pytest
from core_fixtures import MS, SHIPPED, START_NS, TRAVEL, shipped_actuators, shipped_maps

from oht50d.codec.registers import decode_block
from oht50d.core.drive_line import DriveLine
from oht50d.core.motion_gate import MotionGate
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.role_table import RoleTable
from oht50d.core.safety_config import DriveMode
from oht50d.core.stop_run import MotionFeedback
from oht50d.core.wire_feedback import are_drives_prepared, motion_feedback, residual_words
from oht50d.model.bus import ExchangeResult, WriteRegister, WriteReply
from oht50d.model.units import Duration

T = START_NS
LIMIT_NS = 150 * MS
GATE = MotionGate(shipped_maps(), shipped_actuators(), DriveMode.LINEAR)
UNKNOWN = MotionFeedback(None, None, None)


def apply(roles: RoleTable, module: str, words: dict[str, int], at_ns: int = T) -> None:
    """One reply for every block of a module that has one of the roles."""
    for block in plan_blocks(SHIPPED[module]):
        if any(spec.role in words for spec in block.specs):
            filled = tuple(words.get(spec.role or "", 0) & 0xFFFF for spec in block.specs)
            roles.apply(decode_block(block, filled, requested_ns=at_ns - 5 * MS, received_ns=at_ns))


def known(velocity: int = 0, one: int = 0, two: int = 0) -> RoleTable:
    roles = RoleTable()
    apply(roles, "dock", {"velocity.x": velocity})
    apply(roles, "travel_motor", {"drive.1.actual_speed": one})
    apply(roles, "travel_motor", {"drive.2.actual_speed": two}, T + MS)
    return roles


def test_nothing_read_is_unknown() -> None:
    assert motion_feedback(RoleTable(), shipped_actuators(), T, LIMIT_NS) == UNKNOWN


def test_all_known_counts_from_the_oldest_request() -> None:
    assert motion_feedback(known(-12), shipped_actuators(), T, LIMIT_NS) == MotionFeedback(-12.0, T - 5 * MS, True)


@pytest.mark.parametrize(("one", "two", "are_still"), [(2, 2, True), (3, 0, False), (0, 3, False), (255, 255, False)])
def test_every_drive_must_be_still(one: int, two: int, are_still: bool) -> None:
    assert motion_feedback(known(0, one, two), shipped_actuators(), T, LIMIT_NS).are_outputs_still is are_still


def test_one_old_reading_makes_it_unknown() -> None:
    assert motion_feedback(known(), shipped_actuators(), T + LIMIT_NS, LIMIT_NS) != UNKNOWN
    assert motion_feedback(known(), shipped_actuators(), T + LIMIT_NS + 1, LIMIT_NS) == UNKNOWN


def test_a_velocity_out_of_range_makes_it_unknown() -> None:
    assert motion_feedback(known(20_000), shipped_actuators(), T, LIMIT_NS) == UNKNOWN


def test_one_drive_that_was_never_read_makes_it_unknown() -> None:
    roles = RoleTable()
    apply(roles, "dock", {"velocity.x": 0})
    apply(roles, "travel_motor", {"drive.1.actual_speed": 0})
    assert motion_feedback(roles, shipped_actuators(), T, LIMIT_NS) == UNKNOWN


PREPARED = {"drive.1.mode": 2, "drive.1.direction": 1, "drive.2.mode": 2, "drive.2.direction": 1}


def prepared(words: dict[str, int], read_ns: int, *, written_ns: int | None = T) -> bool:
    """Mode and direction of both drives acknowledged at `written_ns`, then read by requests of `read_ns`."""
    actuators = shipped_actuators()
    line = DriveLine(actuators, MotionGate(shipped_maps(), actuators, DriveMode.LINEAR), None)
    line.mark_energised()
    for address, word in ((0x00, 2), (0x10, 2), (0x07, 1), (0x17, 1)) if written_ns is not None else ():
        request = WriteRegister(TRAVEL, address, word)
        echo = WriteReply(TRAVEL, address, 1, word)
        line.complete(ExchangeResult(request, echo, None, T - 5 * MS, written_ns or 0))
    roles = RoleTable()
    apply(roles, "travel_motor", words, read_ns + 5 * MS)
    return are_drives_prepared(roles, actuators, line, mode=2, direction=1)


def test_prepared_drives_have_read_back_what_was_written_since_it_was_written() -> None:
    assert prepared(PREPARED, T)
    assert not prepared(PREPARED, T - 1), "read before the write says nothing about it"
    assert not prepared(PREPARED, T, written_ns=None)
    assert not are_drives_prepared(
        RoleTable(), shipped_actuators(), DriveLine(shipped_actuators(), GATE, None), mode=2, direction=1
    )


@pytest.mark.parametrize("role", list(PREPARED))
def test_one_wrong_read_back_is_enough(role: str) -> None:
    assert not prepared({**PREPARED, role: 3}, T)


def test_the_words_for_a_closed_port_tell_what_stops_the_drives() -> None:
    timeout = Duration.parse("200ms")
    plain = residual_words(known(87), shipped_actuators(), timeout)
    assert "no time-out" in plain
    assert "87" in plain
    assert "red button" in plain
    field = residual_words(RoleTable(), shipped_actuators("travel_motor_timeout"), timeout)
    assert "200ms" in field
    assert "unknown speed" in field
