"""Settings of a serial port, checked (no state).

Source: MODBUS over Serial Line V1.02, section 2.5.1 (a character is a start bit, eight data bits, a parity bit or a
second stop bit, a stop bit; 8N1 is one bit short of that and is what the modules of this robot speak).
"""

import enum

from attrs import Attribute, field, frozen, validators

from oht50d.model.line import Parity
from oht50d.model.units import SettingClash

BAUD_RATES = (9600, 19_200, 38_400, 57_600, 115_200, 230_400, 256_000, 460_800, 500_000, 921_600, 1_000_000)
MAX_DELAY_MS = 5
"""More would lie on the reply: a module may answer after 3.5 characters, which are 4 ms at 9600 baud."""
_DELAY = validators.and_(validators.ge(0), validators.le(MAX_DELAY_MS))


class DirectionControl(enum.Enum):
    """Who turns a half-duplex line from receiving to sending and back."""

    AUTO = "auto"  # the adapter, by itself
    KERNEL = "kernel"  # the port's driver (TIOCSRS485)
    RTS = "rts"  # this process, by the RTS line, around every frame


class RtsLevel(enum.Enum):
    """State of the RTS line."""

    SET = "set"
    CLEARED = "cleared"


def check_path(_instance: object, attribute: "Attribute[str]", path: str) -> None:
    """An attrs validator: an absolute path."""
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f"{attribute.name} must be an absolute path, found {path!r}")


def _check_baud(_instance: object, _attribute: "Attribute[int]", baud: int) -> None:
    if baud not in BAUD_RATES:
        raise ValueError(f"baud must be one of {', '.join(map(str, BAUD_RATES))}, found {baud!r}")


@frozen(kw_only=True)
class SerialPortConfig:
    """Device, speed, character and direction; `lock_dir` is where the lock file stands. Raises ValueError for garbage.

    The two delays are of the RTS line: before the first bit (`kernel` only) and after the last one.
    """

    port: str = field(validator=check_path)
    baud: int = field(default=115_200, validator=_check_baud)
    parity: Parity = Parity.NONE
    stop_bits: int = field(default=1, validator=validators.in_((1, 2)))
    direction: DirectionControl = DirectionControl.AUTO
    rts_while_sending: RtsLevel = RtsLevel.SET
    delay_before_send_ms: int = field(default=0, validator=_DELAY)
    delay_after_send_ms: int = field(default=0, validator=_DELAY)
    lock_dir: str = field(default="/run/lock", validator=check_path)

    def __attrs_post_init__(self) -> None:
        if self.parity is not Parity.NONE and self.stop_bits != 1:
            raise SettingClash("stop_bits", "1 beside a parity bit", self.stop_bits)
        if self.delay_before_send_ms and self.direction is not DirectionControl.KERNEL:
            raise SettingClash("delay_before_send_ms", "0 unless direction is kernel", self.delay_before_send_ms)
        if self.delay_after_send_ms and self.direction is DirectionControl.AUTO:
            raise SettingClash("delay_after_send_ms", "0 while direction is auto", self.delay_after_send_ms)

    @property
    def character_bits(self) -> int:
        """Bits of one character on the line, 10 for 8N1."""
        return 9 + self.stop_bits + (self.parity is not Parity.NONE)
