"""The motion gate: every rule of SAFETY.md, Permits."""

from functools import cache

import pytest
from core_fixtures import (
    BRAKE,
    DOCK,
    FORWARD,
    MS,
    POWER,
    SAFETY,
    SHIPPED,
    START_NS,
    TRAVEL,
    permit,
    shipped_actuators,
    shipped_maps,
)

from oht50d.core.motion_gate import FrameClass, MotionGate
from oht50d.core.safety_config import DriveMode
from oht50d.model.bus import (
    BusRequest,
    MaskWriteRegister,
    ReadCoils,
    ReadDeviceIdentification,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadWriteRegisters,
    ReportServerId,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)
from oht50d.model.motion import Direction, MotionDemand
from oht50d.model.registers import Access, RegisterSpec

T = START_NS


@cache
def gate(travel: str = "travel_motor", mode: DriveMode = DriveMode.LINEAR, released_word: int | None = 1) -> MotionGate:
    return MotionGate(shipped_maps(travel), shipped_actuators(travel, released_word=released_word), mode)


MOTION_REGISTERS = [
    pytest.param(SHIPPED[name].address, spec.address, id=f"{name}-{spec.name}")
    for name in ("power", "safety", "travel_motor", "dock")
    for spec in SHIPPED[name].registers
    if spec.is_motion
]

# SAFETY.md's motion set, by words of the register names of the shipped maps.
NAMED_SET = (
    "enable", "speed_setpoint", "linear_input", "linear_step", "direction", "control_mode", "pid_k", "di1_function",
    "do1_control", "do1_function", "docking_mode", "target", "docking_speed", "position_x", "relay_1_control",
    "config_baudrate", "config_parity", "zone_1_threshold", "auto_reset_enable", "safety_mode", "reset_error_cmd",
    "mosfet", "relay_12v", "relay_5v", "relay_3v3",
)  # fmt: skip


@pytest.mark.parametrize("word", NAMED_SET)
def test_the_maps_mark_what_safety_names(word: str) -> None:
    specs: list[RegisterSpec] = [
        spec
        for module in SHIPPED.values()
        for spec in module.registers
        if word in spec.name and spec.access is not Access.RO
    ]
    assert specs
    assert all(spec.is_motion for spec in specs)


@pytest.mark.parametrize(("unit", "address"), MOTION_REGISTERS)
def test_no_motion_register_is_written_without_a_permit(unit: int, address: int) -> None:
    request = WriteRegister(unit, address, 1)
    assert gate().classify(request) is FrameClass.MOTION
    assert not gate().check(request, None, T)
    assert not gate().check(WriteRegisters(unit, address, (1,)), None, T)


@pytest.mark.parametrize(("unit", "address"), MOTION_REGISTERS)
def test_a_permit_opens_only_the_few_frames_that_motion_is_made_of(unit: int, address: int) -> None:
    is_needed = (unit, address) in {(TRAVEL, 0x07), (TRAVEL, 0x17), (SAFETY, BRAKE)}
    assert gate().check(WriteRegister(unit, address, 1), permit(), T) is is_needed


@pytest.mark.parametrize(
    "request_",
    [
        WriteRegister(0, 0x07, 1),
        WriteRegisters(0, 0x01, (0, 0, 0)),
        WriteRegister(0, 0x7000, 0),
        WriteRegister(TRAVEL, 0x000D, 0),
        WriteRegister(SAFETY, 0x0200, 0),
        WriteRegister(DOCK, 0x0200, 0),
        WriteRegister(99, 0x0000, 0),
        WriteRegisters(TRAVEL, 0x000C, (0, 0)),
        WriteRegister(TRAVEL, 0x0005, 1),
        WriteRegister(TRAVEL, 0x0006, 0),
        WriteRegister(POWER, 0xFFFF, 0),
        WriteRegisters(POWER, 0xFFFF, (0, 0)),
    ],
    ids=[
        "broadcast", "broadcast of a stop", "broadcast to nowhere", "unmapped of the drives", "unmapped of safety",
        "unmapped of dock", "unknown unit", "partly unmapped", "read-only by the map, writable by documents",
        "read-only", "last address", "past the last address",
    ],
)  # fmt: skip
def test_what_is_not_proved_harmless_is_motion_and_never_passes(request_: BusRequest) -> None:
    assert gate().classify(request_) is FrameClass.MOTION
    assert not gate().check(request_, None, T)
    assert not gate().check(request_, permit(), T)


@pytest.mark.parametrize(
    "request_",
    [
        WriteCoil(TRAVEL, 0, False),
        WriteCoils(TRAVEL, 0, (False,)),
        MaskWriteRegister(TRAVEL, 0x0001, 0, 0),
        MaskWriteRegister(DOCK, 0x0020, 0xFFFF, 0),
        ReadWriteRegisters(TRAVEL, 0, 13, 0x0001, (0, 0, 0)),
        ReadWriteRegisters(DOCK, 0, 1, 0x0020, (1,)),
    ],
)
def test_a_write_that_no_map_describes_is_motion_and_never_passes(request_: BusRequest) -> None:
    assert gate().classify(request_) is FrameClass.MOTION
    assert not gate().check(request_, None, T)
    assert not gate().check(request_, permit(), T)


@pytest.mark.parametrize(
    "request_",
    [
        ReadRegisters(TRAVEL, 0, 13),
        ReadInputRegisters(TRAVEL, 0, 13),
        ReadCoils(TRAVEL, 0, 13),
        ReadDiscreteInputs(TRAVEL, 0, 13),
        ReportServerId(TRAVEL),
        ReadDeviceIdentification(TRAVEL),
    ],
)
def test_reads_always_pass(request_: BusRequest) -> None:
    assert gate().classify(request_) is FrameClass.READ
    assert gate().check(request_, None, T)


@pytest.mark.parametrize("granted", [None, permit(T - 500 * MS)], ids=["no permit", "expired"])
def test_stop_frames_always_pass(granted: None) -> None:
    actuators = shipped_actuators()
    frames: list[BusRequest] = [actuators.brake.apply()]
    for drive in actuators.drives:
        frames += [drive.output(enable=False, setpoint=0, linear_input=0), drive.demand_zero()]
    assert [gate().classify(frame) for frame in frames] == [FrameClass.STOP] * 5
    assert all(gate().check(frame, granted, T) for frame in frames)


def demand_frame(setpoint: int = 0, linear_input: int = 4, enable: int = 1) -> WriteRegisters:
    return WriteRegisters(TRAVEL, 0x01, (enable, setpoint, linear_input))


@pytest.mark.parametrize(("at_ms", "passes"), [(-1, False), (0, True), (149, True), (150, False), (10_000, False)])
def test_a_permit_counts_between_its_grant_and_its_expiry(at_ms: int, passes: bool) -> None:
    assert gate().check(demand_frame(), permit(), T + at_ms * MS) is passes


@pytest.mark.parametrize(
    ("frame", "passes"),
    [
        (demand_frame(linear_input=4), True),
        (demand_frame(linear_input=5), False),
        (demand_frame(linear_input=100), False),
        (demand_frame(setpoint=10, linear_input=0), True),
        (demand_frame(setpoint=11, linear_input=0), False),
        (demand_frame(setpoint=255, linear_input=0), False),
        (demand_frame(setpoint=11, linear_input=4), False),
        (demand_frame(setpoint=10, linear_input=5), False),
        (demand_frame(linear_input=0), True),
        (demand_frame(enable=2), False),
        (demand_frame(enable=0, linear_input=4), False),
        (WriteRegisters(TRAVEL, 0x01, (1, 0)), False),
        (WriteRegisters(TRAVEL, 0x01, (1, 0, 4, 5)), False),
        (WriteRegisters(TRAVEL, 0x02, (0, 4)), False),
        (WriteRegister(TRAVEL, 0x01, 1), False),
        (WriteRegister(TRAVEL, 0x02, 10), False),
        (WriteRegister(TRAVEL, 0x03, 4), False),
        (WriteRegisters(SAFETY, 0x01, (1, 0, 4)), False),
    ],
)
def test_the_duty_limit_holds_through_setpoint_and_linear_input(frame: BusRequest, passes: bool) -> None:
    assert gate().check(frame, permit(duty_limit_ratio=0.04), T) is passes


@pytest.mark.parametrize("address", [0x07, 0x17])
def test_the_direction_must_be_the_permits(address: int) -> None:
    back = permit(direction=Direction.REVERSE)
    assert gate().check(WriteRegister(TRAVEL, address, 1), permit(), T)
    assert not gate().check(WriteRegister(TRAVEL, address, 2), permit(), T)
    assert gate().check(WriteRegister(TRAVEL, address, 2), back, T)
    assert not gate().check(WriteRegister(TRAVEL, address, 1), back, T)
    assert not gate().check(WriteRegister(TRAVEL, address, 0), back, T)


@pytest.mark.parametrize("mode", list(DriveMode))
def test_only_the_configured_drive_law_is_written(mode: DriveMode) -> None:
    opened = gate(mode=mode)
    assert opened.drive_mode is mode
    assert [word for word in range(5) if opened.check(WriteRegister(TRAVEL, 0x00, word), permit(), T)] == [int(mode)]


def test_the_brake_is_released_only_with_a_permit_and_never_with_unknown_wiring() -> None:
    release = WriteRegister(SAFETY, BRAKE, 1)
    assert gate().check(release, permit(), T)
    assert not gate().check(release, None, T)
    assert not gate(released_word=None).check(release, permit(), T)
    assert gate(released_word=0).check(WriteRegister(SAFETY, BRAKE, 0), permit(), T)


def test_the_bitmap_of_all_relays_is_never_used() -> None:
    assert not gate().check(WriteRegister(SAFETY, 0x30, 1), permit(), T)


@pytest.mark.parametrize(("word", "expected"), [(0, False), (1, True), (200, True), (201, False), (5000, False)])
def test_the_time_out_of_the_drives_may_be_set_but_not_switched_off(word: int, expected: bool) -> None:
    request = WriteRegister(TRAVEL, 0x35, word)
    assert gate("travel_motor_timeout").check(request, None, T) is expected
    assert not gate("travel_motor").check(request, None, T)
    assert not gate("travel_motor_timeout").check(WriteRegisters(TRAVEL, 0x35, (word,)), None, T)


def test_a_setting_that_moves_nothing_is_told_apart() -> None:
    harmless = [
        (module.address, spec.address)
        for module in shipped_maps()
        for spec in module.registers
        if spec.is_writable and not spec.is_motion
    ]
    assert harmless, "the shipped maps have settings outside the motion set"
    assert {gate().classify(WriteRegister(unit, address, 0)) for unit, address in harmless} == {FrameClass.SETTING}
    unit, address = harmless[0]
    assert gate().check(WriteRegister(unit, address, 0), None, T)


@pytest.mark.parametrize(
    ("mode", "duty", "limit", "expected"),
    [
        (DriveMode.LINEAR, 0.04, 0.04, (0, 4)),
        (DriveMode.LINEAR, 0.5, 0.04, (0, 4)),
        (DriveMode.LINEAR, 0.039, 0.04, (0, 3)),
        (DriveMode.LINEAR, 0.04, 0.02, (0, 2)),
        (DriveMode.LINEAR, -1.0, 0.04, (0, 0)),
        (DriveMode.ON_OFF, 0.04, 0.04, (10, 0)),
        (DriveMode.ON_OFF, 1.0, 0.1, (25, 0)),
    ],
)
def test_a_demand_is_cut_to_the_permit_and_always_passes_its_own_gate(
    mode: DriveMode, duty: float, limit: float, expected: tuple[int, int]
) -> None:
    opened, granted = gate(mode=mode), permit(duty_limit_ratio=limit)
    words = opened.demand_words(MotionDemand(FORWARD.direction, duty), granted)
    assert words == expected
    assert opened.check(demand_frame(*words), granted, T)
