"""Hypercorn on our own socket (state: none; the socket is the house's, each start gets its own descriptor)."""

import os
import socket
from collections.abc import Awaitable, Callable

import trio
from hypercorn.config import Config as HypercornConfig
from hypercorn.trio import serve
from quart_trio import QuartTrio

from oht50d.web.app_config import WebConfig

MAX_WS_MESSAGE_BYTES = 16_384


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
