"""Hypercorn on our own socket (state: none; the socket is the house's, each start gets its own descriptor).

Hypercorn runs all connections in one nursery and lets whatever its protocol layers raise end the whole server: one
request with a broken `HTTP2-Settings` header was enough. `_Connection` keeps such an error to the client that sent it.
"""

import logging
import os
import socket
from collections.abc import Awaitable, Callable

import hypercorn.trio.run
import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from hypercorn.trio.tcp_server import TCPServer
from quart_trio import QuartTrio

from oht50d.app.supervisor import first_leaf
from oht50d.web.app_config import WebConfig

_log = logging.getLogger(__name__)

MAX_WS_MESSAGE_BYTES = 16_384


class _Connection(TCPServer):
    """One client; an error of its connection ends that connection and nothing else."""

    async def run(self) -> None:
        try:
            await super().run()
        # whatever a stranger's bytes make Hypercorn raise: STOP must stay within everybody else's reach
        except* Exception as group:  # noqa: BLE001 - see above
            _log.warning("a connection was dropped: %r", first_leaf(group), extra={"event": "web.connection.dropped"})


hypercorn.trio.run.TCPServer = _Connection  # type: ignore[attr-defined]  # the only door: `worker_serve` names the class itself


async def serve_web(
    app: QuartTrio,
    listener: socket.socket,
    config: WebConfig,
    shutdown: Callable[[], Awaitable[None]],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until `shutdown` returns or cancellation; Hypercorn closes the descriptor that it is given."""
    settings = HypercornConfig()
    settings.bind = [f"fd://{os.dup(listener.fileno())}"]
    settings.graceful_timeout = config.graceful_timeout.s
    settings.websocket_ping_interval = config.ws_ping.s
    settings.websocket_max_message_size = MAX_WS_MESSAGE_BYTES
    settings.keep_alive_timeout = 15
    settings.accesslog = None
    settings.errorlog = None
    settings.include_server_header = False
    task_status.started()
    await serve(app, settings, shutdown_trigger=shutdown)
