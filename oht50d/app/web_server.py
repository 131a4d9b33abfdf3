"""Hypercorn on our own socket (state: none; the socket is the house's, each start gets its own descriptor).

Hypercorn runs all connections in one nursery and lets whatever its protocol layers raise end the whole server: one
request with a broken `HTTP2-Settings` header was enough. `_Connection` keeps such an error to the client that sent it.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import hypercorn.trio.run
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio import serve
from hypercorn.trio.tcp_server import TCPServer
from quart_trio import QuartTrio

from oht50d.app.supervisor import first_leaf
from oht50d.app.web_connections import ConnectionTable
from oht50d.app.web_http import Http1, install
from oht50d.web.app_config import WebConfig

_log = logging.getLogger(__name__)

MAX_WS_MESSAGE_BYTES = 16_384
KEEP_ALIVE_S = 15.0
"""A connection without a complete request head is ended after this."""

_CHUNK_BYTES = 65_536
_LINGER_S = 0.5
_SEND_S = 10.0


class _Settings(HypercornConfig):
    """Hypercorn's settings; they are the only thing of ours that reaches each connection."""

    connections: ConnectionTable


class _Connection(TCPServer):
    """One client; an error of its connection ends that connection and nothing else."""

    address = ""
    is_idle = True
    _is_closing = False

    async def run(self) -> None:
        connections = cast(_Settings, self.config).connections
        self._read_scope = trio.CancelScope()
        self._is_read = trio.Event()
        with suppress(OSError):
            self.address = str(self.stream.socket.getpeername()[0])
        connections.enter(self)
        try:
            await super().run()
        # whatever a stranger's bytes make Hypercorn raise: STOP must stay within everybody else's reach
        except* Exception as group:  # noqa: BLE001 - one client must not end the server
            _log.warning("a connection was dropped: %r", first_leaf(group), extra={"event": "web.connection.dropped"})
        finally:
            connections.leave(self)

    @property
    def is_websocket(self) -> bool:
        """Whether the client has asked for a WebSocket."""
        protocol = getattr(getattr(self, "protocol", None), "protocol", None)
        return isinstance(protocol, Http1) and protocol.is_websocket

    def end(self) -> None:
        """Give the descriptor back at once: another connection needs the room."""
        self.stream.socket.close()
        self._read_scope.cancel()

    async def protocol_send(self, event: Event) -> None:
        if isinstance(event, RawData):
            await self._send(event)
            return
        # a request's task is cancelled while it tells that it is over: half a close would leave the next STOP unread
        with trio.CancelScope(shield=True):
            if isinstance(event, Closed):
                await self._linger()
                await super().protocol_send(event)
                self._read_scope.cancel()
            else:
                await super().protocol_send(event)
                if isinstance(event, Updated):
                    self.is_idle = event.idle
                    cast(_Settings, self.config).connections.mark_used(self)

    async def _send(self, event: RawData) -> None:
        with trio.move_on_after(_SEND_S) as scope:
            scope.shield = True
            await super().protocol_send(event)
        if scope.cancelled_caught:
            self.end()

    async def _linger(self) -> None:
        """Let the client read the answer: closing with bytes unread would take it away from it."""
        self._is_closing = True  # the reader gives way
        with trio.move_on_after(_LINGER_S), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_eof()
            with suppress(trio.BusyResourceError):
                await self._throw_away()
                return
            await self._is_read.wait()
            await self._throw_away()

    async def _throw_away(self) -> None:
        while await self.stream.receive_some(_CHUNK_BYTES):
            pass

    async def _read_data(self) -> None:
        try:
            with self._read_scope, suppress(trio.ClosedResourceError, trio.BrokenResourceError):
                while not self._is_closing:
                    data = await self.stream.receive_some(_CHUNK_BYTES)
                    if not data:
                        break
                    if not self._is_closing:
                        await self.protocol.handle(RawData(bytes(data)))
        finally:
            self._is_read.set()
        await self.protocol.handle(Closed())
        await self.idle_task.stop()
        if self.is_websocket:
            await self.stream.aclose()  # its pings would hold the descriptor


hypercorn.trio.run.TCPServer = _Connection  # type: ignore[attr-defined]  # the only door: `worker_serve` names the class itself
install()


async def serve_web(
    app: QuartTrio,
    listener: socket.socket,
    config: WebConfig,
    shutdown: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns or cancellation; Hypercorn closes the descriptor that it is given."""
    settings = _Settings()
    settings.connections = ConnectionTable(config)
    settings.bind = [f"fd://{os.dup(listener.fileno())}"]
    settings.graceful_timeout = config.graceful_timeout.s
    settings.websocket_ping_interval = config.ws_ping.s
    settings.websocket_max_message_size = MAX_WS_MESSAGE_BYTES
    settings.keep_alive_timeout = KEEP_ALIVE_S
    settings.accesslog = None
    settings.errorlog = None
    settings.include_server_header = False
    task_status.started()
    await serve(app, settings, shutdown_trigger=shutdown)
