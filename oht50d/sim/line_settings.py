"""Speed and parity of a line: how modules are set, and what the master has set on its pseudo-terminal (no state).

Source: ioctl_tty(2), termios2 in asm-generic/termbits.h (TCGETS2 and TCSETS2 carry the speed as a number). Quirk: a
pseudo-terminal keeps the speed and PARODD, but drops PARENB, so that even parity looks like none; it is refused.
"""

import enum
import fcntl
import struct
import termios

from attrs import evolve, frozen

from oht50d.codec.rtu import character_ns, silence_ns

LOWEST_BAUD = 1200
HIGHEST_BAUD = 4_000_000
_TERMIOS2 = struct.Struct("4I20B2I")
_TCGETS2 = 0x802C542A
_TCSETS2 = 0x402C542B
_CBAUD = 0o010017
_CIBAUD = 0o2003600000
_BOTHER = 0o010000
_CFLAG = 2
_OSPEED = 25


class Parity(enum.Enum):
    """The parities that a pseudo-terminal can tell apart."""

    NONE = "none"
    ODD = "odd"


@frozen
class LineSettings:
    """What both ends must agree on."""

    baud: int = 115_200
    parity: Parity = Parity.NONE

    def __attrs_post_init__(self) -> None:
        if not LOWEST_BAUD <= self.baud <= HIGHEST_BAUD:
            raise ValueError(f"baud must be {LOWEST_BAUD} to {HIGHEST_BAUD}")

    @property
    def character_ns(self) -> int:
        return character_ns(self.baud, 10 if self.parity is Parity.NONE else 11)

    @property
    def silence_ns(self) -> int:
        return silence_ns(self.baud)

    def changed(self, baud: int | None, parity: Parity | None) -> "LineSettings":
        """These, but for what is given."""
        return evolve(self, baud=baud or self.baud, parity=parity or self.parity)


def read_settings(descriptor: int) -> tuple[int, bool]:
    """Speed and whether the parity is odd, as they are set on a terminal just now. Raises OSError."""
    flags = _TERMIOS2.unpack(fcntl.ioctl(descriptor, _TCGETS2, bytes(_TERMIOS2.size)))
    return flags[_OSPEED], bool(flags[_CFLAG] & termios.PARODD)


def write_baud(descriptor: int, baud: int) -> None:
    """Set the speed of a terminal, whatever number it is. Raises OSError."""
    flags = list(_TERMIOS2.unpack(fcntl.ioctl(descriptor, _TCGETS2, bytes(_TERMIOS2.size))))
    constant = getattr(termios, f"B{baud}", None)
    flags[_CFLAG] = flags[_CFLAG] & ~(_CBAUD | _CIBAUD) | (_BOTHER if constant is None else constant)
    flags[_OSPEED - 1] = flags[_OSPEED] = baud
    fcntl.ioctl(descriptor, _TCSETS2, _TERMIOS2.pack(*flags))
