"""A mark in the runtime directory: the run of the daemon that has just ended only listened (owner of that file).

The safe-stop program must not talk into another master's bus after such a run. The setting alone is not enough for it
to keep quiet: it may have been changed while a run was still driving. Without the mark the stop is sent.
"""

import logging
from pathlib import Path

_NAME = "listen-only"

_log = logging.getLogger(__name__)


def mark_listening(runtime_dir: Path, *, is_listening: bool) -> None:
    """Before the port is opened: this run only listens, or it does not. Trouble with the disk never ends a start."""
    mark = runtime_dir / _NAME
    try:
        if is_listening:
            mark.write_text("nothing was sent\n", encoding="ascii")
        else:
            mark.unlink(missing_ok=True)
    except OSError as problem:
        _log.warning("%s cannot be kept: %s", mark, problem, extra={"event": "bus.listen_only"})


def has_listened(runtime_dir: Path) -> bool:
    """True if the last run made the mark."""
    return (runtime_dir / _NAME).is_file()
