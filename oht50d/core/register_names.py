"""Which registers a technician means: `dock.velocity_x`, a role such as `velocity.x`, raw `0x05:0x0033:4` (no state).

A name is the module's kind, its address or its tag, a dot and the register's name; a pair of the map is one 32-bit
number.
"""

import enum
import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from oht50d.codec.strict_table import nearest
from oht50d.core.shapes import MAX_REGISTERS
from oht50d.model.registers import ModuleMap, RegisterPair, RegisterSpec

_RAW = re.compile(r"(0[xX][0-9a-fA-F]+|\d+):(0[xX][0-9a-fA-F]+|\d+)(?::(\d+))?")
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|\d+")


class Space(enum.Enum):
    """Which of the four tables of Modbus; the maps describe holding registers only."""

    HOLDING = "holding"
    INPUT = "input"
    COIL = "coil"
    DISCRETE = "discrete"


class UnknownName(ValueError):
    """No such register; the message says what comes near."""


@frozen
class Target:
    """Registers to be read or written; `specs` run parallel to the addresses, None where no map names one.

    `label` is how it was asked for; `is_raw` means by number: then a value is the raw word too.
    """

    label: str
    unit: int
    address: int
    count: int
    specs: tuple[RegisterSpec | None, ...]
    space: Space = Space.HOLDING
    is_raw: bool = False
    pair: RegisterPair | None = None


def raw_place(text: str) -> tuple[int, int, int] | None:
    """Unit, address and count of `0x05:0x0033:4`; None for a name. Raises UnknownName for what is out of range."""
    raw = _RAW.fullmatch(text.strip())
    if raw is None:
        return None
    unit, address, count = int(raw[1], 0), int(raw[2], 0), int(raw[3] or 1)
    if not 1 <= unit <= 247:
        raise UnknownName(f"{text.strip()!r}: a bus address is 1 to 247")
    if not (1 <= count <= MAX_REGISTERS and address + count <= 0x10000):
        raise UnknownName(f"{text.strip()!r}: 1 to {MAX_REGISTERS} registers within 0x0000 to 0xFFFF")
    return unit, address, count


class RegisterNames:
    """Looks names up in the loaded maps; immutable after construction."""

    def __init__(self, maps: Iterable[ModuleMap]) -> None:
        self._maps: Mapping[int, ModuleMap] = {module.address: module for module in maps}

    @property
    def modules(self) -> Sequence[ModuleMap]:
        """Ascending by address."""
        return [module for _, module in sorted(self._maps.items())]

    def find(self, text: str, space: Space = Space.HOLDING) -> Target:
        """What `text` means. Raises UnknownName, also for a name that means two registers."""
        place = raw_place(text)
        if place is not None:
            return self._raw(text.strip(), *place, space)
        if space is not Space.HOLDING:
            raise UnknownName(
                f"{text!r}: inputs, coils and discrete inputs are asked for by number, such as 0x05:0x0010"
            )
        found = list(self._named(text.strip()))
        if not found:
            raise UnknownName(self._unknown(text))
        if len({(target.unit, target.address, target.count) for target in found}) > 1:
            places = ", ".join(f"{target.unit:#04x}:{target.address:#06x}" for target in found)
            raise UnknownName(f"{text!r} means more than one register ({places}): ask by number")
        return found[0]

    def modules_called(self, word: str) -> list[ModuleMap]:
        """Modules of that kind, tag or address."""
        number = int(word, 0) if _NUMBER.fullmatch(word) else None
        return [
            module
            for module in self.modules
            if number == module.address or word.lower() in (module.kind.value, module.tag.lower())
        ]

    def _named(self, text: str) -> Iterable[Target]:
        word, _, name = text.partition(".")
        for module in self.modules:
            spec = module.by_role.get(text)
            if spec is not None:
                yield Target(text, module.address, spec.address, 1, (spec,))
        for module in self.modules_called(word):
            spec = module.by_name.get(name)
            if spec is not None:
                yield Target(text, module.address, spec.address, 1, (spec,))
            for pair in module.pairs:
                if pair.name == name and pair.high == pair.low + 1:
                    specs = (module.by_address[pair.low], module.by_address[pair.high])
                    yield Target(text, module.address, pair.low, 2, specs, pair=pair)

    def _raw(self, label: str, unit: int, address: int, count: int, space: Space) -> Target:
        module = self._maps.get(unit) if space is Space.HOLDING else None
        known = {} if module is None else module.by_address
        specs = tuple(known.get(place) for place in range(address, address + count))
        return Target(label, unit, address, count, specs, space, is_raw=True)

    def _unknown(self, text: str) -> str:
        words = [f"{module.kind.value}.{spec.name}" for module in self.modules for spec in module.registers]
        words += [role for module in self.modules for role in module.by_role]
        near = nearest(text, words)
        hint = f"; did you mean {near}?" if near else "; `oht50ctl reg list` shows every name"
        return f"no register is called {text!r}{hint}"
