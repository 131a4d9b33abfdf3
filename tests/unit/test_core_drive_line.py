"""From a demand to motion frames, one at a time, until the drives have what was asked for."""

from core_fixtures import BRAKE, FORWARD, MS, REVERSE, SAFETY, START_NS, TRAVEL, permit, shipped_actuators, shipped_maps

from oht50d.core.drive_line import MAX_ATTEMPTS, DriveLine
from oht50d.core.motion_gate import MotionGate
from oht50d.core.safety_config import DriveMode
from oht50d.model.bus import (
    BusRequest,
    ExceptionReply,
    ExchangeResult,
    Failure,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.motion import MotionDemand, Permit

T = START_NS
START: list[BusRequest] = [
    WriteRegister(TRAVEL, 0x00, 2),
    WriteRegister(TRAVEL, 0x10, 2),
    WriteRegister(TRAVEL, 0x07, 1),
    WriteRegister(TRAVEL, 0x17, 1),
    WriteRegisters(TRAVEL, 0x01, (1, 0, 0)),
    WriteRegisters(TRAVEL, 0x11, (1, 0, 0)),
    WriteRegister(SAFETY, BRAKE, 1),
    WriteRegisters(TRAVEL, 0x01, (1, 0, 4)),
    WriteRegisters(TRAVEL, 0x11, (1, 0, 4)),
]


def line(refresh_ns: int | None = None, released_word: int | None = 1) -> DriveLine:
    actuators = shipped_actuators(released_word=released_word)
    return DriveLine(actuators, MotionGate(shipped_maps(), actuators, DriveMode.LINEAR), refresh_ns)


def outcome(request: BusRequest, answer: str = "echo", at_ns: int = T) -> ExchangeResult:
    if answer == "silent":
        return ExchangeResult(request, None, Failure.SILENT, at_ns, at_ns)
    if answer == "refused":
        return ExchangeResult(request, ExceptionReply(request.unit, 16, 3), None, at_ns, at_ns)
    return ExchangeResult(request, WriteReply(request.unit, 0, 1, 0), None, at_ns, at_ns)


def run(
    drives: DriveLine,
    demand: MotionDemand = FORWARD,
    granted: Permit | None = None,
    at_ns: int = T,
    answer: str = "echo",
) -> list[BusRequest]:
    """Send until there is nothing to say, at most twenty frames."""
    sent: list[BusRequest] = []
    while len(sent) < 20 and (request := drives.next_request(demand, granted or permit(), at_ns)) is not None:
        drives.mark_energised()
        sent.append(request)
        drives.complete(outcome(request, answer, at_ns))
    return sent


def test_a_start_goes_mode_direction_enable_brake_demand() -> None:
    drives = line()
    assert not drives.is_energised
    assert run(drives) == START
    assert drives.is_energised
    assert drives.commanded_direction == 1


def test_it_has_started_once_the_brake_was_released_and_knows_when_each_frame_was_acknowledged() -> None:
    drives = line()
    drives.mark_energised()
    for number, request in enumerate(START[:7]):
        assert not drives.has_started
        drives.complete(outcome(request, at_ns=T + number))
    assert drives.has_started
    assert (drives.acknowledged_ns(TRAVEL, 0x07), drives.acknowledged_ns(TRAVEL, 0x02)) == (T + 2, None)
    drives.forget()
    assert (drives.has_started, drives.acknowledged_ns(TRAVEL, 0x07)) == (False, None)


def test_it_counts_as_energised_from_the_first_frame_on_its_way() -> None:
    drives = line()
    assert drives.next_request(FORWARD, permit(), T) == START[0]
    drives.mark_energised()
    assert drives.is_energised
    assert drives.commanded_direction == 0


def test_a_frame_without_an_echo_is_sent_again_and_three_in_a_row_are_unknown() -> None:
    for answer in ("silent", "refused"):
        drives = line()
        drives.mark_energised()
        for attempt in range(1, MAX_ATTEMPTS + 1):
            request = drives.next_request(FORWARD, permit(), T)
            assert request == START[0]
            assert not drives.is_unknown
            drives.complete(outcome(START[0], answer))
            assert drives.is_unknown is (attempt == MAX_ATTEMPTS)


def test_an_echo_ends_a_row_of_failures() -> None:
    drives = line()
    drives.mark_energised()
    for answer in ("silent", "silent", "echo", "silent", "silent"):
        drives.complete(outcome(START[0], answer))
    assert not drives.is_unknown


def test_a_lower_limit_changes_the_demand_of_both_drives_and_nothing_else() -> None:
    drives = line()
    run(drives)
    slow = permit(duty_limit_ratio=0.02)
    assert run(drives, granted=slow) == [
        WriteRegisters(TRAVEL, 0x01, (1, 0, 2)), WriteRegisters(TRAVEL, 0x11, (1, 0, 2)),
    ]  # fmt: skip
    assert run(drives, granted=slow) == []
    assert run(drives) == START[-2:]


def test_a_limit_that_drops_in_the_middle_of_a_start_never_sends_the_higher_demand() -> None:
    drives = line()
    drives.mark_energised()
    for request in START[:7]:
        drives.complete(outcome(request))
    assert run(drives, granted=permit(duty_limit_ratio=0.01))[0] == WriteRegisters(TRAVEL, 0x01, (1, 0, 1))


def test_after_forget_everything_is_said_again_from_the_start() -> None:
    drives = line()
    run(drives)
    drives.forget()
    assert (drives.is_energised, drives.commanded_direction, drives.is_unknown) == (False, 0, False)
    assert run(drives, REVERSE)[2:4] == [WriteRegister(TRAVEL, 0x07, 2), WriteRegister(TRAVEL, 0x17, 2)]


def test_an_echo_that_comes_after_forget_counts_for_nothing() -> None:
    drives = line()
    drives.mark_energised()
    drives.forget()
    drives.complete(outcome(START[0]))
    assert not drives.is_energised
    assert drives.next_request(FORWARD, permit(), T) == START[0]


def test_unknown_brake_wiring_is_never_driven() -> None:
    drives = line(refresh_ns=80 * MS, released_word=None)
    assert run(drives) == []


def test_drives_that_watch_their_line_hear_the_demand_again() -> None:
    drives = line(refresh_ns=80 * MS)
    run(drives)
    assert drives.next_request(FORWARD, permit(), T + 79 * MS) is None
    assert run(drives, at_ns=T + 80 * MS, granted=permit(T + 80 * MS)) == START[-2:]


def test_without_a_time_out_nothing_is_repeated() -> None:
    drives = line()
    run(drives)
    assert drives.next_request(FORWARD, permit(), T + 10_000 * MS) is None
