"""The field bus without tasks, for programs that are short and synchronous: safe-stop and `check`.

Each link owns one descriptor. Source: see `serial_setup.py`, `rs485_direction.py` and `tcp_link.py`.
"""

import socket
import termios
import threading
import time
from contextlib import ExitStack, suppress
from typing import Protocol

from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.port_control import Ioctl, system_ioctl
from oht50d.drivers.rs485_direction import SEND_LIMIT_NS
from oht50d.drivers.serial_settings import DirectionControl, RtsLevel, SerialPortConfig
from oht50d.drivers.serial_setup import OpenedPort, open_for_a_moment
from oht50d.drivers.tcp_link import Address, TcpConfig, absent, address_of_peer, explain_connect, look_up, set_options
from oht50d.model.errors import LinkError, LinkLost

READ_S = 0.005
WRITE_S = 0.1
_MAX_BYTES = 4096


class BlockingLink(Protocol):
    """An open port or connection; everything but `close` may raise LinkLost."""

    device: str

    def send(self, octets: bytes) -> None:
        """Returns when the kernel has all bytes; where RTS turns the line, when all are out."""
        ...

    def receive(self) -> bytes:
        """What has come; waits 5 ms for it, then nothing."""
        ...

    def discard_input(self) -> None: ...

    def close(self) -> None: ...


def open_blocking(config: BusConfig, *, ioctl: Ioctl = system_ioctl) -> BlockingLink:
    """Open the bus over its transport, bounded in time. Raises LinkError as the bus owner's opening does."""
    if config.transport.uses_tcp:
        return _Connection(config.tcp)
    return _Port(config.serial, ioctl)


class _Port:
    def __init__(self, config: SerialPortConfig, ioctl: Ioctl) -> None:
        with ExitStack() as opened:
            found: OpenedPort = open_for_a_moment(config, opened, ioctl)
            found.port.timeout, found.port.write_timeout = READ_S, WRITE_S
            self._opened = opened.pop_all()
        self.device = found.device
        self._name = config.port
        self._port, self._control = found.port, found.control
        self._is_set_to_send = config.rts_while_sending is RtsLevel.SET
        self._is_switched = config.direction is DirectionControl.RTS
        self._character_s = config.character_bits / config.baud

    def send(self, octets: bytes) -> None:
        try:
            if self._is_switched:
                self._send_switched(octets)
            else:
                self._port.write(octets)
        except (OSError, termios.error) as error:  # a SerialException is an OSError; termios.error is none
            raise self._lost(error) from error

    def _send_switched(self, octets: bytes) -> None:
        """The line is let go on every way out; what is unsent by then is thrown away first."""
        self._control.set_rts(self._is_set_to_send)
        try:
            ends_s = time.monotonic() + len(octets) * self._character_s
            self._port.write(octets)
            while time.monotonic() < ends_s or not self._control.is_all_sent():
                if time.monotonic() > ends_s + SEND_LIMIT_NS / 1e9:
                    break
        finally:
            self._let_go()

    def _let_go(self) -> None:
        try:
            if not self._control.is_all_sent():
                termios.tcflush(self._port.fileno(), termios.TCOFLUSH)
        finally:
            self._control.set_rts(not self._is_set_to_send)

    def receive(self) -> bytes:
        try:
            return bytes(self._port.read(1) + self._port.read(self._port.in_waiting))
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def discard_input(self) -> None:
        try:
            self._port.reset_input_buffer()
        except (OSError, termios.error) as error:
            raise self._lost(error) from error

    def close(self) -> None:
        with suppress(OSError, termios.error):
            self._opened.close()

    def _lost(self, error: Exception) -> LinkLost:
        return LinkLost(f"{self._name}: {error}", cause="lost", remedy="check plug, cable and power of the adapter")


class _Connection:
    def __init__(self, config: TcpConfig) -> None:
        self._socket = _connect(config)
        self._name = config.name
        self.device = address_of_peer(self._socket)

    def send(self, octets: bytes) -> None:
        try:
            self._socket.settimeout(WRITE_S)
            self._socket.sendall(octets)
        except OSError as error:
            raise self._lost(str(error)) from error

    def receive(self) -> bytes:
        try:
            self._socket.settimeout(READ_S)
            octets = self._socket.recv(_MAX_BYTES)
        except TimeoutError:
            return b""
        except OSError as error:
            raise self._lost(str(error)) from error
        if not octets:
            raise self._lost("the connection was closed")
        return octets

    def discard_input(self) -> None:
        self.receive()

    def close(self) -> None:
        self._socket.close()

    def _lost(self, why: str) -> LinkLost:
        return LinkLost(f"{self._name}: {why}", cause="lost", remedy="check the server and the network between")


def _connect(config: TcpConfig) -> socket.socket:
    """Closed in an orderly way later: a stop that is still under way is to arrive."""
    if config.host is None:
        raise LinkError("no host to connect to", cause="config", remedy="set bus.tcp.host")
    addresses = _look_up(config, config.host)
    for place, (family, address) in enumerate(addresses):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            set_options(connection)
            connection.settimeout(config.connect_timeout.s / len(addresses))
            connection.connect(address)
        except OSError as error:
            connection.close()
            if place == len(addresses) - 1:
                raise explain_connect(config, error) from error
            continue
        return connection
    raise absent(config, "it has no address")


def _look_up(config: TcpConfig, host: str) -> tuple[Address, ...]:
    """A resolver that hangs is left behind with its thread."""
    found: list[tuple[Address, ...]] = []
    problems: list[LinkError] = []

    def run() -> None:
        try:
            found.append(look_up(config, host))
        except LinkError as problem:
            problems.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(config.connect_timeout.s)
    if found:
        return found[0]
    raise problems[0] if problems else absent(config, "its name was not found in time")
