"""The spool: the daemon's own memory on SQLite, behind one thread at a time with every call bounded in time.

State: owns the `SpoolFile` and the limiter through which alone it is reached. Implements `services.ports.HistoryReader`
and the recorder's `SpoolStore`. A call that takes too long is interrupted and reported as StoreError; the thread then
ends it in the background and the limiter keeps the next call out until it has.
"""

import enum
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import trio
from attrs import field, frozen, validators

from oht50d.clock import now_ns
from oht50d.core.history import MAX_EVENT_ROWS, MAX_HISTORY_ROWS, PurgeReport, bounded_rows, thinning_step_ms
from oht50d.drivers.spool_file import SpoolFile
from oht50d.drivers.wall_clock import parse_utc_ms, utc_now_ms
from oht50d.model.errors import StoreError
from oht50d.model.records import Row
from oht50d.model.units import Duration, at_most, between, matching

R = TypeVar("R")

_MAX_WAITING_CALLS = 16
_OPEN_WAIT = Duration.parse("2s")
_CHECK_WAIT = Duration.parse("1s")
_READ_WAIT = Duration.parse("500ms")
_WRITE_WAIT = Duration.parse("5s")
_CLOSE_WAIT = Duration.parse("2s")
_PURGED_ROWS = 2_000
_TELEMETRY_KEEP = Duration.parse("30d")
_EVENTS_KEEP = Duration.parse("365d")
_SHORTEST_KEEP = Duration.parse("1s")
_LONGEST_KEEP = Duration.parse("36500d")
_BATCH_WAIT = Duration.parse("1s")
_BUSY_WAIT = Duration.parse("250ms")
_EVENT_COLUMNS = (
    "seq", "boot_id", "utc", "kind", "severity", "message", "actor", "details", "acknowledged_utc", "acknowledged_by",
)  # fmt: skip


class Synchronous(enum.Enum):
    """How firmly a batch with events is put on the medium (SQLite, PRAGMA synchronous)."""

    NORMAL = "NORMAL"
    FULL = "FULL"
    EXTRA = "EXTRA"


@frozen(kw_only=True)
class SpoolConfig:
    """The file and its bounds. `synchronous` holds for batches with events; telemetry alone is written NORMAL."""

    path: str = field(default="/var/lib/oht50d/spool.db", validator=matching(r"[^\0]*[^\0/]", "the path of a file"))
    max_bytes: int = field(default=512 * 2**20, validator=[validators.ge(2**20), validators.le(2**40)])
    telemetry_keep: Duration = field(default=_TELEMETRY_KEEP, validator=between(_SHORTEST_KEEP, _LONGEST_KEEP))
    events_keep: Duration = field(default=_EVENTS_KEEP, validator=between(_SHORTEST_KEEP, _LONGEST_KEEP))
    batch_rows: int = field(default=200, validator=[validators.ge(1), validators.le(5_000)])
    batch_wait: Duration = field(default=_BATCH_WAIT, validator=at_most(Duration.parse("10s")))
    busy_wait: Duration = field(default=_BUSY_WAIT, validator=validators.le(Duration.parse("2s")))
    synchronous: Synchronous = Synchronous.FULL


class Spool:
    """An open spool; made by `open_spool`, closed by `close`."""

    def __init__(self, config: SpoolConfig, file: SpoolFile) -> None:
        self._config = config
        self._file = file
        self._limiter = trio.CapacityLimiter(1)
        self._running: object | None = None
        self._is_closed = False
        self.errors = 0
        self.size_bytes = 0

    @property
    def was_clean(self) -> bool:
        """False if the run before this one ended without closing the file."""
        return self._file.was_clean

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        """Commit all rows or none; events are durable when it returns. Raises StoreError.

        A cancelled or timed-out call may still commit; repeating it with the same `batch` cannot write it twice.
        """

        def job() -> int:
            self._file.append(rows, batch)
            return self._file.size_bytes()

        self.size_bytes = await self._call(job, _WRITE_WAIT)

    async def telemetry(
        self, *, start_utc: str | None, end_utc: str | None, interval_s: float, limit: int
    ) -> Sequence[Mapping[str, object]]:
        """Rows ascending by time, one per interval, at most 10,000; no `start_utc` means the newest. StoreError."""
        start_ms, end_ms = _moment(start_utc), _moment(end_utc)
        step_ms, most = thinning_step_ms(interval_s), bounded_rows(limit, MAX_HISTORY_ROWS)

        def job() -> Sequence[Mapping[str, object]]:
            found = self._file.telemetry(start_ms, end_ms, step_ms, most)
            return [
                {"utc": utc, "boot_id": boot_id, "seq": seq, "values": json.loads(values_json)}
                for utc, boot_id, seq, values_json in found
            ]

        return await self._call(job, _READ_WAIT)

    async def events(self, *, limit: int, before_seq: int | None = None) -> Sequence[Mapping[str, object]]:
        """Events descending by seq, at most 1,000. Raises StoreError."""

        def job() -> Sequence[Mapping[str, object]]:
            found = self._file.events(bounded_rows(limit, MAX_EVENT_ROWS), before_seq)
            rows = (dict(zip(_EVENT_COLUMNS, columns, strict=True)) for columns in found)
            return [row | {"details": json.loads(str(row["details"]))} for row in rows]

        return await self._call(job, _READ_WAIT)

    async def acknowledge(self, seq: int, actor: str) -> bool:
        """Note who acknowledged an event; False when there is none or it was done before. Raises StoreError."""
        return await self._call(lambda: self._file.acknowledge(seq, actor), _WRITE_WAIT)

    async def purge(self) -> PurgeReport:
        """Remove a bounded number of rows that are past their time or past the size. Raises StoreError."""
        now_ms = utc_now_ms()
        telemetry_before_ms = now_ms - round(self._config.telemetry_keep.ms)
        events_before_ms = now_ms - round(self._config.events_keep.ms)
        report = await self._call(
            lambda: self._file.purge(telemetry_before_ms, events_before_ms, _PURGED_ROWS), _WRITE_WAIT
        )
        self.size_bytes = report.size_bytes
        return report

    async def close(self) -> None:
        """Checkpoint and close within 2 s even when cancelled; later calls raise StoreError; idempotent."""
        if self._is_closed:
            return
        try:
            with trio.CancelScope(shield=True):
                await self._call(self._file.close, _CLOSE_WAIT)
        except StoreError:
            self.errors += 1
        finally:
            self._is_closed = True

    async def check(self) -> None:
        """Check a file that was not closed properly, for one second at most; what is not found then is found in use."""
        opened_ns = now_ns()
        try:
            await self._call(lambda: self._file.check(opened_ns), _CHECK_WAIT)
        except StoreError:
            self.errors += 1

    async def _call(self, job: Callable[[], R], wait: Duration) -> R:
        if self._is_closed:
            raise StoreError("the memory is closed")
        if self._limiter.statistics().tasks_waiting >= _MAX_WAITING_CALLS:
            self.errors += 1
            raise StoreError("the memory is busy")
        mark = object()
        try:
            with trio.move_on_after(wait.s):
                return await trio.to_thread.run_sync(
                    self._in_thread, job, mark, limiter=self._limiter, abandon_on_cancel=True
                )
        except (sqlite3.Error, OSError, json.JSONDecodeError) as problem:
            self.errors += 1
            raise StoreError(f"{self._file.path}: {problem}") from problem
        self.errors += 1
        if self._running is mark:
            self._file.interrupt()
        raise StoreError(f"{self._file.path}: no end within {wait}")

    def _in_thread(self, job: Callable[[], R], mark: object) -> R:
        self._running = mark
        try:
            return job()
        finally:
            self._running = None


async def open_spool(config: SpoolConfig, robot_id: str, boot_id: str) -> Spool:
    """Open, create or replace the file within a bounded time; raises StoreError when there can be no memory."""
    file = SpoolFile(
        path=Path(config.path),
        robot_id=robot_id,
        boot_id=boot_id,
        max_bytes=config.max_bytes,
        synchronous=config.synchronous.value,
        busy_wait_s=config.busy_wait.s,
    )
    spool = Spool(config, file)
    opened_ns = now_ns()
    await spool._call(lambda: file.open(opened_ns), _OPEN_WAIT)
    await spool.check()
    return spool


def _moment(utc: str | None) -> int | None:
    if utc is None:
        return None
    try:
        return parse_utc_ms(utc)
    except ValueError as problem:
        raise StoreError(f"{utc!r} is no RFC 3339 time") from problem
