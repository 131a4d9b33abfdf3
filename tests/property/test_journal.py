"""The journal never raises, never gives up an event for telemetry, and rows plus gaps equal what was produced."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from memory_samples import a_telemetry_row, an_event_row

from oht50d.model.records import EventRow, GapRow, Row, TelemetryRow
from oht50d.services.hub import Journal


class JournalMachine(RuleBasedStateMachine):
    """Producers, a recorder that takes and sometimes loses batches, and the sums that must hold."""

    @initialize(max_rows=st.integers(1, 12))
    def open(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self.journal = Journal(max_rows)
        self.produced = {"telemetry": 0, "events": 0}
        self.taken: list[Row] = []
        self.number = 0

    @rule(count=st.integers(1, 20))
    def sample(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.produced["telemetry"] += 1
            self.journal.record(a_telemetry_row(self.number))

    @rule(count=st.integers(1, 6), durable=st.booleans())
    def happen(self, count: int, durable: bool) -> None:
        for _ in range(count):
            self.number += 1
            self.produced["events"] += 1
            row = an_event_row(self.number)
            if durable:
                self.journal.record_with_receipt(row)
            else:
                self.journal.record(row)

    @rule(count=st.integers(1, 5), stream=st.sampled_from(["telemetry", "events"]), reason=st.text(max_size=3))
    def tell_a_gap(self, count: int, stream: str, reason: str) -> None:
        self.produced[stream] += count
        self.journal.record(GapRow("2024-05-01T12:00:00.000Z", self.number, stream, count, reason))

    @rule(max_rows=st.integers(1, 10))
    def take(self, max_rows: int) -> None:
        batch = self.journal.take_now(max_rows)
        assert len(batch.rows) <= max_rows
        self.taken.extend(batch.rows)

    @rule(max_rows=st.integers(1, 10))
    def take_and_lose(self, max_rows: int) -> None:
        self.journal.lose(self.journal.take_now(max_rows), "disk on fire")

    @invariant()
    def the_bound_holds(self) -> None:
        assert len(self.journal) <= self.max_rows

    @invariant()
    def order_of_production_is_kept(self) -> None:
        moments = [row.monotonic_ns for row in self.taken if not isinstance(row, GapRow)]
        assert moments == sorted(moments)

    def teardown(self) -> None:
        while not self.journal.is_empty:
            self.taken.extend(self.journal.take_now(7).rows)
        rows = sum(not isinstance(row, GapRow) for row in self.taken)
        gaps = sum(row.count for row in self.taken if isinstance(row, GapRow))
        assert rows + gaps == sum(self.produced.values())
        for stream, kind in (("telemetry", TelemetryRow), ("events", EventRow)):
            kept = sum(isinstance(row, kind) for row in self.taken)
            lost = sum(row.count for row in self.taken if isinstance(row, GapRow) and row.stream == stream)
            assert kept + lost <= self.produced[stream]


TestJournal = JournalMachine.TestCase


class EventsFirstMachine(RuleBasedStateMachine):
    """As long as the events alone fit, none is lost, whatever the telemetry does."""

    def __init__(self) -> None:
        super().__init__()
        self.journal = Journal(10)
        self.events = 0
        self.number = 0

    @rule(count=st.integers(1, 30))
    def sample(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.journal.record(a_telemetry_row(self.number))

    @rule()
    def happen(self) -> None:
        if self.events < 10:
            self.number += 1
            self.events += 1
            self.journal.record(an_event_row(self.number))

    def teardown(self) -> None:
        rows = self.journal.take_now(1000).rows
        assert sum(isinstance(row, EventRow) for row in rows) == self.events


TestEventsFirst = EventsFirstMachine.TestCase
