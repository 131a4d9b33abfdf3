"""The SQLite file of the spool, synchronous: opened, checked, written, read, purged and moved aside when it is corrupt.

State: owns the one connection; `Spool` calls it from one thread at a time. Sources: SQLite's documentation, pages
"Write-Ahead Logging", "PRAGMA Statements" (auto_vacuum, max_page_count, quick_check, synchronous) and "Result Codes".
"""

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from attrs import define, field

from oht50d.core.history import PurgeReport
from oht50d.drivers import spool_rows as sql
from oht50d.drivers.wall_clock import utc_now, utc_now_ms
from oht50d.model.errors import StoreError
from oht50d.model.records import EventRow, GapRow, Row, Severity, TelemetryRow

_KEPT_CORRUPT_FILES = 3
_CORRUPT_CODES = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_LOG_INDEX_BYTES = 65_536
_SQUEEZED_ROWS = 50
_MOST_SQUEEZED_ROWS = 5_000
_SIDE_FILES = ("", "-wal", "-shm")


class CorruptStore(sqlite3.DatabaseError):
    """The quick check found damage."""


def is_corruption(problem: sqlite3.Error) -> bool:
    """True when the file itself is damaged, so that trying again cannot help."""
    return isinstance(problem, CorruptStore) or _primary_code(problem) in _CORRUPT_CODES


def _primary_code(problem: sqlite3.Error) -> int:
    return getattr(problem, "sqlite_errorcode", 0) & 0xFF


@define(kw_only=True)
class SpoolFile:
    """One open file; every method may raise sqlite3.Error and leaves no transaction open."""

    path: Path
    robot_id: str
    boot_id: str
    max_bytes: int
    synchronous: str
    busy_wait_s: float
    connection: sqlite3.Connection = field(init=False)
    was_clean: bool = field(init=False, default=True)
    """False if the last run did not close the file: killed, or without power."""
    squeezed: dict[str, int] = field(init=False, factory=lambda: {"telemetry": 0, "events": 0})

    def open(self, monotonic_ns: int) -> None:
        """Open or create; a file that is no database is moved aside and an event in the new one says so."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._connect()
        except sqlite3.DatabaseError as problem:
            if not is_corruption(problem):
                raise
            self.replace(problem, monotonic_ns)

    def check(self, monotonic_ns: int) -> None:
        """Check the file if it was not closed properly; may be interrupted; replaces it when it is damaged."""
        try:
            self.was_clean = self._meta("is_clean") == "1"
            if self.was_clean:
                self._write_meta("is_clean", "0")
                return
            verdict = self.connection.execute("PRAGMA quick_check(1)").fetchone()
            if verdict is None or verdict[0] != "ok":
                raise CorruptStore(str(verdict[0]) if verdict else "no verdict")
        except sqlite3.DatabaseError as problem:
            if not is_corruption(problem):
                raise
            self.replace(problem, monotonic_ns)

    def replace(self, problem: sqlite3.Error, monotonic_ns: int) -> None:
        """Move the damaged file aside, start a new one and record that."""
        with suppress(AttributeError, sqlite3.Error):  # never connected, or too damaged to close
            self.connection.close()
        kept = self._set_aside()
        self._connect(first_seq=utc_now_ms())
        self._write_meta("is_clean", "0")
        message = f"The memory was damaged ({problem}); it is kept as {kept.name} and a new one was started"
        details = {"file": str(kept), "problem": str(problem)}
        self.append([EventRow(utc_now(), monotonic_ns, "store.replaced", Severity.ERROR, message, details=details)])

    def append(self, rows: Sequence[Row], batch: int | None = None) -> None:
        """Commit all rows or none; events and gaps are on the medium when it returns."""
        try:
            self._append(rows, batch)
        except sqlite3.DatabaseError as problem:
            if is_corruption(problem):
                self.replace(problem, rows[0].monotonic_ns if rows else 0)
            elif _primary_code(problem) == sqlite3.SQLITE_FULL:
                self._squeeze(2 * len(rows))
            else:
                raise
            self._append(rows, batch)

    def telemetry(
        self, start_ms: int | None, end_ms: int | None, step_ms: int, limit: int
    ) -> Sequence[tuple[str, str, int, str]]:
        """(utc, boot_id, seq, values_json) ascending, one row of each bucket; without a start, the newest rows."""
        bounds = {"start": start_ms, "end": 2**62 if end_ms is None else end_ms, "step": step_ms, "limit": limit}
        statement = sql.SELECT_TELEMETRY_BACKWARD if start_ms is None else sql.SELECT_TELEMETRY_FORWARD
        return self.connection.execute(statement, bounds).fetchall()

    def events(self, limit: int, before_seq: int | None) -> Sequence[tuple[str | int | None, ...]]:
        """The columns of `SELECT_EVENTS`, newest first."""
        return self.connection.execute(sql.SELECT_EVENTS, {"before": before_seq, "limit": limit}).fetchall()

    def acknowledge(self, seq: int, actor: str) -> bool:
        """True when the event was there and not acknowledged before."""
        self.connection.execute(f"PRAGMA synchronous = {self.synchronous}")
        noted = {"utc": utc_now(), "actor": actor, "seq": seq}
        return self.connection.execute(sql.ACKNOWLEDGE_EVENT, noted).rowcount == 1

    def purge(self, telemetry_before_ms: int, events_before_ms: int, rows: int) -> PurgeReport:
        """Delete at most `rows` of each table by age, and as many again when nine tenths of the size are used."""
        before = {"telemetry": telemetry_before_ms, "events": events_before_ms, "gaps": events_before_ms}
        aged: dict[str, int] = {}
        for table, statement in sql.DELETE_AGED.items():
            aged[table] = self.connection.execute(statement, {"rows": rows, "before": before[table]}).rowcount
        if self._used_bytes() > self._page_budget() * self._pragma("page_size") * 9 // 10:
            self._squeeze(_SQUEEZED_ROWS)
        self.connection.execute(f"PRAGMA incremental_vacuum({int(rows)})").fetchall()
        squeezed, self.squeezed = self.squeezed, {"telemetry": 0, "events": 0}
        return PurgeReport(
            telemetry_aged=aged["telemetry"],
            telemetry_squeezed=squeezed["telemetry"],
            events_aged=aged["events"],
            events_squeezed=squeezed["events"],
            size_bytes=self.size_bytes(),
        )

    def interrupt(self) -> None:
        """End a running statement early; safe from another thread and when nothing runs."""
        with suppress(AttributeError, sqlite3.Error):  # not yet connected, or closed meanwhile
            self.connection.interrupt()

    def size_bytes(self) -> int:
        """Bytes on the medium, the log included."""
        return sum(_size(self._beside(suffix)) for suffix in _SIDE_FILES)

    def close(self) -> None:
        """Note the proper end, fold the log into the file, close."""
        try:
            with suppress(sqlite3.Error):  # a full disk must not keep the file open
                self._write_meta("is_clean", "1")
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            self.connection.close()

    def _connect(self, first_seq: int | None = None) -> None:
        self.path.touch(mode=0o640)
        self.connection = sqlite3.connect(
            self.path, timeout=self.busy_wait_s, isolation_level=None, check_same_thread=False
        )
        for pragma in self._pragmas():
            self.connection.execute(f"PRAGMA {pragma}").fetchall()
        self.connection.executescript(sql.SCHEMA)
        version = self._meta("schema_version")
        if version is None:
            self._write_meta("schema_version", sql.SCHEMA_VERSION)
            self._write_meta("is_clean", "1")
        elif version != sql.SCHEMA_VERSION:
            self.connection.close()
            raise StoreError(f"{self.path} has schema {version}; this program reads {sql.SCHEMA_VERSION}")
        if first_seq is not None:
            # Later than any number the damaged file gave out, so that (robot_id, boot_id, seq) stays a key.
            for name in ("telemetry", "events", "gaps"):
                self.connection.execute(sql.START_SEQUENCE, {"name": name, "seq": first_seq})

    def _pragmas(self) -> tuple[str, ...]:
        log_bytes = self._log_budget()
        return (
            "auto_vacuum = INCREMENTAL",  # before the first table, or it has no effect
            "journal_mode = WAL",
            f"journal_size_limit = {log_bytes}",
            f"wal_autocheckpoint = {max(16, log_bytes // 2 // 4096)}",
            f"max_page_count = {self._page_budget()}",
            f"synchronous = {self.synchronous}",
            "temp_store = MEMORY",
            "cache_size = -2000",
        )

    def _log_budget(self) -> int:
        return min(8 * 2**20, self.max_bytes // 4)

    def _page_budget(self) -> int:
        """Pages that are left for the file beside its log and the log's index."""
        return max(64, (self.max_bytes - self._log_budget() - _LOG_INDEX_BYTES) // 4096)

    def _append(self, rows: Sequence[Row], batch: int | None) -> None:
        encoded: dict[type, list[sql.Parameters]] = {TelemetryRow: [], EventRow: [], GapRow: []}
        for row in rows:
            encoded[type(row)].append(sql.encode_row(row, self.robot_id, self.boot_id))
        is_durable = bool(encoded[EventRow] or encoded[GapRow])
        self.connection.execute(f"PRAGMA synchronous = {self.synchronous if is_durable else 'NORMAL'}")
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            if batch is None or self._is_new(batch):
                self.connection.executemany(sql.INSERT_TELEMETRY, encoded[TelemetryRow])
                self.connection.executemany(sql.INSERT_EVENT, encoded[EventRow])
                self.connection.executemany(sql.INSERT_GAP, encoded[GapRow])
            self.connection.execute("COMMIT")
        finally:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")

    def _is_new(self, batch: int) -> bool:
        """Note the batch; False when this boot committed it before (its caller did not live to see that)."""
        last = (self._meta("last_batch") or "").rpartition(":")
        if last[0] == self.boot_id and int(last[2]) >= batch:
            return False
        self._write_meta("last_batch", f"{self.boot_id}:{batch}")
        return True

    def _squeeze(self, least: int) -> None:
        """Remove a twentieth of the oldest telemetry, `least` rows at least; events only when no telemetry is left."""
        for table, statement in sql.DELETE_OLDEST.items():
            first, last = self.connection.execute(sql.SEQUENCE_SPAN[table]).fetchone()
            rows = max(least, min((last - first) // 20, _MOST_SQUEEZED_ROWS))
            removed = self.connection.execute(statement, {"rows": rows}).rowcount
            self.squeezed[table] += removed
            if removed:
                return

    def _used_bytes(self) -> int:
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._pragma("page_size")

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _meta(self, key: str) -> str | None:
        found = self.connection.execute(sql.READ_META, {"key": key}).fetchone()
        return None if found is None else str(found[0])

    def _write_meta(self, key: str, content: str) -> None:
        self.connection.execute(sql.WRITE_META, {"key": key, "content": content})

    def _set_aside(self) -> Path:
        stamp = utc_now().replace(":", "").replace("-", "").replace(".", "")
        kept = self.path.with_name(f"{self.path.name}.corrupt-{stamp}")
        for suffix in _SIDE_FILES:
            if self._beside(suffix).exists():
                self._beside(suffix).rename(f"{kept}{suffix}")
        prior = sorted(
            path
            for path in self.path.parent.glob(f"{self.path.name}.corrupt-*")
            if not path.name.endswith(("-wal", "-shm"))
        )
        for path in prior[:-_KEPT_CORRUPT_FILES]:
            for suffix in _SIDE_FILES:
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        return kept

    def _beside(self, suffix: str) -> Path:
        return Path(f"{self.path}{suffix}")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
