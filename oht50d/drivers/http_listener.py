"""The listening socket of the HTTP server, made by us (owner: the web task; ARCHITECTURE, Facts measured).

Hypercorn shields its sends without a deadline: TCP_USER_TIMEOUT bounds how long a client that stops reading can hold a
connection open.
"""

import socket

from oht50d.model.errors import LinkError
from oht50d.model.units import Duration

USER_TIMEOUT = Duration.parse("4s")
BACKLOG = 128


def open_listener(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket; raises LinkError with cause `in_use`, `permission` or `config` and a remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(USER_TIMEOUT.ms))
        listener.setblocking(False)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        cause = {98: "in_use", 13: "permission"}.get(problem.errno or 0, "config")
        remedy = (
            "Another program listens there: stop it, or set web.port."
            if cause == "in_use"
            else "Set web.host and web.port."
        )
        raise LinkError(f"cannot listen on {host}:{port}: {problem.strerror}", cause=cause, remedy=remedy) from problem
    return listener
