"""The recorder: drains the journal into the store, samples the snapshots, derives events, purges.

State: owns the consuming side of the `Journal`, the batch in flight and the sampler; the store has its own owner.
A failing store never reaches a producer: the batch in flight is kept and tried again at a fixed pace, the journal
overflows into gaps, and one folded warning is written when the store is back.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio
from attrs import frozen

from oht50d.clock import now_ns
from oht50d.core.history import PurgeReport, TelemetrySampler
from oht50d.core.history_events import TransitionWatcher
from oht50d.model.errors import StoreError
from oht50d.model.records import EventRow, Row, Severity
from oht50d.model.snapshot import Snapshot
from oht50d.model.units import Duration
from oht50d.services.hub import Batch, Journal
from oht50d.services.ports import SnapshotSource

_ONE_SECOND = Duration.parse("1s")
_PURGE_EVERY = Duration.parse("60s")
_FLUSH_WAIT = Duration.parse("2s")

_log = logging.getLogger(__name__)


class SpoolStore(Protocol):
    """The store as the recorder sees it; both raise StoreError and take a bounded time."""

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        """Commit all rows or none; a `batch` number that was committed before in this boot is not written twice."""
        ...

    async def purge(self) -> PurgeReport:
        """Remove a bounded number of rows that are too old or too many."""
        ...


@frozen(kw_only=True)
class RecorderConfig:
    """Pace and bounds; `batch_rows` and `batch_wait` are the spool's."""

    batch_rows: int = 200
    batch_wait: Duration = _ONE_SECOND
    durable_wait: Duration = _ONE_SECOND
    retry_pace: Duration = _ONE_SECOND
    purge_every: Duration = _PURGE_EVERY
    flush_wait: Duration = _FLUSH_WAIT


class Recorder:
    """Implements `ports.RecordSink`; `run` is its task and may be restarted: nothing in flight is lost by that."""

    def __init__(
        self,
        journal: Journal,
        store: SpoolStore,
        snapshots: SnapshotSource,
        *,
        utc_now: Callable[[], str],
        config: RecorderConfig | None = None,
    ) -> None:
        self._journal = journal
        self._store = store
        self._snapshots = snapshots
        self._utc_now = utc_now
        self._config = config or RecorderConfig()
        self._sampler = TelemetrySampler()
        self._watcher = TransitionWatcher()
        self._in_flight: Batch | None = None
        self._batch_number = 0
        self._is_squeezed = False
        self.failures = 0
        self.problem: str | None = None

    def record(self, row: Row) -> None:
        """Never blocks and never raises; what cannot be kept becomes a gap."""
        self._journal.record(row)

    async def record_durably(self, row: Row) -> None:
        """Returns when the row is committed; raises StoreError if that fails or takes over `durable_wait`.

        After an error or a cancellation the row stays in the journal and may still be written later.
        """
        receipt = self._journal.record_with_receipt(row)
        with trio.move_on_after(self._config.durable_wait.s):
            await receipt.wait()
            return
        raise StoreError(f"not committed within {self._config.durable_wait}")

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Record until cancelled, then flush within `flush_wait`."""
        first = self._snapshots.current()
        self._observe(first)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch, first.version)
                nursery.start_soon(self._purge)
                task_status.started()
        finally:
            with trio.move_on_after(self._config.flush_wait.s, shield=True):
                await self.flush()

    async def flush(self) -> bool:
        """Write what is held; True when nothing is left. The house calls it again after the last stop is recorded.

        Gives up at the first failure; the caller bounds the time. What stays behind is logged with its count.
        """
        try:
            while self._load() and await self._commit():
                pass
        finally:
            left = len(self._journal) + (len(self._in_flight.rows) if self._in_flight else 0)
            if left:
                _log.warning("%d rows could not be flushed: %s", left, self.problem or "out of time")
        return left == 0

    async def _write(self) -> None:
        while True:
            if self._in_flight is None:
                self._start(await self._journal.take_batch(self._config.batch_rows, self._config.batch_wait))
            elif not await self._commit():
                await trio.sleep(self._config.retry_pace.s)

    def _load(self) -> bool:
        if self._in_flight is None:
            self._start(self._journal.take_now(self._config.batch_rows))
        return self._in_flight is not None

    def _start(self, batch: Batch) -> None:
        if batch.rows:
            self._in_flight = batch
            self._batch_number += 1

    async def _commit(self) -> bool:
        """Write the batch in flight; a cancelled or failed try is repeated under the same number."""
        assert self._in_flight is not None
        try:
            await self._store.append(self._in_flight.rows, batch=self._batch_number)
        except StoreError as problem:
            self._in_flight.settle(str(problem))
            self._note_failure(problem)
            return False
        self._in_flight.settle(None)
        self._in_flight = None
        self._note_success()
        return True

    def _note_failure(self, problem: StoreError) -> None:
        if self.problem is None:
            _log.warning("The memory cannot be written: %s", problem)
        self.failures += 1
        self.problem = str(problem)

    def _note_success(self) -> None:
        if self.problem is None:
            return
        message = f"The memory could not be written {self.failures} times: {self.problem}"
        self._tell("telemetry.performance.degraded", message, failures=self.failures, problem=self.problem)
        _log.warning("%s; it can again", message)
        self.failures, self.problem = 0, None

    async def _watch(self, version: int) -> None:
        while True:
            snapshot = await self._snapshots.newer_than(version)
            version = snapshot.version
            self._observe(snapshot)

    def _observe(self, snapshot: Snapshot) -> None:
        for event in self._watcher.observe(snapshot):
            self._journal.record(event)
        sample = self._sampler.sample(snapshot)
        if sample is not None:
            self._journal.record(sample)

    async def _purge(self) -> None:
        while True:
            await trio.sleep(self._config.purge_every.s)
            try:
                report = await self._store.purge()
            except StoreError as problem:
                self._note_failure(problem)
                continue
            if report.is_squeezed and not self._is_squeezed:
                message = "The memory is full: the oldest rows are removed before their time"
                self._tell("telemetry.storage.full", message, size_bytes=report.size_bytes)
            self._is_squeezed = report.is_squeezed

    def _tell(self, kind: str, message: str, **details: object) -> None:
        row = EventRow(self._utc_now(), now_ns(), kind, Severity.WARNING, message, details=details)
        self._journal.record(row)
