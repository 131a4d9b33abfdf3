"""What termios does not reach on a serial port: RTS, what is still unsent, the driver's RS-485 mode (no state).

Source: ioctl_tty(2); linux/serial.h (struct serial_rs485, SER_RS485_*), asm-generic/ioctls.h (TIOCGRS485, TIOCSRS485),
Documentation/driver-api/serial/serial-rs485.rst of Linux. The numbers are those of x86, ARM and RISC-V.
"""

import errno
import fcntl
import struct
import termios
from collections.abc import Callable

from attrs import frozen

Ioctl = Callable[[int, int, bytes], bytes]
"""Descriptor, request, argument; returns the argument as the kernel left it. Raises OSError."""

_TIOCGRS485 = 0x542E
_TIOCSRS485 = 0x542F
_RS485 = struct.Struct("III5I")  # flags, delay before, delay after, address and padding
_WORD = struct.Struct("i")
_ENABLED = 1 << 0
_RTS_ON_SEND = 1 << 1
_RTS_AFTER_SEND = 1 << 2
_RX_DURING_TX = 1 << 4
_KEPT = 1 << 5  # SER_RS485_TERMINATE_BUS: a matter of the board, not of this program
NO_SUCH_CONTROL = (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP)
"""What a port says that lacks a line or a mode."""


def system_ioctl(fd: int, request: int, argument: bytes) -> bytes:
    """The kernel's own."""
    return fcntl.ioctl(fd, request, argument)


@frozen
class Rs485Mode:
    """The driver's RS-485 mode as far as it is judged: RTS while sending and after, the echo of what is sent."""

    is_enabled: bool
    is_rts_set_on_send: bool
    is_rts_set_after_send: bool
    delay_before_send_ms: int
    delay_after_send_ms: int
    is_receiving_while_sending: bool = False

    def __str__(self) -> str:
        """In words, for the technician."""
        if not self.is_enabled:
            return "off"
        on, after = (("cleared", "set")[b] for b in (self.is_rts_set_on_send, self.is_rts_set_after_send))
        echo = ", hearing itself" if self.is_receiving_while_sending else ""
        return (
            f"RTS {on} while sending and {after} after, {self.delay_before_send_ms} ms before and "
            f"{self.delay_after_send_ms} ms after{echo}"
        )


class PortControl:
    """The ioctls of one open descriptor. All raise OSError."""

    def __init__(self, fd: int, ioctl: Ioctl = system_ioctl) -> None:
        self._fd = fd
        self._ioctl = ioctl
        self._has_line_status = True

    def set_rts(self, is_set: bool) -> None:
        """Drive the RTS line."""
        request = termios.TIOCMBIS if is_set else termios.TIOCMBIC
        self._ioctl(self._fd, request, _WORD.pack(termios.TIOCM_RTS))

    def is_rts_set(self) -> bool:
        """The RTS line as the driver knows it."""
        return bool(self._word(termios.TIOCMGET) & termios.TIOCM_RTS)

    def is_all_sent(self) -> bool:
        """True if nothing waits in the driver and, where it can tell, nothing in the transmitter either."""
        if self._word(termios.TIOCOUTQ):
            return False
        if not self._has_line_status:
            return True
        try:
            return bool(self._word(termios.TIOCSERGETLSR) & termios.TIOCSER_TEMT)
        except OSError as error:
            if error.errno not in NO_SUCH_CONTROL:
                raise
            self._has_line_status = False
            return True

    def rs485_mode(self) -> Rs485Mode:
        """The mode that the driver has."""
        flags, before_ms, after_ms, *_ = self._read_rs485()
        return Rs485Mode(
            bool(flags & _ENABLED),
            bool(flags & _RTS_ON_SEND),
            bool(flags & _RTS_AFTER_SEND),
            before_ms,
            after_ms,
            bool(flags & _RX_DURING_TX),
        )

    def set_rs485_mode(self, mode: Rs485Mode) -> None:
        """Ask the driver for `mode`; what became of it, only `rs485_mode` says."""
        flags, _, _, *rest = self._read_rs485()
        flags &= _KEPT
        wanted = (mode.is_enabled, mode.is_rts_set_on_send, mode.is_rts_set_after_send, mode.is_receiving_while_sending)
        for is_wanted, flag in zip(wanted, (_ENABLED, _RTS_ON_SEND, _RTS_AFTER_SEND, _RX_DURING_TX), strict=True):
            flags |= flag * is_wanted
        packed = _RS485.pack(flags, mode.delay_before_send_ms, mode.delay_after_send_ms, *rest)
        self._ioctl(self._fd, _TIOCSRS485, packed)

    def _read_rs485(self) -> tuple[int, ...]:
        return _RS485.unpack(self._ioctl(self._fd, _TIOCGRS485, bytes(_RS485.size)))

    def _word(self, request: int) -> int:
        return int(_WORD.unpack(self._ioctl(self._fd, request, bytes(_WORD.size)))[0])
