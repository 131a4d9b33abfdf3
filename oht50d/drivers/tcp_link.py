"""A TCP connection as a byte link, for Modbus TCP and for RTU frames through a serial device server.

Each `TcpLink` owns one socket. Nothing keeps a second master away: TCP has no exclusivity. Source: tcp(7)
(TCP_USER_TIMEOUT, TCP_KEEPIDLE), socket(7) (SO_LINGER); MODBUS Messaging on TCP/IP Implementation Guide V1.0b,
section 4.2.2 (TCP_NODELAY, keep-alive) and 4.3.2 (port 502).
"""

import errno
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio
from attrs import field, frozen, validators

from oht50d.clock import NS_PER_S, now_ns
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.line import LineSettings
from oht50d.model.units import HOST, Duration, between, milliseconds

DEFAULT_RECEIVE_BYTES = 4096
MODBUS_PORT = 502
PEER_LIMIT_MS = 500
"""Bytes that the peer's TCP has not acknowledged for so long end the connection; lazy stacks take 250 ms."""
MUTE_LIMIT_NS = 5 * NS_PER_S
"""A peer that takes requests and sends nothing at all for so long gets a new connection."""
MAX_ADDRESSES = 4
_MAX_DRAIN_READS = 64
_RESOLVER: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("resolver")
"""A look-up that hangs keeps its thread for as long as the system's resolver likes: never more than one."""
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
_LINGER = struct.Struct("ii")
_UNREACHABLE = "check that it is switched on, its address, and the network between"
Address = tuple[socket.AddressFamily, Any]
"""Family and what `socket.connect` takes for it."""
_Wait = Callable[[socket.socket], Awaitable[None]]


@frozen(kw_only=True)
class TcpConfig:
    """The Modbus TCP server or serial device server; without a host there is none."""

    host: str | None = field(default=None, validator=validators.optional(HOST))
    port: int = field(default=MODBUS_PORT, validator=validators.and_(validators.ge(1), validators.le(65535)))
    # The reopening loop must come round well within the service manager's watchdog of 3 s.
    connect_timeout: Duration = field(
        default=milliseconds(1000), validator=between(milliseconds(50), milliseconds(1500))
    )

    @property
    def name(self) -> str:
        """`host:port`, as people write it."""
        host = f"[{self.host}]" if self.host and ":" in self.host else self.host
        return f"{host}:{self.port}"


async def open_tcp_link(config: TcpConfig) -> "TcpLink":
    """Look the name up again and connect, all of it within `connect_timeout`.

    Raises LinkError with cause `absent` (no such name, no answer, no way), `refused` (nobody listens), `permission`,
    `config` (no host) or `resources`. A cancellation leaves nothing open.
    """
    if config.host is None:
        raise LinkError("no host to connect to", cause="config", remedy="set bus.tcp.host")
    problem = absent(config, f"no answer within {config.connect_timeout}")
    with trio.move_on_after(config.connect_timeout.s):
        addresses = await _resolve(config, config.host)
        share_s = config.connect_timeout.s / len(addresses)
        for family, address in addresses:
            with trio.move_on_after(share_s):
                try:
                    return TcpLink(config, await _connect(family, address))
                except OSError as error:
                    problem = explain_connect(config, error)
    raise problem


class TcpLink:
    """An open connection. All bytes go through Trio; `close` is synchronous and may be called twice."""

    def __init__(self, config: TcpConfig, connection: socket.socket) -> None:
        """Take over a connected, non-blocking socket; use `open_tcp_link` instead."""
        self._name = config.name
        self._socket = connection
        self.device = address_of_peer(connection)
        """The address that the configured name stood for when it was connected."""
        self.warning = ""
        self._asked_ns: int | None = None

    @property
    def is_current(self) -> bool:
        """A peer that is gone is found by the connection's own time-outs."""
        return True

    def send_now(self, octets: bytes) -> int:
        """Hand over what the kernel takes at once; how many bytes that was. Raises LinkLost."""
        self._require_voice()
        try:
            return self._socket.send(octets)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error) from error

    async def send_all(self, octets: bytes) -> None:
        """Hand all bytes to the kernel. Raises LinkLost. After a cancellation an unknown part has been sent."""
        sent = self.send_now(octets)
        while sent < len(octets):
            await self._wait(trio.lowlevel.wait_writable)
            sent += self.send_now(octets[sent:])
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int = DEFAULT_RECEIVE_BYTES) -> bytes:
        """At least one byte. Raises LinkLost when the peer has closed or is gone. A cancellation loses no byte."""
        while True:
            # The wait is the checkpoint.
            await self._wait(trio.lowlevel.wait_readable)
            octets = self._read(max_bytes)
            if octets is not None:
                return octets

    def drain_input(self) -> bytes:
        """Take what has arrived and answers nothing; bounded. Raises LinkLost."""
        dropped = b""
        for _ in range(_MAX_DRAIN_READS):
            octets = self._read(DEFAULT_RECEIVE_BYTES)
            if octets is None:
                break
            dropped += octets
        return dropped

    def reconfigure(self, line: LineSettings) -> None:
        """Raises LinkError: the line behind a server is the server's."""
        raise LinkError(f"{self._name} cannot be set to {line}", cause="config")

    def close(self) -> None:
        """Break the connection off; waiters get LinkLost.

        Never in an orderly way: the kernel would go on delivering what is unsent, and a frame of this connection must
        not reach a module after the stop that the next one begins with.
        """
        if self._socket.fileno() < 0:
            return
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    def _read(self, max_bytes: int) -> bytes | None:
        """What has arrived; None if nothing has."""
        try:
            octets = self._socket.recv(max_bytes)
        except BlockingIOError:
            return None
        except OSError as error:
            raise self._lost(error) from error
        if not octets:
            raise self._lost(None)
        self._asked_ns = None
        return octets

    async def _wait(self, readiness: _Wait) -> None:
        if self._socket.fileno() < 0:
            raise self._lost(None)
        try:
            await readiness(self._socket)
        except (trio.ClosedResourceError, OSError) as error:
            raise self._lost(None) from error

    def _require_voice(self) -> None:
        """A connection may outlive the program at its other end: TCP itself goes on acknowledging."""
        at_ns = now_ns()
        if self._asked_ns is None:
            self._asked_ns = at_ns
        elif at_ns - self._asked_ns > MUTE_LIMIT_NS:
            remedy = "check the server and the line behind it; some take one master only"
            words = f"{self._name} takes requests and answers none"
            raise LinkLost(words, cause="lost", remedy=remedy)

    def _lost(self, error: OSError | None) -> LinkLost:
        why = "has closed the connection" if error is None else f"is gone: {error.strerror or error}"
        return LinkLost(f"{self._name} {why}", cause="lost", remedy=_UNREACHABLE)


def look_up(config: TcpConfig, host: str, flags: int = 0) -> tuple[Address, ...]:
    """The addresses of a host; blocks for as long as the system's resolver likes, unless it is an IP address.

    Raises LinkError with cause `absent` for a name that nobody knows.
    """
    try:
        rows = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM, flags=flags)
    except OSError as error:  # gaierror is one
        remedy = f"check the spelling of bus.tcp.host, or use an IP address: {error.strerror}"
        raise LinkError(f"{host} is not known", cause="absent", remedy=remedy) from error
    return tuple((row[0], row[4]) for row in rows[:MAX_ADDRESSES])


async def _resolve(config: TcpConfig, host: str) -> tuple[Address, ...]:
    """A look-up cannot be stopped: its thread is left behind when the time is over, and the next one waits for it."""
    with suppress(LinkError):
        return look_up(config, host, socket.AI_NUMERICHOST)
    try:
        limiter = _RESOLVER.get()
    except LookupError:
        limiter = trio.CapacityLimiter(1)
        _RESOLVER.set(limiter)
    return await trio.to_thread.run_sync(look_up, config, host, abandon_on_cancel=True, limiter=limiter)


async def _connect(family: socket.AddressFamily, address: Any) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        set_options(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))
        with suppress(BlockingIOError):
            connection.connect(address)
        await trio.lowlevel.wait_writable(connection)
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
    except BaseException:
        connection.close()
        raise
    return connection


def set_options(connection: socket.socket) -> None:
    """A frame goes out at once, and a peer that is dead is found in seconds."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_LIMIT_MS)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)


def address_of_peer(connection: socket.socket) -> str:
    """`address:port` of the other end."""
    host, port = connection.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def explain_connect(config: TcpConfig, error: OSError) -> LinkError:
    """An error of connecting in terms of cause and remedy."""
    words = f"{config.name} cannot be reached: {error.strerror}"
    if error.errno == errno.ECONNREFUSED:
        remedy = f"start the server there, or set bus.tcp.port to the one that it listens on (Modbus: {MODBUS_PORT})"
        return LinkError(f"{config.name} refuses the connection", cause="refused", remedy=remedy)
    if error.errno in _NO_RESOURCES:
        remedy = "this process or computer has no files or memory left: restart the daemon, and look for what uses them"
        return LinkError(words, cause="resources", remedy=remedy)
    if error.errno in (errno.EACCES, errno.EPERM):
        return LinkError(words, cause="permission", remedy="let this computer's firewall pass the connection")
    return absent(config, error.strerror or str(error))


def absent(config: TcpConfig, why: str) -> LinkError:
    """Nobody is there."""
    return LinkError(f"{config.name} is not there: {why}", cause="absent", remedy=_UNREACHABLE)
