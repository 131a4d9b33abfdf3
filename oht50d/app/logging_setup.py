"""The log of the process: a bounded queue, one thread that folds repeats and writes (owner: `LogWriter`).

Writing to standard error or to the journal can block for seconds on a full disk; the guardian's loop must not. So
callers only append to a queue; when it is full the newest record is dropped and counted.
"""

import atexit
import copy
import errno
import io
import logging
import logging.handlers
import os
import queue
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from attrs import mutable

from oht50d.app.log_config import LogConfig, LogFormat
from oht50d.app.log_format import JsonFormatter, TextFormatter, encode_journal, journal_fields

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")
QUEUE_RECORDS = 2_000
FOLD_S = 10.0
MAX_FOLDED = 256
_CLOSE_S = 2.0
_FoldKey = tuple[str, int, str]


@mutable
class _Fold:
    first_s: float
    record: logging.LogRecord
    repeats: int = 0


class RepeatFolder:
    """Lets the first of equal records pass and counts the others for FOLD_S; used by one thread only."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._folds: dict[_FoldKey, _Fold] = {}

    def take(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """The records to write now: counts whose time is over, then `record` unless it is a repeat."""
        yield from self.expired()
        key = (record.name, record.levelno, record.getMessage())
        fold = self._folds.get(key)
        if fold is not None:
            fold.repeats += 1
            fold.record = record
            return
        if len(self._folds) >= MAX_FOLDED:
            yield from self._close(next(iter(self._folds)))
        self._folds[key] = _Fold(self._clock(), record)
        yield record

    def expired(self, *, is_final: bool = False) -> Iterator[logging.LogRecord]:
        """One record with the count for each fold that has run its time (all of them at the end)."""
        now_s = self._clock()
        over = [key for key, fold in self._folds.items() if is_final or now_s - fold.first_s >= FOLD_S]
        for key in over:
            yield from self._close(key)

    def _close(self, key: _FoldKey) -> Iterator[logging.LogRecord]:
        fold = self._folds.pop(key)
        if fold.repeats:
            summary = copy.copy(fold.record)
            summary.msg = f"{summary.getMessage()} (repeated {fold.repeats} times)"
            summary.args = ()
            summary.repeats = fold.repeats
            yield summary


class JournalHandler(logging.Handler):
    """Native datagrams to journald; what cannot be sent goes to `fallback`."""

    def __init__(self, fallback: logging.Handler, path: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._fallback = fallback
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(_CLOSE_S)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.send(encode_journal(journal_fields(record)))
        except OSError:
            self._fallback.handle(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


class _QueueHandler(logging.handlers.QueueHandler):
    def __init__(self, records: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """Texts only: what the arguments point to may have changed when the thread writes."""
        taken = copy.copy(record)
        taken.msg = record.getMessage()
        taken.args = None
        if record.exc_info:
            taken.exc_text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            taken.exc_info = None
        return taken

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class LogWriter:
    """The queue, its thread and the handlers behind it; `close` writes what is left and gives up after two seconds."""

    def __init__(self, handlers: Sequence[logging.Handler]) -> None:
        self._records: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_RECORDS)
        self._handlers = handlers
        self._retired: queue.SimpleQueue[Sequence[logging.Handler]] = queue.SimpleQueue()
        self._folder = RepeatFolder()
        self.entrance = _QueueHandler(self._records)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        return self.entrance.dropped

    def apply(self, config: LogConfig) -> str:
        """Level, format and file as `config` has them, from the next record on; the file is opened anew.

        Returns what is wrong with the file, in words (empty: nothing). Blocking; one caller at a time.
        """
        handlers, trouble = make_handlers(config)
        retired, self._handlers = self._handlers, handlers
        self._retired.put(retired)
        logging.getLogger().setLevel(config.level.value)
        return trouble

    def close(self) -> None:
        """Idempotent."""
        logging.getLogger().removeHandler(self.entrance)
        if self._thread.is_alive():
            try:
                self._records.put(None, timeout=_CLOSE_S)
            except queue.Full:
                return  # the thread is stuck in a write: it dies with the process
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        reported = 0
        while True:
            try:
                record = self._records.get(timeout=1.0)
            except queue.Empty:
                self._write(self._folder.expired())
                self._close_retired()
                continue
            if record is None:
                break
            self._write(self._folder.take(record))
            if self.dropped > reported:
                reported, lost = self.dropped, self.dropped - reported
                self._write([_note(logging.WARNING, f"{lost} log records were dropped: the log is too slow")])
        self._write(self._folder.expired(is_final=True))
        self._retired.put(self._handlers)
        self._close_retired()

    def _close_retired(self) -> None:
        """By the thread that writes, between two records: none of them is in use."""
        while not self._retired.empty():
            for handler in self._retired.get():
                handler.close()

    def _write(self, records: Iterator[logging.LogRecord] | Sequence[logging.LogRecord]) -> None:
        for record in records:
            for handler in self._handlers:
                handler.handle(record)


def _note(level: int, text: str) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": __name__, "levelno": level, "levelname": logging.getLevelName(level), "msg": text}
    )


def is_journal(descriptor: int) -> bool:
    """True if the descriptor is the journal's stream that systemd gave (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _stderr_handler(config: LogConfig) -> logging.Handler:
    lines: logging.Handler = logging.StreamHandler(sys.stderr)
    lines.setFormatter(TextFormatter() if config.format is LogFormat.TEXT else JsonFormatter())
    if config.format is LogFormat.JOURNAL and is_journal(2):
        try:
            return JournalHandler(lines, JOURNAL_SOCKET)
        except OSError:
            return lines  # a container without the socket: JSON lines
    return lines


def _open_log(path: str | Path, flags: int = 0) -> int:
    """A descriptor that appends to a regular file; raises OSError for anything else and never waits.

    Opening a FIFO or a device could wait for ever, and writing to it as well.
    """
    opened = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o666)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file")
    return opened


class _LogFileHandler(logging.handlers.RotatingFileHandler):
    """Also after a rotation the file may be swapped for something else."""

    def _open(self) -> io.TextIOWrapper:
        return os.fdopen(_open_log(self.baseFilename, os.O_CREAT), "a", encoding="utf-8")


def _file_handler(config: LogConfig) -> logging.Handler:
    handler = _LogFileHandler(
        config.file, maxBytes=config.file_bytes, backupCount=config.file_count - 1, encoding="utf-8"
    )
    handler.setFormatter(JsonFormatter())
    return handler


def log_file_trouble(config: LogConfig) -> str:
    """Why the log file cannot be written, in words; empty if it can, or if there is none. Makes no file."""
    path = Path(config.file)
    if not config.file:
        return ""
    try:
        if path.exists():
            os.close(_open_log(path))
        elif not os.access(path.parent, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES) if path.parent.is_dir() else "no directory")
    except OSError as error:
        return f"log.file {config.file} cannot be written: {error.strerror}; logging to standard error only"
    return ""


def make_handlers(config: LogConfig) -> tuple[list[logging.Handler], str]:
    """Where the configuration sends the log, and what is wrong with its file, in words (empty: nothing)."""
    handlers = [_stderr_handler(config)]
    trouble = log_file_trouble(config)
    if config.file and not trouble:
        try:
            handlers.append(_file_handler(config))
        except OSError as error:
            trouble = f"log.file {config.file} cannot be written: {error.strerror}; logging to standard error only"
    return handlers, trouble


def setup_logging(config: LogConfig) -> LogWriter:
    """Send the process's log where the configuration says, from now on; a log file that cannot be opened is told."""
    handlers, trouble = make_handlers(config)
    writer = LogWriter(handlers)
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    root.addHandler(writer.entrance)
    root.setLevel(config.level.value)
    logging.captureWarnings(capture=True)
    atexit.register(writer.close)
    if trouble:
        logging.getLogger(__name__).warning(trouble)
    return writer
