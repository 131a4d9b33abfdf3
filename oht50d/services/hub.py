"""The hall: `Latest` conflates the newest value for readers, `Journal` keeps rows for the recorder, never blocking.

State: a `Latest` belongs to its one publisher; the `Journal` belongs to the recorder, everybody may call `record`.
Both live in the Trio thread only; neither does I/O.
"""

from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

import trio
from attrs import evolve, frozen

from oht50d.model.errors import InvariantViolation, StoreError
from oht50d.model.records import GapRow, Row, TelemetryRow
from oht50d.model.units import Duration

T = TypeVar("T")

_TELEMETRY = "telemetry"
_EVENTS = "events"
_MAX_LEDGER_LINES = 8


class Latest(Generic[T]):
    """One value, one version: a slow reader skips values and never queues, a publisher never waits.

    With `version_of` the version is the value's own (a snapshot's), which must ascend; without it `publish` counts.
    """

    def __init__(self, first: T, *, version_of: Callable[[T], int] | None = None) -> None:
        self._newest = first
        self._version_of = version_of
        self._version = version_of(first) if version_of else 0
        self._readers = trio.lowlevel.ParkingLot()

    @property
    def version(self) -> int:
        """The version of `current()`."""
        return self._version

    def current(self) -> T:
        """The newest value, at once."""
        return self._newest

    async def newer_than(self, version: int) -> T:
        """The newest value whose version is above `version`; always a checkpoint; a cancelled wait leaves nothing."""
        await trio.lowlevel.checkpoint()
        while self._version <= version:
            await self._readers.park()
        return self._newest

    def publish(self, newest: T) -> None:
        """Replace the value and wake every reader; raises InvariantViolation if its own version does not ascend."""
        version = self._version_of(newest) if self._version_of else self._version + 1
        if version <= self._version:
            raise InvariantViolation(f"version {version} published after {self._version}")
        self._newest, self._version = newest, version
        if self._readers:
            self._readers.unpark_all()


class Receipt:
    """Tells the one who recorded a row durably how that ended."""

    def __init__(self) -> None:
        self._settled = trio.Event()
        self._problem: str | None = None

    def settle(self, problem: str | None) -> None:
        """None means committed; the first verdict stands."""
        if not self._settled.is_set():
            self._problem = problem
            self._settled.set()

    async def wait(self) -> None:
        """Returns when the row is committed; raises StoreError when it was not."""
        await self._settled.wait()
        if self._problem is not None:
            raise StoreError(self._problem)


class _Entry(NamedTuple):
    order: int
    row: Row
    receipt: Receipt | None


@frozen
class Batch:
    """Rows in the order of their production, gaps first, with the receipts of those that somebody waits for."""

    rows: tuple[Row, ...]
    receipts: tuple[Receipt, ...] = ()

    def settle(self, problem: str | None) -> None:
        """Tell everybody who waits for a row of this batch."""
        for receipt in self.receipts:
            receipt.settle(problem)


class Journal:
    """Bounded rows between the producers and the recorder.

    Overflow drops the oldest telemetry; only when no telemetry is left, the oldest event. What was dropped becomes a
    `GapRow` dated by the first lost row, so that rows plus gap counts always equal what was produced.
    """

    def __init__(self, max_rows: int = 10_000) -> None:
        if max_rows < 1:
            raise InvariantViolation("a journal holds at least one row")
        self._max_rows = max_rows
        self._telemetry: deque[_Entry] = deque()
        self._events: deque[_Entry] = deque()
        self._ledger: dict[tuple[str, str], GapRow] = {}
        self._order = 0
        self._wanted = max_rows
        self._is_urgent = False
        self._wake = trio.Event()

    def __len__(self) -> int:
        """Rows held, without the gaps that are not yet taken."""
        return len(self._telemetry) + len(self._events)

    @property
    def is_empty(self) -> bool:
        """True when neither a row nor a gap waits to be taken."""
        return len(self) == 0 and not self._ledger

    def record(self, row: Row) -> None:
        """Keep `row`; never blocks, never raises; a gap is added to the ledger of losses."""
        self._keep(row, None)

    def record_with_receipt(self, row: Row) -> Receipt:
        """Keep `row`, wake the recorder at once, and return what tells its end."""
        receipt = Receipt()
        self._is_urgent = True
        self._keep(row, receipt)
        self._wake.set()
        return receipt

    def lose(self, batch: Batch, reason: str) -> None:
        """Turn the rows of a batch that could not be stored into gaps."""
        for row in batch.rows:
            self._lose(row, reason)
        batch.settle(reason)

    async def take_batch(self, max_rows: int, max_wait: Duration) -> Batch:
        """Up to `max_rows` rows once so many are there, one is urgent, or `max_wait` is over; may be empty.

        A cancelled call has taken nothing.
        """
        await trio.lowlevel.checkpoint()
        self._wanted = max_rows
        if not self._is_due:
            self._wake = trio.Event()
            with trio.move_on_after(max_wait.s):
                await self._wake.wait()
        return self.take_now(max_rows)

    def take_now(self, max_rows: int) -> Batch:
        """The same without waiting: for the flush at the end."""
        rows: list[Row] = []
        receipts: list[Receipt] = []
        while self._ledger and len(rows) < max_rows:
            rows.append(self._ledger.pop(next(iter(self._ledger))))
        while len(self) and len(rows) < max_rows:
            entry = self._oldest().popleft()
            rows.append(entry.row)
            if entry.receipt is not None:
                receipts.append(entry.receipt)
        self._is_urgent = self._is_urgent and len(self) > 0
        return Batch(tuple(rows), tuple(receipts))

    @property
    def _is_due(self) -> bool:
        return self._is_urgent or len(self) >= self._wanted

    def _oldest(self) -> deque[_Entry]:
        if not self._telemetry:
            return self._events
        if not self._events:
            return self._telemetry
        return self._telemetry if self._telemetry[0].order < self._events[0].order else self._events

    def _keep(self, row: Row, receipt: Receipt | None) -> None:
        if isinstance(row, GapRow):
            self._lose(row, row.reason)
            if receipt is not None:
                receipt.settle("a gap is not a row that can be waited for")
            return
        entry = _Entry(self._order, row, receipt)
        self._order += 1
        stream = self._telemetry if isinstance(row, TelemetryRow) else self._events
        if len(self) >= self._max_rows:
            # When only events are held, a telemetry row is dropped before it displaces any of them.
            if stream is self._telemetry and not self._telemetry:
                self._drop(entry)
                return
            self._drop((self._telemetry or self._events).popleft())
        stream.append(entry)
        if self._is_due:
            self._wake.set()

    def _drop(self, entry: _Entry) -> None:
        self._lose(entry.row, "journal full")
        if entry.receipt is not None:
            entry.receipt.settle("the journal is full")

    def _lose(self, row: Row, reason: str) -> None:
        if isinstance(row, GapRow):
            stream, count = row.stream, row.count
        else:
            stream, count = (_TELEMETRY if isinstance(row, TelemetryRow) else _EVENTS), 1
        line = (stream, reason)
        if line not in self._ledger and len(self._ledger) >= _MAX_LEDGER_LINES:
            line = ("any", "various")
        known = self._ledger.get(line)
        if known is None:
            self._ledger[line] = GapRow(row.utc, row.monotonic_ns, line[0], count, line[1])
        else:
            self._ledger[line] = evolve(known, count=known.count + count)
