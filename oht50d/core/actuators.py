"""Where the actuator roles of the loaded maps live on the bus (no state; built once from the maps).

A drive's enable, setpoint and linear input must be neighbours, because SAFETY.md wants enable and setpoint in one FC16.
"""

from collections.abc import Iterable

from attrs import evolve, frozen

from oht50d.core.shapes import Window
from oht50d.core.unit_plan import plan_unit
from oht50d.model.bus import ReadRegisters, WriteRegister, WriteRegisters
from oht50d.model.errors import ConfigError
from oht50d.model.registers import DataType, ModuleKind, ModuleMap, RegisterSpec


@frozen
class ReadBack:
    """How what was written is read back: with neighbours, so that its reply has a length of its own."""

    request: ReadRegisters
    offset: int

    def padded(self, words: tuple[int, ...]) -> tuple[int, ...]:
        """The words of interest in their place, zeros around them (as a mask: what does not count)."""
        after = self.request.count - self.offset - len(words)
        return (*(0,) * self.offset, *words, *(0,) * after)


@frozen
class Drive:
    """One drive: bus unit and register addresses of its roles.

    `output_masks` are the bits that count in what enable, setpoint and linear input read back as; the windows are what
    their read-backs ask for, None for just them.
    """

    number: int
    unit: int
    enable: int
    setpoint: int
    linear_input: int
    direction: int
    mode: int
    output_masks: tuple[int, int, int] = (0xFFFF, 0xFFFF, 0xFFFF)
    demand_window: Window | None = None
    output_window: Window | None = None

    def output(self, *, enable: bool, setpoint: int, linear_input: int) -> WriteRegisters:
        """Enable, setpoint and linear input in one FC16."""
        return WriteRegisters(self.unit, self.enable, (int(enable), setpoint, linear_input))

    def demand_zero(self) -> WriteRegisters:
        """Setpoint and linear input 0; enable is kept because it is not written."""
        return WriteRegisters(self.unit, self.setpoint, (0, 0))

    def read_output(self) -> ReadBack:
        """Enable, setpoint and linear input."""
        return _read_back(self.unit, self.enable, 3, self.output_window)

    def read_demand(self) -> ReadBack:
        """Setpoint and linear input."""
        return _read_back(self.unit, self.setpoint, 2, self.demand_window)


@frozen
class Brake:
    """The brake relay: unit and register; `released_word` is the word that releases it, None if unknown.

    `mask` are the bits that count in its read-back, `window` is what that asks for, None for just the relay.
    """

    unit: int
    register: int
    released_word: int | None
    mask: int = 0xFFFF
    window: Window | None = None

    def release(self) -> WriteRegister | None:
        return None if self.released_word is None else WriteRegister(self.unit, self.register, self.released_word)

    def apply(self) -> WriteRegister:
        """Brake on. With unknown wiring the relay is de-energised: a brake must act when power is lost."""
        word = 0 if self.released_word is None else 1 - self.released_word
        return WriteRegister(self.unit, self.register, word)

    def read(self) -> ReadBack:
        return _read_back(self.unit, self.register, 1, self.window)


@frozen
class Actuators:
    """Every actuator of the vehicle; `timeout_register` is the drives' communication time-out, if the map has one."""

    drives: tuple[Drive, ...]
    brake: Brake
    timeout_unit: int | None
    timeout_register: int | None

    @property
    def read_lengths(self) -> dict[int, frozenset[int]]:
        """The lengths of the reads of a stop, by unit: no other read may have one of them."""
        reads = [self.brake.read(), *(read for drive in self.drives for read in _reads(drive))]
        units = {read.request.unit for read in reads}
        return {unit: frozenset(r.request.count for r in reads if r.request.unit == unit) for unit in units}


def find_actuators(maps: Iterable[ModuleMap], *, released_word: int | None) -> Actuators:
    """From the roles of the maps; raises ConfigError if an actuator has no stop role."""
    maps = tuple(maps)
    travel = _only(maps, ModuleKind.TRAVEL)
    safety = _only(maps, ModuleKind.SAFETY)
    _refuse_strays(maps, travel, safety)
    drive_roles = [role for role in travel.by_role if role.startswith("drive.") and role[6].isdigit()]
    numbers = sorted({int(role.split(".")[1]) for role in drive_roles})
    drives = _with_windows(travel, [_drive(travel, number) for number in numbers])
    if not drives:
        raise ConfigError("drive.1.enable", "the travel map has no drive", expected="at least one drive role")
    brake = safety.by_role.get("brake.release")
    if brake is None:
        raise ConfigError("brake.release", "the safety map has no brake role", expected="a relay that has it")
    timeout = travel.by_role.get("drive.communication_timeout")
    return Actuators(
        drives=drives,
        brake=Brake(safety.address, brake.address, released_word, _mask(brake), _brake_window(safety, brake)),
        timeout_unit=None if timeout is None else travel.address,
        timeout_register=None if timeout is None else timeout.address,
    )


def _only(maps: tuple[ModuleMap, ...], kind: ModuleKind) -> ModuleMap:
    found = [module for module in maps if module.kind is kind]
    if len(found) != 1:
        titles = ", ".join(repr(module.title) for module in found) or "none"
        raise ConfigError("bus.maps", f"{len(found)} maps of kind {kind.value}", expected="exactly one", found=titles)
    return found[0]


def _refuse_strays(maps: tuple[ModuleMap, ...], travel: ModuleMap, safety: ModuleMap) -> None:
    """A drive or a brake in any other map would not be part of the stop, so such a map is refused."""
    for module in maps:
        for role in module.by_role:
            is_stray = (role.startswith("drive.") and module is not travel) or (
                role == "brake.release" and module is not safety
            )
            if is_stray:
                raise ConfigError(role, f"the stop does not cover this role in the map {module.title!r}")


def _drive(travel: ModuleMap, number: int) -> Drive:
    def spec(name: str) -> RegisterSpec:
        role = f"drive.{number}.{name}"
        if role not in travel.by_role:
            why = "an actuator without this stop role is refused"
            raise ConfigError(role, why, expected=f"a register with role {role}")
        return travel.by_role[role]

    enable, setpoint, linear_input = spec("enable"), spec("setpoint"), spec("linear_input")

    drive = Drive(
        number,
        travel.address,
        enable.address,
        setpoint.address,
        linear_input.address,
        spec("direction").address,
        spec("mode").address,
        (_mask(enable), _mask(setpoint), _mask(linear_input)),
    )
    if (drive.setpoint, drive.linear_input) != (drive.enable + 1, drive.enable + 2):
        raise ConfigError(
            f"drive.{number}", "enable, setpoint and linear input must be neighbours in this order",
            expected="three ascending addresses",
            found=f"{drive.enable:#06x}, {drive.setpoint:#06x}, {drive.linear_input:#06x}",
        )  # fmt: skip
    return drive


def _with_windows(travel: ModuleMap, drives: list[Drive]) -> tuple[Drive, ...]:
    """Each read of each drive gets a length of its own, as far as the map allows."""
    asked = [(first, drive.linear_input) for drive in drives for first in (drive.setpoint, drive.enable)]
    windows = plan_unit(travel, read_backs=asked).read_backs
    return tuple(
        evolve(drive, demand_window=windows[2 * number], output_window=windows[2 * number + 1])
        for number, drive in enumerate(drives)
    )


def _brake_window(safety: ModuleMap, brake: RegisterSpec) -> Window:
    return plan_unit(safety, read_backs=[(brake.address, brake.address)]).read_backs[0]


def _read_back(unit: int, first: int, count: int, window: Window | None) -> ReadBack:
    if window is None:
        return ReadBack(ReadRegisters(unit, first, count), 0)
    return ReadBack(ReadRegisters(unit, window.first, window.count), first - window.first)


def _reads(drive: Drive) -> tuple[ReadBack, ReadBack]:
    return drive.read_demand(), drive.read_output()


def _mask(spec: RegisterSpec) -> int:
    """Which bits of the word are the value: an 8-bit register says nothing about its high byte (CONFLICTS.md)."""
    return 0xFF if spec.data_type is DataType.UINT8 else 0xFFFF
