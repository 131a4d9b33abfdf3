"""The listening socket of the HTTP server, made by us (owner: the web task; ARCHITECTURE, Facts measured).

Hypercorn shields its sends without a deadline: TCP_USER_TIMEOUT bounds how long a client that stops reading can hold a
connection open.
"""

import errno
import re
import socket

from oht50d.model.errors import LinkError
from oht50d.model.units import Duration

USER_TIMEOUT = Duration.parse("4s")
BACKLOG = 128
_CAUSES = {errno.EADDRINUSE: "in_use", errno.EACCES: "permission", errno.EADDRNOTAVAIL: "absent"}
_NUMBERS = re.compile(r"[0-9.]+")


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
    """A bound TCP socket; raises LinkError with cause `in_use`, `permission`, `absent` or `config` and a remedy.

    `absent`: an address that this computer does not have yet, or a name that cannot be asked for now; a later start may
    find it. `config` never gets better.
    """
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
    cause = _CAUSES.get(number or 0, "config")
    if isinstance(problem, socket.gaierror):  # its numbers are none of errno
        is_later = number == socket.EAI_AGAIN and not _NUMBERS.fullmatch(host)
        cause = "absent" if is_later else "config"
    why = problem.strerror if isinstance(problem, OSError) else "no usable name"
    remedy = (
        "Another program listens there: stop it, or set web.port."
        if cause == "in_use"
        else "Set web.host and web.port."
    )
    return LinkError(f"cannot listen on {host}:{port}: {why}", cause=cause, remedy=remedy)
