"""TCP servers in front of the simulated robot's bus: a serial device server that passes bytes on, and a gateway.

Both run as a task of the test: `async with served(robot.bus_path, "tcp") as port`.
"""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio
from robot_fixture import open_raw

from oht50d.codec.framing import RtuFraming
from oht50d.codec.mbap import TcpServer
from oht50d.model.bus import BusReply, BusRequest
from oht50d.model.errors import RemoteProtocolError

REPLY_S = 0.06
QUIET_S = 0.00175


class Line:
    """The serial port of the server."""

    def __init__(self, path: Path) -> None:
        self._fd = open_raw(path)
        os.set_blocking(self._fd, False)

    async def read(self) -> bytes:
        await trio.lowlevel.wait_readable(self._fd)
        with suppress(BlockingIOError):
            return os.read(self._fd, 4096)
        return b""

    def write(self, octets: bytes) -> None:
        os.write(self._fd, octets)

    def close(self) -> None:
        os.close(self._fd)


class DeviceServer:
    """Bytes in, bytes out."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def serve(self, stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._return, stream)
            async for octets in stream:
                self._line.write(octets)
            nursery.cancel_scope.cancel()

    async def _return(self, stream: trio.SocketStream) -> None:
        while True:
            await stream.send_all(await self._line.read())


class Gateway:
    """Modbus TCP in, RTU out; a module that does not answer leaves the client without a reply."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def serve(self, stream: trio.SocketStream) -> None:
        server = TcpServer()
        async for octets in stream:
            for request in server.receive_data(octets):
                assert isinstance(request.frame, BusRequest)
                reply = await self._ask(request.frame)
                if reply is not None:
                    await stream.send_all(server.encode_reply(request.number, reply))

    async def _ask(self, request: BusRequest) -> BusReply | None:
        await self._keep_quiet()
        framing = RtuFraming()
        self._line.write(framing.encode(request))
        framing.expect(request)
        with trio.move_on_after(REPLY_S), suppress(RemoteProtocolError):
            while True:
                octets = await self._line.read()
                reply = framing.receive_data(octets) if octets else None
                if reply is not None:
                    return reply
        return None

    async def _keep_quiet(self) -> None:
        while True:
            with trio.move_on_after(QUIET_S) as quiet:
                await self._line.read()
            if quiet.cancelled_caught:
                return


@asynccontextmanager
async def served(bus_path: Path, transport: str) -> AsyncIterator[int]:
    """The port of loopback behind which the bus at `bus_path` is found."""
    line = Line(bus_path)
    server = Gateway(line) if transport == "tcp" else DeviceServer(line)

    async def serve(stream: trio.SocketStream) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await server.serve(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the daemon breaks its connections off

    try:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, serve, [listener])
            yield listener.socket.getsockname()[1]
            nursery.cancel_scope.cancel()
    finally:
        line.close()
