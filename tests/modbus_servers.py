"""Another implementation's Modbus servers on loopback, and a proxy in front of them that delays, falls silent and cuts.

with ModbusServer.serving(TRUTH, "tcp") as server:       # pymodbus in a thread; "rtu_over_tcp" likewise
    async with Proxy.in_front_of(server.port) as proxy:
        config.tcp.port = proxy.port
"""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import trio
from attrs import define, field
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

START_LIMIT_S = 30.0
FRAMERS = {"tcp": FramerType.SOCKET, "rtu_over_tcp": FramerType.RTU}
ABORT = struct.pack("ii", 1, 0)
Rows = Sequence[tuple[Any, ...]]


def device(unit: int, rows: Rows) -> SimDevice:
    """One module: address, name and word of each register; exception 2 in every gap."""
    return SimDevice(id=unit, simdata=[SimData(row[0], values=[row[2]], datatype=DataType.REGISTERS) for row in rows])


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


class ModbusServer:
    """pymodbus serving modules over TCP, in a thread with a loop of its own; it may be stopped and started again."""

    def __init__(self, modules: Mapping[int, Rows], transport: str) -> None:
        self.port = free_port()
        self._modules = modules
        self._framer = FRAMERS[transport]
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = lambda: None

    @classmethod
    @contextmanager
    def serving(cls, modules: Mapping[int, Rows], transport: str) -> "Iterator[ModbusServer]":
        server = cls(modules, transport)
        server.start()
        try:
            yield server
        finally:
            server.stop()

    def start(self) -> None:
        is_up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(is_up)), daemon=True)
        self._thread.start()
        assert is_up.wait(START_LIMIT_S), "pymodbus did not start"

    def stop(self) -> None:
        """Every connection ends; nothing listens any more."""
        if self._thread is not None:
            self._end()
            self._thread.join(START_LIMIT_S)
            self._thread = None

    async def _serve(self, is_up: threading.Event) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        devices = [device(unit, rows) for unit, rows in self._modules.items()]
        server = ModbusTcpServer(devices, framer=self._framer, address=("127.0.0.1", self.port))
        await server.serve_forever(background=True)
        self._end = lambda: loop.call_soon_threadsafe(ended.set)
        is_up.set()
        await ended.wait()
        await server.shutdown()  # type: ignore[no-untyped-call]  # pymodbus leaves its result untyped


@define(slots=False)
class Proxy:
    """Joins each connection to a server; what it does to the bytes may change at any time."""

    target: int
    port: int = 0
    delay_s: Callable[[], float] = field(default=lambda: 0.0)
    """How long the next piece of a reply is held back; pieces keep their order."""
    piece_bytes: int = 4096
    """How many bytes of a reply go out at once."""
    is_mute: bool = False
    """Requests are taken and forgotten."""
    connections: int = 0
    """How many there were."""
    _open: list[trio.SocketStream] = field(factory=list)

    @classmethod
    @asynccontextmanager
    async def in_front_of(cls, target: int) -> "AsyncIterator[Proxy]":
        proxy = cls(target)
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            proxy.port = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, proxy._join, [listener])
            yield proxy
            nursery.cancel_scope.cancel()

    def cut(self) -> None:
        """End every connection by a reset."""
        for stream in self._open:
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            stream.socket.close()

    async def _join(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        self._open.append(stream)
        try:
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                server = await trio.open_tcp_stream("127.0.0.1", self.target)
                async with server, trio.open_nursery() as nursery:
                    nursery.start_soon(self._forward, stream, server, nursery)
                    await self._return(server, stream)
                    nursery.cancel_scope.cancel()
        finally:
            self._open.remove(stream)
            await trio.aclose_forcefully(stream)

    async def _forward(self, source: trio.SocketStream, sink: trio.SocketStream, nursery: trio.Nursery) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for octets in source:
                if not self.is_mute:
                    await sink.send_all(octets)
        nursery.cancel_scope.cancel()

    async def _return(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for octets in source:
                await trio.sleep(self.delay_s())
                for place in range(0, 0 if self.is_mute else len(octets), self.piece_bytes):
                    await sink.send_all(octets[place : place + self.piece_bytes])
                    await trio.lowlevel.checkpoint()
