"""What a start needs beside its settings: directories, the lock on the state, the log's place, the token key, a port.

`run` calls these functions and keeps what they give; `check` calls the same ones as a trial, which makes nothing and
keeps nothing. No state: the caller owns the lock and the log.
"""

import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from oht50d.app.config import Config, Environment, LoadedConfig
from oht50d.app.logging_setup import LogWriter, log_file_trouble, setup_logging
from oht50d.drivers.http_listener import bind_listener
from oht50d.drivers.lock_file import LockHeld, take_lock, try_lock
from oht50d.drivers.secrets import SigningKey, find_signing_key, load_signing_key
from oht50d.model.errors import ConfigError, LinkError, StoreError

_log = logging.getLogger(__name__)

LOCK_NAME = "oht50d.lock"
LOCK_PATIENCE_S = 0.3
"""`check` looks at the lock for a moment, and a daemon that is just ending still has it."""


@contextmanager
def prepared(loaded: LoadedConfig) -> Iterator[LogWriter]:
    """Directories, lock and log for one run, in this order: a second daemon must not touch the log of the first.

    Raises StoreError (a directory), LinkError with cause `held` (the lock) or ConfigError (the log). The end writes
    the log out; the lock goes last.
    """
    make_directories(loaded)
    lock = hold_state(loaded.config.robot.state_dir)
    try:
        check_log_place(loaded)
        writer = setup_logging(loaded.config.log)
        if lock is None:
            words = "%s cannot be locked: nothing keeps a second daemon away from it"
            _log.warning(words, loaded.config.robot.state_dir, extra={"event": "state.unlocked"})
        try:
            yield writer
        finally:
            writer.close()
    finally:
        if lock is not None:
            os.close(lock)


def make_directories(loaded: LoadedConfig, *, is_trial: bool = False) -> tuple[str, ...]:
    """State and runtime directory; returns a line on each. Raises StoreError with the setting and where it was set."""
    robot = loaded.config.robot
    rows = (("robot.state_dir", robot.state_dir), ("robot.runtime_dir", robot.runtime_dir))
    return tuple(_make_directory(loaded, key, path, is_trial=is_trial) for key, path in rows)


def _make_directory(loaded: LoadedConfig, key: str, path: Path, *, is_trial: bool) -> str:
    try:
        if path.is_dir():
            is_writable = os.access(path, os.W_OK | os.X_OK)
            return f"{path} is there" + ("" if is_writable else " and cannot be written by this user")
        if is_trial:
            _try_making(path)
            return f"{path} will be made"
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        refusal = loaded.refusal(key, f"cannot make {path}: {problem.strerror}", expected="a directory")
        raise StoreError(str(refusal)) from problem
    return f"{path} was made"


def _try_making(path: Path) -> None:
    """Raises the OSError that making `path` would."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir():
        raise NotADirectoryError(20, "Not a directory", str(above))
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied", str(above))


def hold_state(state_dir: Path) -> int | None:
    """The descriptor of the lock on the state directory; it frees itself when the process ends, however that happens.

    Raises LinkError with cause `held` that names the holder. None where no lock can be made (a medium that turned
    read-only): such a robot has no memory, and is watched and stopped all the same (ADR 0009).
    """
    path = state_dir / LOCK_NAME
    ends_s = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            return take_lock(path)
        except LockHeld as held:
            if time.monotonic() >= ends_s:
                raise _held(state_dir, held) from None
        except OSError:
            return None
        time.sleep(0.05)


def _held(state_dir: Path, held: LockHeld) -> LinkError:
    holder = held.holder or "a process that is hidden from this user"
    remedy = "Two daemons cannot share one robot.state_dir: stop that one, or give this one a directory of its own."
    return LinkError(f"{state_dir} is in use by {holder}", cause="held", remedy=remedy)


def find_holder(state_dir: Path) -> str | None:
    """Who runs on this state directory, in words; None if nobody does."""
    try:
        try_lock(state_dir / LOCK_NAME)
    except LockHeld as held:
        return held.holder or "a process that is hidden from this user"
    return None


def check_log_place(loaded: LoadedConfig) -> str:
    """Why the log file cannot be written now, in words (the log then goes to standard error alone); empty if it can.

    Raises ConfigError for a place where there can never be a file.
    """
    file = Path(loaded.config.log.file)
    if not loaded.config.log.file:
        return ""
    if not file.parent.is_dir():
        raise loaded.refusal("log.file", "its directory is not there", expected=f"a directory {file.parent}")
    kind = _kind_of(file)
    if kind:
        raise loaded.refusal("log.file", "not a regular file", expected="a regular file", found=f"{kind} {file}")
    return log_file_trouble(loaded.config.log)


def _kind_of(file: Path) -> str:
    """What `file` is, in words; empty for a regular file, and for one that is not there or cannot be seen."""
    try:
        mode = file.stat().st_mode
    except OSError:
        return ""
    if stat.S_ISREG(mode):
        return ""
    return {stat.S_IFDIR: "the directory", stat.S_IFIFO: "the FIFO", stat.S_IFSOCK: "the socket"}.get(
        stat.S_IFMT(mode), "the device"
    )


def signing_key(config: Config) -> bytes:
    """The key of the tokens; made if there is none. Raises ConfigError."""
    return load_signing_key(
        credentials_dir=_credentials_dir(),
        state_dir=config.robot.state_dir,
        is_development=config.environment is Environment.DEVELOPMENT,
    )


def try_signing_key(config: Config) -> SigningKey | None:
    """The key that `signing_key` would use; None if it would make one. Raises ConfigError."""
    return find_signing_key(
        credentials_dir=_credentials_dir(),
        state_dir=config.robot.state_dir,
        is_development=config.environment is Environment.DEVELOPMENT,
    )


def _credentials_dir() -> Path | None:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return None if directory is None else Path(directory)


def listen(make: Callable[[str, int], socket.socket], host: str, port: int) -> socket.socket:
    """What `make` (a function of `http_listener`) returns; a host that can never be one raises ConfigError."""
    try:
        return make(host, port)
    except LinkError as problem:
        if problem.cause != "config":
            raise
        expected = "an IP address of this computer, or a name that it knows"
        raise ConfigError("web.host", str(problem), expected=expected, found=repr(host)) from problem


def try_listeners(config: Config) -> tuple[str, ...]:
    """A line on each address that the daemon would listen on. Raises ConfigError and LinkError as a start does."""
    web = config.web
    ports = (web.port,) if web.metrics_port is None else (web.port, web.metrics_port)
    for port in ports:
        listen(bind_listener, web.host, port).close()
    return tuple(f"{web.host}:{port} is free" if port else f"{web.host}: the system chooses a port" for port in ports)
