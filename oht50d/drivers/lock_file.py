"""A lock on a file that frees itself when its holder ends in any way (state: the caller owns the descriptor).

Source: flock(2). The file is never removed: removing locks is a race. It holds the pid of the last holder, for people.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from oht50d.drivers.port_holders import describe_process, holders_of

_MAX_PID_BYTES = 16
_READ_ONLY = (errno.EACCES, errno.EROFS)


class LockHeld(Exception):
    """Another process has the lock; `holder` is its name and pid, empty if nobody can tell."""

    def __init__(self, holder: str) -> None:
        self.holder = holder
        super().__init__(holder)


def take_lock(path: Path) -> int:
    """The descriptor that holds the lock until it is closed; children never inherit it. OSError, LockHeld."""
    descriptor = _open(path)
    try:
        _lock(descriptor, path, fcntl.LOCK_EX)
    except LockHeld:
        os.close(descriptor)
        raise
    with suppress(OSError):  # a full or read-only disk: the lock holds all the same, only its holder's pid is unknown
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def try_lock(path: Path) -> None:
    """Raises LockHeld if `take_lock` would; leaves nothing behind. A file that is not there is not held."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        _lock(descriptor, path, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Create only if absent: opening somebody else's file with O_CREAT is refused in a sticky directory."""
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, os.O_RDWR | flags)
    except FileNotFoundError:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o644)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        return os.open(path, os.O_RDONLY | flags)


def _lock(descriptor: int, path: Path, kind: int) -> None:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockHeld(_holder(descriptor, path)) from None


def _holder(descriptor: int, path: Path) -> str:
    """The pid in the file unless /proc knows better: it is an old one where the holder could not write."""
    noted = os.pread(descriptor, _MAX_PID_BYTES, 0).strip()
    visible = [pid for pid in holders_of(os.path.realpath(path)) if pid != os.getpid()]
    if noted.isdigit() and (not visible or int(noted) in visible):
        return describe_process(int(noted))
    return " and ".join(map(describe_process, visible))
