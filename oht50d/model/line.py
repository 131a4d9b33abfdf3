"""How a serial line is set: speed, parity and stop bits (no state)."""

import enum

from attrs import frozen


class Parity(enum.Enum):
    """The parity bit of a character."""

    NONE = "none"
    EVEN = "even"
    ODD = "odd"


@frozen
class LineSettings:
    """One setting of a serial line with eight data bits."""

    baud: int
    parity: Parity = Parity.NONE
    stop_bits: int = 1

    def __str__(self) -> str:
        return f"{self.baud} 8{self.parity.value[0].upper()}{self.stop_bits}"
