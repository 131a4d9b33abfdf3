"""Turning a half-duplex line: by the port's driver, or by RTS around every frame (`RtsSwitch` owns the RTS line).

Source: Documentation/driver-api/serial/serial-rs485.rst of Linux; MODBUS over Serial Line V1.02, section 2.5.1.1 (a
reply may begin 3.5 characters after the request, so the line must be free by then).
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from oht50d.clock import now_ns
from oht50d.drivers.port_control import NO_SUCH_CONTROL, PortControl, Rs485Mode
from oht50d.drivers.serial_settings import RtsLevel, SerialPortConfig
from oht50d.model.errors import LinkError, LinkLost

SEND_LIMIT_NS = 10_000_000
"""A port that still holds bytes this long after their time does not send."""
RECHECK_NS = 50_000


class SendTimer(Protocol):
    """See `drivers/timer.py`."""

    lead_ns: int

    async def wait_until_ns(self, deadline_ns: int) -> None: ...

    def hold_until_ns(self, deadline_ns: int) -> int: ...


class SendControl(Protocol):
    """See `PortControl`."""

    def set_rts(self, is_set: bool) -> None: ...

    def is_all_sent(self) -> bool: ...


def set_kernel_mode(config: SerialPortConfig, control: PortControl) -> None:
    """Have the driver turn the line, and read back that it will. Raises LinkError with cause `config`, and OSError."""
    is_set = config.rts_while_sending is RtsLevel.SET
    wanted = Rs485Mode(True, is_set, not is_set, config.delay_before_send_ms, config.delay_after_send_ms)
    try:
        control.set_rs485_mode(wanted)
        found = control.rs485_mode()
    except OSError as error:
        if error.errno not in NO_SUCH_CONTROL:
            raise
        words = f"the driver of {config.port} has no RS-485 mode ({error.strerror})"
        remedy = 'set bus.serial.direction to "auto" if the adapter turns the line by itself, to "rts" if RTS does'
        raise LinkError(words, cause="config", remedy=remedy) from error
    if found != wanted:
        # A receiver that stays on while sending hears every request: the echo of a write looks like its reply.
        words = f"the driver of {config.port} has not taken over the RS-485 mode: {wanted}; it has: {found}"
        remedy = 'set delays and rts_while_sending to what it can do, or bus.serial.direction to "auto" or "rts"'
        raise LinkError(words, cause="config", remedy=remedy)


def set_idle(config: SerialPortConfig, control: PortControl) -> None:
    """Let go of the line and read back that RTS follows. Raises LinkError with cause `config`, and OSError."""
    is_set = config.rts_while_sending is not RtsLevel.SET
    remedy = 'use an adapter with an RTS line, or set bus.serial.direction to "auto"'
    try:
        control.set_rts(is_set)
        is_followed = control.is_rts_set() is is_set
    except OSError as error:
        if error.errno not in NO_SUCH_CONTROL:
            raise
        raise LinkError(f"{config.port} has no RTS line ({error.strerror})", cause="config", remedy=remedy) from error
    if not is_followed:
        raise LinkError(f"the RTS line of {config.port} does not follow", cause="config", remedy=remedy)


class RtsSwitch:
    """Drives the line for the length of one frame and lets go of it on every way out.

    A frame is over when its characters have had their time, the driver holds none, and the transmitter is empty where
    the driver can tell that. `tcdrain` is not used: it stops the whole thread, and for ever on a port that is stuck.
    """

    def __init__(
        self, config: SerialPortConfig, control: SendControl, timer: SendTimer, discard_unsent: Callable[[], None]
    ) -> None:
        self._control = control
        self._timer = timer
        self._discard_unsent = discard_unsent
        self._name = config.port
        self._is_set_to_send = config.rts_while_sending is RtsLevel.SET
        self._character_ns = 0
        self.retime(config)
        self._delay_after_ns = config.delay_after_send_ms * 1_000_000

    def retime(self, config: SerialPortConfig) -> None:
        """The port was set to another speed or character."""
        self._character_ns = -(-config.character_bits * 1_000_000_000 // config.baud)

    async def send(self, octets: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
        """Send a frame by `write`; returns when the line is free again. Raises LinkLost, and OSError of the port.

        A cancellation cuts the frame short: what is unsent is thrown away first, then the line is let go.
        """
        try:
            self._control.set_rts(self._is_set_to_send)
            began_ns = now_ns()
            await write(octets)
            await self._wait_sent(began_ns + len(octets) * self._character_ns)
        except BaseException:
            self._discard_unsent()
            raise
        finally:
            self._control.set_rts(not self._is_set_to_send)

    async def _wait_sent(self, ends_ns: int) -> None:
        """Sleep for most of the frame and hold for its end: a late release lies on the reply."""
        await self._timer.wait_until_ns(ends_ns - self._timer.lead_ns)
        self._timer.hold_until_ns(ends_ns)
        while not self._control.is_all_sent():
            if now_ns() > ends_ns + SEND_LIMIT_NS:
                remedy = "check the adapter, its cable and its driver"
                raise LinkLost(f"{self._name} takes bytes and does not send them", cause="lost", remedy=remedy)
            await self._timer.wait_until_ns(now_ns() + RECHECK_NS)
        if self._delay_after_ns:
            ends_ns = now_ns() + self._delay_after_ns
            await self._timer.wait_until_ns(ends_ns - self._timer.lead_ns)
            self._timer.hold_until_ns(ends_ns)
