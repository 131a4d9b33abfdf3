"""A serial port as a Trio byte stream: `serial_setup.py` opens and configures it, `FdStream` does the I/O.

Each `SerialLink` owns one descriptor, the lock that keeps others away, and the line's direction where that is RTS.
Source: termios(3), tcflush(3).
"""

import fcntl
import os
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import serial
import trio
from attrs import evolve

from oht50d.drivers.latency_timer import SYSFS
from oht50d.drivers.port_control import NO_SUCH_CONTROL, Ioctl, system_ioctl
from oht50d.drivers.rs485_direction import RtsSwitch
from oht50d.drivers.serial_settings import DirectionControl, SerialPortConfig
from oht50d.drivers.serial_setup import OpenedPort, apply_line, explain, open_exclusively
from oht50d.drivers.timer import PreciseTimer
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.line import LineSettings

__all__ = ["SerialLink", "SerialPortConfig", "open_serial_port"]

DEFAULT_RECEIVE_BYTES = 4096
_NOTHING = bytes(4)
_MAX_DRAIN_READS = 64


async def open_serial_port(
    config: SerialPortConfig, *, ioctl: Ioctl = system_ioctl, sysfs: Path = SYSFS
) -> "SerialLink":
    """Open, configure and lock the port in a thread, since a wedged USB adapter blocks for seconds.

    Raises LinkError with cause `absent`, `permission`, `held` (the remedy names the holder), `config`, or `resources`
    (this process or computer has none left). A cancellation waits for the thread and then leaves nothing open.
    """
    with ExitStack() as opened:
        found = await trio.to_thread.run_sync(open_exclusively, config, opened, ioctl, sysfs)
        await trio.lowlevel.checkpoint()
        try:
            return SerialLink(config, found, opened)
        except OSError as error:
            raise explain(error, config.port, found.device) from error


class SerialLink:
    """An open port. All bytes go through Trio; `close` is synchronous and may be called twice."""

    def __init__(self, config: SerialPortConfig, found: OpenedPort, opened: ExitStack) -> None:
        """Take over what `opened` would close; use `open_serial_port` instead."""
        self._config = config
        self._name = config.port
        self._port = found.port
        self.device = found.device
        """What the configured name stood for when it was opened."""
        self.warning = found.warning
        self._rts = _make_switch(config, found, opened, self._discard_unsent)
        self._stream = trio.lowlevel.FdStream(os.dup(found.port.fileno()))
        self._fd = self._stream.fileno()
        self._waiting = bytearray(4)
        self._resources = opened.pop_all()

    @property
    def is_current(self) -> bool:
        """False once the configured name stands for another device than the one that is open.

        A name that is not there at the moment says nothing: a device that is gone hangs up by itself.
        """
        try:
            return Path(self._name).stat().st_rdev == os.fstat(self._fd).st_rdev
        except OSError:
            return True

    def send_now(self, octets: bytes) -> int:
        """Hand over what the kernel takes at once; how many bytes that was. Raises LinkLost.

        Nothing where RTS turns the line: somebody has to be there when the frame ends, which is `send_all`.
        """
        return 0 if self._rts is not None else self._write_now(octets)

    async def send_all(self, octets: bytes) -> None:
        """Hand all bytes to the kernel, at once as far as it takes them; where RTS turns the line, until all are out.

        Raises LinkLost. After a cancellation an unknown part has been sent, and the line is free.
        """
        if self._rts is None:
            await self._write(octets)
            return
        try:
            await self._rts.send(octets, self._write)
        except OSError as error:
            raise self._lost() from error

    async def _write(self, octets: bytes) -> None:
        sent = self._write_now(octets)
        try:
            await self._stream.send_all(octets[sent:])
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise self._lost() from error

    def _write_now(self, octets: bytes) -> int:
        try:
            return os.write(self._port.fileno(), octets)
        except BlockingIOError:
            return 0
        except (OSError, serial.PortNotOpenError) as error:
            raise self._lost() from error

    async def receive_some(self, max_bytes: int = DEFAULT_RECEIVE_BYTES) -> bytes:
        """At least one byte. Raises LinkLost for an empty read, EIO or ENXIO. A cancellation loses no byte."""
        try:
            while True:
                # The wait is the checkpoint: `FdStream.receive_some` would turn the loop once more for every reply.
                await trio.lowlevel.wait_readable(self._fd)
                try:
                    octets = os.read(self._fd, max_bytes)
                    break
                except BlockingIOError:
                    continue
        except (OSError, trio.ClosedResourceError) as error:
            raise self._lost() from error
        if not octets:
            raise self._lost()
        return octets

    def drain_input(self) -> bytes:
        """Take what has arrived and answers nothing; bounded, the rest is flushed unseen.

        Raises LinkLost if the port has hung up.
        """
        dropped = b""
        try:
            fcntl.ioctl(self._fd, termios.FIONREAD, self._waiting)
            if self._waiting == _NOTHING:  # half the price of a read that finds nothing
                return dropped
            for _ in range(_MAX_DRAIN_READS):
                octets = os.read(self._port.fileno(), DEFAULT_RECEIVE_BYTES)
                if not octets:
                    raise self._lost()
                dropped += octets
            termios.tcflush(self._port.fileno(), termios.TCIFLUSH)
        except BlockingIOError:
            return dropped
        except (OSError, termios.error, serial.PortNotOpenError) as error:
            raise self._lost() from error
        return dropped

    def reconfigure(self, line: LineSettings) -> None:
        """Set speed and character of the open port; what waits in it is dropped.

        Raises LinkError if the driver does not know them, LinkLost if the port has hung up.
        """
        try:
            self._config = evolve(self._config, baud=line.baud, parity=line.parity, stop_bits=line.stop_bits)
            apply_line(self._port, self._config)
            termios.tcflush(self._port.fileno(), termios.TCIFLUSH)
        except ValueError as error:
            raise LinkError(f"{self._name} cannot be set to {line}: {error}", cause="config") from error
        except (OSError, termios.error) as error:
            raise self._lost() from error
        if self._rts is not None:
            self._rts.retime(self._config)

    def set_dtr(self, is_asserted: bool) -> bool:
        """Drive the DTR line; False if the port has no such line (a pseudo-terminal). Raises LinkLost."""
        if not self._port.is_open:
            raise self._lost()
        try:
            self._port.dtr = is_asserted
        except OSError as error:
            if error.errno in NO_SUCH_CONTROL:
                return False
            raise self._lost() from error
        return True

    def close(self) -> None:
        """Drop unsent bytes (or closing could wait for seconds), close and unlock; waiters get LinkLost."""
        if not self._port.is_open:
            return
        self._discard_unsent()
        self._stream.close()
        self._resources.close()

    def _discard_unsent(self) -> None:
        with suppress(termios.error, OSError, serial.PortNotOpenError):
            termios.tcflush(self._port.fileno(), termios.TCOFLUSH)

    def _lost(self) -> LinkLost:
        return LinkLost(f"{self._name} has hung up", cause="lost", remedy="check plug, cable and power of the adapter")


def _make_switch(
    config: SerialPortConfig, found: OpenedPort, opened: ExitStack, discard_unsent: Callable[[], None]
) -> RtsSwitch | None:
    """The switch has a timer of its own: nobody else's wait is disturbed."""
    if config.direction is not DirectionControl.RTS:
        return None
    timer = PreciseTimer()
    opened.callback(timer.close)
    return RtsSwitch(config, found.control, timer, discard_unsent)
