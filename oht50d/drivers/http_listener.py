"""The listening socket of the HTTP server, made by us (owner: the web task; ARCHITECTURE, Facts measured).

Hypercorn shields its sends without a deadline: TCP_USER_TIMEOUT bounds how long a client that stops reading can hold a
connection open.
"""

import errno
import socket

from oht50d.model.errors import LinkError
from oht50d.model.units import Duration

USER_TIMEOUT = Duration.parse("4s")
BACKLOG = 128


def open_listener(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket; raises LinkError as `bind_listener` does."""
    listener = bind_listener(host, port)
    try:
        listener.listen(BACKLOG)
    except OSError as problem:
        listener.close()
        raise _refusal(host, port, problem) from problem
    return listener


def bind_listener(host: str, port: int) -> socket.socket:
    """A bound TCP socket; raises LinkError with cause `in_use`, `permission` or `config` and a remedy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(USER_TIMEOUT.ms))
        listener.setblocking(False)
        listener.bind((host, port))
    except (OSError, UnicodeError) as problem:  # a name that cannot be encoded is no OSError
        listener.close()
        raise _refusal(host, port, problem) from problem
    return listener


def _refusal(host: str, port: int, problem: OSError | UnicodeError) -> LinkError:
    number = problem.errno if isinstance(problem, OSError) else None
    cause = {errno.EADDRINUSE: "in_use", errno.EACCES: "permission"}.get(number or 0, "config")
    why = problem.strerror if isinstance(problem, OSError) else "no usable name"
    remedy = (
        "Another program listens there: stop it, or set web.port."
        if cause == "in_use"
        else "Set web.host and web.port."
    )
    return LinkError(f"cannot listen on {host}:{port}: {why}", cause=cause, remedy=remedy)
