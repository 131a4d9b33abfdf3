"""The simulated modules: how strict they are, and which register shows or moves what of the plant."""

import random
from pathlib import Path

import pytest
from attrs import evolve

from oht50d.codec.registers import load_module_map
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    MaskWriteRegister,
    ReadCoils,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadReply,
    ReadWriteRegisters,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.sim.bindings import SafetyBoard, build_module, build_spare
from oht50d.sim.modbus_slaves import SlaveModule
from oht50d.sim.plant import Plant, PlantParameters
from oht50d.sim.scenario import HallSettings
from oht50d.sim.world import World

MAPS = Path(__file__).resolve().parents[2] / "config" / "modules"
ADDRESSES = {"power": 2, "safety": 3, "travel_motor": 4, "travel_motor_timeout": 4, "dock": 5}


class Bench:
    """One module on its plant."""

    def __init__(self, name: str) -> None:
        self.plant = Plant(PlantParameters(start_x_mm=3000.0), 600.0, 10_400.0, 0)
        self.board = SafetyBoard()
        self.unit = ADDRESSES[name]
        self.module = self.build(name)

    def build(self, name: str) -> SlaveModule:
        module_map = load_module_map((MAPS / f"{name}.toml").read_text(), file=name)
        world = World(walls=HallSettings().segments)
        return build_module(module_map, plant=self.plant, world=world, board=self.board, noise=random.Random(1))

    def read(self, address: int, count: int = 1) -> tuple[int, ...]:
        reply = self.module.answer(ReadRegisters(self.unit, address, count))
        assert isinstance(reply, ReadReply), reply
        return reply.words

    def write(self, address: int, *words: int) -> BusReply:
        if len(words) == 1:
            return self.module.answer(WriteRegister(self.unit, address, words[0]))
        return self.module.answer(WriteRegisters(self.unit, address, words))


@pytest.mark.parametrize("name", ADDRESSES)
def test_every_readable_register_answers_and_no_other(name: str) -> None:
    bench = Bench(name)
    mapped = {spec.address for spec in bench.module.map.registers if spec.is_readable}
    answering = {
        address
        for address in range(0x120)
        if isinstance(bench.module.answer(ReadRegisters(bench.unit, address, 1)), ReadReply)
    }
    assert answering == mapped


def test_a_read_across_a_gap_or_of_a_write_only_register_is_refused() -> None:
    bench = Bench("travel_motor")
    assert bench.module.answer(ReadRegisters(4, 0, 14)) == ExceptionReply(4, 3, 2)
    assert bench.module.answer(ReadRegisters(4, 0x109, 1)) == ExceptionReply(4, 3, 2)
    assert len(bench.read(0, 13)) == 13


def test_what_may_not_be_written_is_not_written() -> None:
    bench = Bench("travel_motor")
    assert bench.write(0x0006, 1) == ExceptionReply(4, 6, 2)
    assert bench.write(0x000D, 1) == ExceptionReply(4, 6, 2)
    assert bench.write(0x0007, 3) == ExceptionReply(4, 6, 3)
    assert bench.write(0x0001, 1, 256) == ExceptionReply(4, 16, 3)
    assert bench.read(0, 3) == (1, 0, 0)


@pytest.mark.parametrize(
    "request_",
    [
        ReadCoils(4, 0, 1),
        ReadDiscreteInputs(4, 0, 1),
        ReadInputRegisters(4, 0, 1),
        WriteCoil(4, 0, True),
        WriteCoils(4, 0, (True,)),
        MaskWriteRegister(4, 1, 0, 1),
        ReadWriteRegisters(4, 0, 1, 1, (1,)),
    ],
)
def test_functions_that_the_modules_do_not_have_are_refused(request_: BusRequest) -> None:
    bench = Bench("travel_motor")
    assert bench.module.answer(request_) == ExceptionReply(4, request_.function, 1)
    assert bench.read(0, 3) == (1, 0, 0)


def test_writes_are_echoed_and_move_the_drives() -> None:
    bench = Bench("travel_motor")
    assert bench.write(0x0001, 1, 77) == WriteReply(4, 1, 2, None)
    assert bench.write(0x0017, 2) == WriteReply(4, 0x17, 1, 2)
    first, second = bench.plant.drives
    assert (first.enable, first.setpoint, second.direction, second.enable) == (1, 77, 2, 0)
    assert bench.read(1, 2) == (1, 77)


def test_speed_reads_unsigned_and_errors_clear_by_command() -> None:
    bench = Bench("travel_motor")
    bench.plant.v_mm_s = -500.0
    bench.plant.drives[1].error_code = 9
    assert (bench.read(0x06), bench.read(0x16), bench.read(0x1C)) == ((64,), (64,), (9,))
    bench.write(0x0109, 1)
    assert bench.read(0x1C) == (0,)


def test_the_time_out_register_exists_in_the_variant_only() -> None:
    assert Bench("travel_motor").write(0x35, 200) == ExceptionReply(4, 6, 2)
    bench = Bench("travel_motor_timeout")
    assert bench.write(0x35, 200) == WriteReply(4, 0x35, 1, 200)
    assert (bench.plant.communication_timeout_ms, bench.read(0x35)) == (200, (200,))
    assert bench.write(0x35, 5001) == ExceptionReply(4, 6, 3)


def test_identities_differ() -> None:
    benches = {name: Bench(name) for name in ("power", "safety", "travel_motor", "dock")}
    serials = {bench.read(0xFB, 2) for bench in benches.values()}
    tags = {b"".join(word.to_bytes(2, "big") for word in bench.read(0xF8, 2)) for bench in benches.values()}
    types = [(bench.read(0x100)[0], bench.read(0x104)[0]) for bench in benches.values()]
    assert len(serials) == 4
    assert tags == {b"POWR", b"SAFE", b"TRVL", b"DCLO"}
    assert types == [(2, 2), (3, 3), (4, 4), (5, 5)]


def test_the_safety_module_shows_chain_button_error_and_zones() -> None:
    bench = Bench("safety")
    assert (bench.read(0, 6), bench.read(0x20, 5)) == ((0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0))
    bench.plant.open_chain(True)
    bench.plant.is_reset_pressed = True
    bench.board.zone_bits = 5
    assert (bench.read(0, 6), bench.read(0x20, 5)) == ((2, 1, 5, 0, 0, 0), (8, 0, 0, 0, 1))
    bench.board.error_code = 17
    assert (bench.read(0), bench.read(5)) == ((3,), (17,))
    bench.write(0x0109, 1)
    assert bench.read(5) == (0,)


def test_relay_one_releases_the_brake_and_the_bitmap_agrees() -> None:
    bench = Bench("safety")
    bench.write(0x31, 1)
    bench.write(0x33, 1)
    assert bench.plant.is_release_energised
    assert (bench.read(0x30, 5), bench.read(0x04)) == ((5, 1, 0, 1, 0), (5,))
    bench.write(0x30, 2)
    assert not bench.plant.is_release_energised
    assert bench.read(0x31, 4) == (0, 1, 0, 0)


def test_the_brake_follows_its_role_to_another_relay() -> None:
    moved = (MAPS / "safety.toml").read_text().replace(' role = "brake.release",', "")
    moved = moved.replace('name = "relay_4_control",', 'name = "relay_4_control", role = "brake.release",')
    bench = Bench("safety")
    bench.module = build_module(
        load_module_map(moved, file="moved"),
        plant=bench.plant,
        world=World(walls=()),
        board=bench.board,
        noise=random.Random(1),
    )
    bench.write(0x31, 1)
    assert not bench.plant.is_release_energised
    bench.write(0x34, 1)
    assert bench.plant.is_release_energised


def test_the_front_distance_sees_the_wall_within_its_range() -> None:
    bench = Bench("safety")
    assert bench.read(0x10) == (5000,)
    bench.plant.place(10_000.0)
    assert bench.read(0x10) == (600,)
    assert bench.read(0x11) == (5000,)


def test_the_dock_counts_from_its_preset_signed_and_clamped() -> None:
    bench = Bench("dock")
    assert bench.read(0x30) == (3000,)
    bench.write(0x30, 0x10000 - 100)
    assert bench.read(0x30) == (0xFF9C,)
    bench.plant.x_mm += 40_000
    assert bench.read(0x30) == (32767,)


def test_the_dock_has_no_noise_at_rest_and_signed_speed_while_moving() -> None:
    bench = Bench("dock")
    assert bench.read(0x33) == (0,)
    bench.plant.v_mm_s = -400.0
    speeds = [bench.read(0x33)[0] - 0x10000 for _ in range(200)]
    assert sum(speeds) / 200 == pytest.approx(-400, abs=2)
    assert len(set(speeds)) > 5


def test_the_battery_reads_scaled_and_signed() -> None:
    bench = Bench("power")
    voltage, current, soc = bench.read(0, 3)
    assert (voltage, current, soc) == (269, 0x10000 - 15, 875)


def test_a_held_register_keeps_its_word_until_let_go() -> None:
    bench = Bench("dock")
    bench.module.hold(frozenset({0x30}))
    bench.plant.x_mm = 5000.0
    bench.module.hold(frozenset({0x30}))
    assert bench.read(0x30) == (3000,)
    bench.module.hold(frozenset())
    assert bench.read(0x30) == (5000,)


def test_a_map_may_put_a_module_elsewhere() -> None:
    bench = Bench("dock")
    bench.module.map = evolve(bench.module.map, address=9)
    assert bench.module.answer(ReadRegisters(9, 0x30, 1)) == ReadReply(9, (3000,))


def test_a_loss_of_power_forgets_the_set_up_and_keeps_the_place() -> None:
    bench = Bench("travel_motor_timeout")
    for address, word in ((0x35, 200), (0x00, 2), (0x04, 9), (0x07, 1), (0x01, 1), (0x02, 90), (0x11, 1)):
        bench.write(address, word)
    bench.plant.drives[0].error_code = 7
    bench.module.power_up()
    assert (bench.read(0x35), bench.plant.communication_timeout_ms) == ((0,), 0)
    assert bench.read(0, 5) == (1, 0, 0, 0, 5)
    assert (bench.read(0x07), bench.read(0x0C), bench.read(0x11)) == ((0,), (0,), (0,))
    safety = Bench("safety")
    safety.write(0x31, 1)
    safety.board.error_code = 17
    safety.module.power_up()
    assert (safety.plant.is_release_energised, safety.board.relays, safety.read(0x05)) == (False, [0, 0, 0, 0], (0,))
    dock = Bench("dock")
    dock.write(0x30, 1234)
    dock.module.power_up()
    assert dock.read(0x30) == (1234,)


def test_another_board_in_its_place() -> None:
    bench = Bench("dock")
    before = bench.module.identity()
    bench.module.become(serial=0x0012_3456, firmware=0x0203)
    assert bench.module.identity() == {"serial": 0x0012_3456, "firmware": 0x0203, "type": before["type"]}
    assert bench.read(0xFB, 2) == (0x3456, 0x0012)
    bench.module.power_up()
    assert bench.module.identity()["serial"] == 0x0012_3456
    bench.module.become(type_code=9)
    assert bench.read(0x104) == (9,)


def test_a_spare_module_has_an_identity_and_nothing_else() -> None:
    spare = build_spare(Bench("power").module.map, address=7, type_code=7, serial=99)
    assert spare.answer(ReadRegisters(7, 0x100, 1)) == ReadReply(7, (7,))
    assert spare.answer(ReadRegisters(7, 0x104, 1)) == ReadReply(7, (7,))
    assert spare.answer(ReadRegisters(7, 0xF8, 2)) == ReadReply(7, (0x444F, 0x4F52))
    assert spare.answer(ReadRegisters(7, 0, 1)) == ExceptionReply(7, 3, 2)
    assert spare.identity() == {"serial": 99, "firmware": 0x0109, "type": 7}
    assert build_spare(Bench("power").module.map, address=8, type_code=77, tag="ODD").map.tag == "ODD"
