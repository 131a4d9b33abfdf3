"""Tells systemd how the daemon fares, over the datagram socket of `NOTIFY_SOCKET`; without one every call does nothing.

State: a `Notifier` owns its socket. Source: sd_notify(3) (READY, STATUS, WATCHDOG, STOPPING, RELOADING,
MONOTONIC_USEC, abstract sockets written with "@") and sd_watchdog_enabled(3) (WATCHDOG_USEC, WATCHDOG_PID).
"""

import os
import socket
import time
from collections.abc import Mapping

from oht50d.model.units import Duration

_MAX_STATUS_CHARACTERS = 400


class Notifier:
    """Never blocks and never raises: a message that systemd does not take is counted in `failures`."""

    def __init__(self, address: str | None) -> None:
        self.failures = 0
        self._address: str | None = None
        self._socket: socket.socket | None = None
        if address and address[0] in "/@":
            self._address = "\0" + address[1:] if address[0] == "@" else address
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Notifier":
        """A notifier for `NOTIFY_SOCKET`, or one that does nothing."""
        return cls((os.environ if environ is None else environ).get("NOTIFY_SOCKET"))

    @property
    def is_enabled(self) -> bool:
        """True when somebody listens by name."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Start-up is over: arms the watchdog. Said again after a reload."""
        self._send("READY=1", *_status(status))

    def status(self, words: str) -> None:
        """The line of `systemctl status`: state and why."""
        self._send(*_status(words))

    def watchdog(self) -> None:
        """Pet the watchdog; only the guardian and the reopening loop may (SAFETY, Permits)."""
        self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> None:
        """Shutdown has begun."""
        self._send("STOPPING=1", *_status(status))

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def close(self) -> None:
        """Idempotent; later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, *lines: str) -> None:
        if self._socket is None or self._address is None or not lines:
            return
        try:
            self._socket.sendto("\n".join(lines).encode("utf-8", "replace"), self._address)
        except OSError:
            self.failures += 1


def watchdog_period(environ: Mapping[str, str] | None = None, *, pid: int | None = None) -> Duration | None:
    """How often at least systemd wants to be petted; None when it does not watch this process."""
    environ = os.environ if environ is None else environ
    own_pid = os.getpid() if pid is None else pid
    period, watched = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    if not (period.isascii() and period.isdigit()) or int(period) == 0:
        return None
    if watched and watched != str(own_pid):
        return None
    return Duration(int(period) * 1000)


def _status(words: str) -> tuple[str, ...]:
    line = " ".join(words.split())[:_MAX_STATUS_CHARACTERS]
    return (f"STATUS={line}",) if line else ()
