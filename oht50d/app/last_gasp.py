"""The end by force: a process whose own end hangs must not hold the port (state: one thread)."""

import os
import threading

from oht50d.app.exit_codes import ExitCode

LAST_GASP_S = 7.0
"""Before systemd's TimeoutStopSec (8 s) would kill it."""


def start_last_gasp() -> None:
    """A thread that ends the process after `LAST_GASP_S`."""
    thread = threading.Timer(LAST_GASP_S, os._exit, args=(ExitCode.SOFTWARE,))
    thread.daemon = True
    thread.start()
