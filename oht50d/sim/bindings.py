"""Which register shows or moves what of the plant, by role, and by name for those without one (no state of its own).

Roles are those of config/modules/*.toml; the names those of the register CSVs. Registers bound to nothing keep the word
that was written, or their default. Figures without a plant behind them (temperatures, cells) are plausible constants.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from attrs import define, field

from oht50d.model.registers import ModuleKind, ModuleMap, RegisterSpec
from oht50d.sim.drive import Drive
from oht50d.sim.modbus_slaves import Sink, SlaveModule, Source
from oht50d.sim.plant import Plant
from oht50d.sim.world import World

T = TypeVar("T")

G_MM_S2 = 9806.65
SENSOR_RANGE_MM = 5000.0
REAR_OFFSET_MM = 400.0
POSITION_NOISE_MM = 1.0
VELOCITY_NOISE_MM_S = 4.0
_SERIAL_BASE = 0x0050_1000
_FIRMWARE = 0x0102
_HARDWARE = 0x0200
_BUILD_DATE = 20_251_103
FIRST_COMMON = 0x00F8
"""From here on every module has the same registers (DOMAIN 3: identity at 0x00F8, 0x0100, 0x0104)."""


@define
class SafetyBoard:
    """The safety module's own state: four relays, its error and its zones."""

    relays: list[int] = field(factory=lambda: [0, 0, 0, 0])
    error_code: int = 0
    zone_bits: int = 0

    @property
    def relay_bits(self) -> int:
        return sum(relay << index for index, relay in enumerate(self.relays))


@define
class _Binder:
    """Collects sources and sinks for one module; a key is a role or a register name."""

    plant: Plant
    world: World
    board: SafetyBoard
    random: random.Random
    sources: dict[str, Source] = field(factory=dict)
    sinks: dict[str, Sink] = field(factory=dict)
    position_offset_mm: float = 0.0

    def noise(self, deviation: float) -> float:
        return self.random.gauss(0.0, deviation)

    def bind_drives(self) -> None:
        for number, drive in enumerate(self.plant.drives, 1):
            for name in ("mode", "enable", "setpoint", "linear_input", "linear_step", "direction"):
                self._bind_attribute(f"drive.{number}.{name}", drive, name)
            self._bind_reports(f"drive.{number}", drive)
        self._bind_attribute("drive.communication_timeout", self.plant, "communication_timeout_ms")
        self.sinks["module.reset_error"] = lambda _word: self._reset_drives()

    def _bind_reports(self, prefix: str, drive: Drive) -> None:
        self.sources |= {
            f"{prefix}.linear_state": lambda: drive.is_speeding_up,
            f"{prefix}.actual_speed": lambda: self.plant.measured_pwm,
            f"{prefix}.status": lambda: drive.status_word(self.plant.v_mm_s),
            f"{prefix}.error": lambda: drive.error_code,
        }

    def _bind_attribute(self, key: str, owner: Drive | Plant, name: str) -> None:
        self.sources[key] = lambda: getattr(owner, name)
        self.sinks[key] = lambda word: setattr(owner, name, word)

    def _reset_drives(self) -> None:
        for drive in self.plant.drives:
            drive.error_code = 0

    def bind_safety(self) -> None:
        plant, board = self.plant, self.board
        self.sources |= {
            "safety.status": lambda: 3 if board.error_code else 2 if plant.is_chain_open else 0,
            "chain.open": lambda: plant.is_chain_open,
            "safety.zone": lambda: board.zone_bits,
            "safety.error": lambda: board.error_code,
            "relay_output": lambda: board.relay_bits,
            "relay_control": lambda: board.relay_bits,
            "module_temperature": lambda: 31.5,
            "module_voltage": lambda: plant.battery_voltage_v,
            "distance_1": lambda: self._distance(plant.lidar_x_mm, 0.0),
            "distance_2": lambda: self._distance(plant.x_mm - REAR_OFFSET_MM, 180.0),
            "distance_3": lambda: SENSOR_RANGE_MM,
            "distance_4": lambda: SENSOR_RANGE_MM,
            "digital_inputs": lambda: 8 if plant.is_reset_pressed else 0,
            "reset.button": lambda: plant.is_reset_pressed,
        }
        self.sinks["module.reset_error"] = lambda _word: setattr(board, "error_code", 0)

    def bind_relays(self, brake_relay: int) -> None:
        """Relay commands; the relay at index `brake_relay` releases the brake while it is energised."""

        def switch(index: int, word: int) -> None:
            self.board.relays[index] = word
            if index == brake_relay:
                self.plant.command_brake(bool(word))

        def switch_all(word: int) -> None:
            for index in range(4):
                switch(index, word >> index & 1)

        for index in range(4):
            self.sources[f"relay_{index + 1}_control"] = partial(self.board.relays.__getitem__, index)
            self.sinks[f"relay_{index + 1}_control"] = partial(switch, index)
        self.sinks["relay_control"] = self.sinks["relay_output"] = switch_all

    def _distance(self, x_mm: float, angle_deg: float) -> float:
        return min(float(self.world.cast(x_mm, 0.0, (angle_deg,), self.plant.now_ns)[0]), SENSOR_RANGE_MM)

    def bind_power(self) -> None:
        plant = self.plant
        cell_mv: Source = lambda: plant.battery_voltage_v * 1000 / 8  # noqa: E731 - a source like the others
        self.sources |= {
            "battery.voltage": lambda: plant.battery_voltage_v,
            "battery.current": lambda: plant.battery_current_a,
            "battery.soc": lambda: plant.soc_percent,
            "battery.temperature": lambda: 27.0,
            "max_cell_voltage": lambda: cell_mv() + 4,
            "min_cell_voltage": lambda: cell_mv() - 5,
            "cell_voltage_diff": lambda: 9.0,
            "discharging": lambda: True,
            "residual_capacity": lambda: plant.soc_percent * plant.parameters.capacity_ah * 10,
        }
        self.sources |= {f"cell_voltage_{index}": cell_mv for index in range(6)}

    def bind_dock(self) -> None:
        plant = self.plant
        self.sources |= {
            "position.x": self._position_mm,
            "velocity.x": lambda: plant.v_mm_s + self.noise(VELOCITY_NOISE_MM_S) if plant.v_mm_s else 0.0,
            "acceleration_x": lambda: min(max(plant.a_mm_s2, -10_000), 10_000),
            "accel_x": lambda: plant.a_mm_s2 / G_MM_S2 * 1000 + self.noise(6.0),
            "accel_y": lambda: self.noise(6.0),
            "accel_z": lambda: 1000 + self.noise(6.0),
            "gyro_x": lambda: self.noise(40.0),
            "gyro_y": lambda: self.noise(40.0),
            "gyro_z": lambda: self.noise(40.0),
        }
        self.sinks["position.x"] = self._preset_position

    def _position_mm(self) -> float:
        """Where the dock module believes to be; int16, so beyond 32.767 m it sticks to its end."""
        noise = self.noise(POSITION_NOISE_MM) if self.plant.v_mm_s else 0.0
        return self.plant.x_mm + self.position_offset_mm + noise

    def _preset_position(self, word: int) -> None:
        self.position_offset_mm = (word - 0x10000 if word & 0x8000 else word) - self.plant.x_mm


_CONSTANTS: Mapping[str, int] = {
    "bms_connected": 1, "charge_mosfet": 1, "discharge_mosfet": 1, "cell_count": 6, "temp_sensor_count": 2,
    "bms_life_cycle": 12, "charge_cycle_count": 34, "relay_12v": 1, "relay_5v": 1, "relay_3v3": 1,
    "rail_12v_current": 14, "rail_12v_power": 168, "rail_5v_current": 22, "rail_5v_power": 110, "rail_3v3_current": 8,
    "rail_3v3_power": 26, "charger_temperature": 26, "max_cell_index": 2, "min_cell_index": 5, "response_time": 20,
    "hardware_version_alt": _HARDWARE, "quaternion_w": 32767, "magnetic_field_z": 42, "magnetic_strength": 46,
}  # fmt: skip


def build_module(
    module_map: ModuleMap, *, plant: Plant, world: World, board: SafetyBoard, noise: random.Random
) -> SlaveModule:
    """One slave for one map, bound to the plant by the map's roles."""
    binder = _Binder(plant, world, board, noise)
    binders: Mapping[ModuleKind, Callable[[], None]] = {
        ModuleKind.POWER: binder.bind_power,
        ModuleKind.SAFETY: binder.bind_safety,
        ModuleKind.TRAVEL: binder.bind_drives,
        ModuleKind.DOCK: binder.bind_dock,
    }
    binders[module_map.kind]()
    if module_map.kind is ModuleKind.SAFETY:
        binder.bind_relays(_brake_relay(module_map))
    return SlaveModule(
        map=module_map,
        sources=_by_address(module_map, binder.sources),
        sinks=_by_address(module_map, binder.sinks),
        defaults=dict(_power_up(module_map)),
    )


def build_spare(
    neighbour: ModuleMap, *, address: int, type_code: int, tag: str | None = None, serial: int | None = None
) -> SlaveModule:
    """A module that nothing is bound to: it has the registers from FIRST_COMMON on, as every module has."""
    known = tag or _TAGS.get(type_code, "SPAR")
    common = tuple(spec for spec in neighbour.registers if spec.address >= FIRST_COMMON)
    pairs = tuple(pair for pair in neighbour.pairs if pair.low >= FIRST_COMMON)
    module_map = ModuleMap(
        kind=ModuleKind.POWER, title=known, tag=known, type_code=type_code, address=address, is_mandatory=False,
        is_actuator=False, registers=common, pairs=pairs,
    )  # fmt: skip
    spare = SlaveModule(map=module_map, sources={}, sinks={}, defaults=dict(_power_up(module_map)))
    spare.become(serial=serial)
    return spare


_TAGS: Mapping[int, str] = {6: "LIFT", 7: "DOOR", 8: "SAFX", 9: "RFID", 10: "CAME", 11: "ENVI"}


def _brake_relay(module_map: ModuleMap) -> int:
    """Index of the relay that has the role brake.release; relay 1 if the map gives it to none."""
    spec = module_map.by_role.get("brake.release")
    for index in range(4):
        if spec is not None and spec.name == f"relay_{index + 1}_control":
            return index
    return 0


def _by_address(module_map: ModuleMap, by_key: Mapping[str, T]) -> dict[int, T]:
    return {
        spec.address: by_key[key]
        for spec in module_map.registers
        for key in (spec.role, spec.name)
        if key is not None and key in by_key
    }


def _power_up(module_map: ModuleMap) -> Iterator[tuple[int, int]]:
    """The words at power-up: identity by role, constants by name, else the map's default."""
    serial = _SERIAL_BASE + module_map.address
    tag = module_map.tag.encode("ascii").ljust(4)
    identity = {
        "identity.device_id": module_map.address,
        "identity.type": module_map.type_code,
        "identity.firmware": _FIRMWARE + module_map.address,
        "identity.hardware": _HARDWARE,
        "identity.serial_low": serial & 0xFFFF,
        "identity.serial_high": serial >> 16,
        "identity.tag_low": int.from_bytes(tag[:2], "big"),
        "identity.tag_high": int.from_bytes(tag[2:], "big"),
    }
    dates = {"build_date_low": _BUILD_DATE & 0xFFFF, "build_date_high": _BUILD_DATE >> 16}
    known = {**_CONSTANTS, **dates}
    for spec in module_map.registers:
        yield spec.address, identity.get(spec.role or "", known.get(spec.name, _default(spec))) & 0xFFFF


def _default(spec: RegisterSpec) -> int:
    return spec.default or 0
