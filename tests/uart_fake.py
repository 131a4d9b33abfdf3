"""The ioctl layer of a UART with modem lines and an RS-485 mode, for ports that are pseudo-terminals underneath.

A pseudo-terminal has neither RTS nor TIOCSRS485 nor a transmitter: what is shown with this fake is what the program
asks of a driver, when, and what it makes of the answers. It says nothing about any real driver.
"""

import errno
import os
import select
import struct
import termios
from time import perf_counter_ns

from attrs import define, field

TIOCGRS485 = 0x542E
TIOCSRS485 = 0x542F
ENABLED, ON_SEND, AFTER_SEND, ECHO, TERMINATE = 1, 2, 4, 16, 32
_RS485 = struct.Struct("III5I")
_WORD = struct.Struct("i")


@define(slots=False)
class FakeUart:
    """`ioctl` is what the port is opened with; `master` is the other end of the pseudo-terminal, if it is ours."""

    master: int | None
    has_rts: bool = True
    has_rs485: bool = True
    has_line_status: bool = True
    ignored_flags: int = 0
    """Bits of the RS-485 mode that this driver does not take."""
    forced_flags: int = 0
    """Bits that it has whatever is asked for."""
    max_delay_ms: int = 100
    rts_stuck: bool | None = None
    rs485: tuple[int, ...] = (0,) * 8
    is_rts_set: bool = True
    unsent_until_ns: int = 0
    """The driver holds bytes until then."""
    shifting_until_ns: int = 0
    """The transmitter is not empty until then."""
    failing: set[int] = field(factory=set)
    """Requests that fail with EIO."""
    requests: list[int] = field(factory=list)
    rts_log: list[tuple[int, bool, bool]] = field(factory=list)
    """Moment, level, and whether bytes of a frame lay at the other end by then."""

    def ioctl(self, _fd: int, request: int, argument: bytes) -> bytes:
        self.requests.append(request)
        if request in self.failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if request in (TIOCGRS485, TIOCSRS485):
            return self._rs485(request, argument)
        if request == termios.TIOCSERGETLSR:
            self._require(self.has_line_status)
            return _WORD.pack(termios.TIOCSER_TEMT if perf_counter_ns() >= self.shifting_until_ns else 0)
        if request == termios.TIOCOUTQ:
            return _WORD.pack(7 if perf_counter_ns() < self.unsent_until_ns else 0)
        return self._modem(request, argument)

    def rts_levels(self) -> list[bool]:
        return [level for _, level, _ in self.rts_log]

    def _modem(self, request: int, argument: bytes) -> bytes:
        self._require(self.has_rts)
        if request == termios.TIOCMGET:
            level = self.is_rts_set if self.rts_stuck is None else self.rts_stuck
            return _WORD.pack(termios.TIOCM_DTR | (termios.TIOCM_RTS if level else 0))
        assert request in (termios.TIOCMBIS, termios.TIOCMBIC)
        assert _WORD.unpack(argument) == (termios.TIOCM_RTS,)
        self.is_rts_set = request == termios.TIOCMBIS
        has_bytes = self.master is not None and bool(select.select([self.master], [], [], 0)[0])
        self.rts_log.append((perf_counter_ns(), self.is_rts_set, has_bytes))
        return argument

    def _rs485(self, request: int, argument: bytes) -> bytes:
        self._require(self.has_rs485)
        if request == TIOCSRS485:
            flags, before_ms, after_ms, *rest = _RS485.unpack(argument)
            flags = flags & ~self.ignored_flags | self.forced_flags
            self.rs485 = (flags, min(before_ms, self.max_delay_ms), min(after_ms, self.max_delay_ms), *rest)
        return _RS485.pack(*self.rs485)

    def _require(self, is_there: bool) -> None:
        if not is_there:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
