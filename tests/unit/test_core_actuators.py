"""Where the actuator roles live on the bus, in frames of the shipped maps."""

from collections.abc import Callable

import pytest
from attrs import evolve
from core_fixtures import BRAKE, SAFETY, SHIPPED, TRAVEL, shipped_actuators, shipped_maps

from oht50d.codec.rtu import crc16, encode_request
from oht50d.core.actuators import ReadBack, find_actuators
from oht50d.model.bus import BusRequest, ReadRegisters, WriteRegister
from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleMap, RegisterSpec


def hex_of(request: BusRequest) -> str:
    adu = encode_request(request)
    assert int.from_bytes(adu[-2:], "little") == crc16(adu[:-2])
    return adu[:-2].hex(" ")


def test_the_stop_frames_of_the_shipped_maps_byte_by_byte() -> None:
    actuators = shipped_actuators()
    one, two = actuators.drives
    assert hex_of(one.output(enable=False, setpoint=0, linear_input=0)) == "04 10 00 01 00 03 06 00 00 00 00 00 00"
    assert hex_of(two.output(enable=False, setpoint=0, linear_input=0)) == "04 10 00 11 00 03 06 00 00 00 00 00 00"
    assert hex_of(one.demand_zero()) == "04 10 00 02 00 02 04 00 00 00 00"
    assert hex_of(two.demand_zero()) == "04 10 00 12 00 02 04 00 00 00 00"
    assert hex_of(actuators.brake.apply()) == "03 06 00 31 00 00"
    assert hex_of(one.read_output().request) == "04 03 00 01 00 03"
    assert hex_of(actuators.brake.read().request) == "03 03 00 31 00 01"


@pytest.mark.parametrize("travel", ["travel_motor", "travel_motor_timeout"])
def test_every_read_back_of_a_stop_has_a_length_of_its_own(travel: str) -> None:
    actuators = shipped_actuators(travel)
    reads = [read for drive in actuators.drives for read in (drive.read_demand(), drive.read_output())]
    assert len({read.request.count for read in reads}) == len(reads) == 4
    assert actuators.read_lengths[TRAVEL] == {read.request.count for read in reads}
    for drive, read in zip(actuators.drives, reads[1::2], strict=True):
        assert read.request.address + read.offset == drive.enable


def test_what_is_read_beside_the_written_words_does_not_count() -> None:
    read = ReadBack(ReadRegisters(TRAVEL, 0x10, 6), 1)
    assert read.padded((1, 2, 3)) == (0, 1, 2, 3, 0, 0)


def test_a_demand_is_one_frame_with_enable_setpoint_and_linear_input() -> None:
    frame = shipped_actuators().drives[0].output(enable=True, setpoint=10, linear_input=4)
    assert hex_of(frame) == "04 10 00 01 00 03 06 00 01 00 0a 00 04"


@pytest.mark.parametrize(("released_word", "release", "apply"), [(1, 1, 0), (0, 0, 1), (None, None, 0)])
def test_brake_polarity(released_word: int | None, release: int | None, apply: int) -> None:
    brake = shipped_actuators(released_word=released_word).brake
    assert brake.release() == (None if release is None else WriteRegister(SAFETY, BRAKE, release))
    assert brake.apply() == WriteRegister(SAFETY, BRAKE, apply)
    assert brake.read().request == ReadRegisters(SAFETY, BRAKE, 1)


def test_the_time_out_register_is_known_only_where_the_map_has_one() -> None:
    plain, field = shipped_actuators(), shipped_actuators("travel_motor_timeout")
    assert (plain.timeout_unit, plain.timeout_register) == (None, None)
    assert (field.timeout_unit, field.timeout_register) == (TRAVEL, 0x35)


def without(module: ModuleMap, *roles: str) -> ModuleMap:
    return evolve(module, registers=tuple(spec for spec in module.registers if spec.role not in roles))


def renamed(module: ModuleMap, change: Callable[[RegisterSpec], RegisterSpec]) -> ModuleMap:
    return evolve(module, registers=tuple(change(spec) for spec in module.registers))


@pytest.mark.parametrize("name", ["enable", "setpoint", "linear_input", "direction", "mode"])
def test_a_drive_without_a_stop_role_is_refused(name: str) -> None:
    power, safety, travel, dock = shipped_maps()
    role = f"drive.2.{name}"
    with pytest.raises(ConfigError) as problem:
        find_actuators((power, safety, without(travel, role), dock), released_word=1)
    assert problem.value.key == role


def test_a_travel_map_without_drives_is_refused() -> None:
    power, safety, travel, dock = shipped_maps()
    bare = renamed(travel, lambda spec: evolve(spec, role=None))
    with pytest.raises(ConfigError, match="no drive"):
        find_actuators((power, safety, bare, dock), released_word=1)


def test_a_safety_map_without_a_brake_is_refused() -> None:
    power, safety, travel, dock = shipped_maps()
    with pytest.raises(ConfigError, match="brake"):
        find_actuators((power, without(safety, "brake.release"), travel, dock), released_word=1)


def test_registers_of_a_demand_must_be_neighbours() -> None:
    power, safety, travel, dock = shipped_maps()
    swapped = {"drive.1.enable": "drive.1.setpoint", "drive.1.setpoint": "drive.1.enable"}
    shuffled = renamed(travel, lambda spec: evolve(spec, role=swapped.get(spec.role or "", spec.role)))
    with pytest.raises(ConfigError, match="neighbours"):
        find_actuators((power, safety, shuffled, dock), released_word=1)


@pytest.mark.parametrize(
    "names", [("power", "safety", "dock"), ("safety", "travel_motor", "travel_motor"), ("travel_motor",)]
)
def test_exactly_one_travel_and_one_safety_map_are_needed(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="maps of kind"):
        find_actuators([SHIPPED[name] for name in names], released_word=1)


@pytest.mark.parametrize(
    ("name", "role"), [("power", "drive.3.enable"), ("dock", "brake.release"), ("safety", "drive.1.setpoint")]
)
def test_an_actuator_that_the_stop_does_not_cover_is_refused(name: str, role: str) -> None:
    def stray(module: ModuleMap) -> ModuleMap:
        first, *rest = module.registers
        return evolve(module, registers=(evolve(first, role=role), *rest))

    maps = [stray(SHIPPED[n]) if n == name else SHIPPED[n] for n in ("power", "safety", "travel_motor", "dock")]
    with pytest.raises(ConfigError, match="does not cover") as problem:
        find_actuators(maps, released_word=1)
    assert problem.value.key == role
