"""The recorder over a store of lists: what is kept, what a failing store does, what a shutdown leaves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from memory_samples import MS, START_NS, MemoryStore, a_snapshot, a_stop, a_telemetry_row, an_event_row

from oht50d.core.history import PurgeReport
from oht50d.model.errors import StoreError
from oht50d.model.motion import Cause, CauseCode, MachineState, StopPhase
from oht50d.model.records import EventRow, GapRow, Row, TelemetryRow
from oht50d.model.snapshot import Snapshot
from oht50d.services.hub import Journal, Latest
from oht50d.services.recorder import Recorder, RecorderConfig

UTC = "2024-05-01T12:00:00.000Z"


class PurgingStore(MemoryStore):
    """Also purges, slowly if told so, and can hang in a write for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.is_hanging = False
        self.purge_problem: str | None = None

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        if self.is_hanging:
            await trio.sleep_forever()
        await super().append(rows, batch=batch)

    async def purge(self) -> PurgeReport:
        await trio.lowlevel.checkpoint()
        if self.purge_problem is not None:
            raise StoreError(self.purge_problem)
        return PurgeReport(telemetry_squeezed=self.squeezed, size_bytes=4096)


class Bench:
    """A recorder with its journal, its store and the snapshots it sees."""

    def __init__(self, max_rows: int = 1000) -> None:
        self.store = PurgingStore()
        self.journal = Journal(max_rows)
        self.snapshots: Latest[Snapshot] = Latest(a_snapshot(), version_of=lambda snapshot: snapshot.version)
        self.recorder = Recorder(
            self.journal, self.store, self.snapshots, utc_now=lambda: UTC, config=RecorderConfig(batch_rows=50)
        )

    def publish(self, **changes: object) -> None:
        version = self.snapshots.version + 1
        self.snapshots.publish(a_snapshot(version=version, taken_ns=START_NS + version * 50 * MS, **changes))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.recorder.run)
            yield
            nursery.cancel_scope.cancel()


async def test_rows_reach_the_store_within_a_batch_wait(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.running():
        bench.recorder.record(an_event_row(1))
        await trio.sleep(1.1)
        assert sorted(bench.store.kinds()) == ["robot.started", "test.happened"]
        assert any(isinstance(row, TelemetryRow) for row in bench.store.rows)


async def test_a_durable_row_is_in_the_store_when_the_call_returns(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.running():
        start = trio.current_time()
        await bench.recorder.record_durably(an_event_row(1, "safety.reset"))
        assert "safety.reset" in bench.store.kinds()
        assert trio.current_time() - start < 0.01


async def test_a_durable_row_is_refused_when_the_store_fails(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.problem = "disk full"
    async with bench.running():
        with pytest.raises(StoreError, match="disk full"):
            await bench.recorder.record_durably(an_event_row(1))


async def test_a_durable_row_gives_up_after_a_second(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.is_hanging = True
    async with bench.running():
        start = trio.current_time()
        with pytest.raises(StoreError, match="1s"):
            await bench.recorder.record_durably(an_event_row(1))
        assert trio.current_time() - start == pytest.approx(1.0)


async def test_nobody_waits_for_ever_when_the_recorder_does_not_run(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    with pytest.raises(StoreError):
        await bench.recorder.record_durably(an_event_row(1))
    assert len(bench.journal) == 1


async def test_a_store_that_comes_back_gets_everything_and_one_warning(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.problem = "database is locked"
    async with bench.running():
        for number in range(120):
            bench.recorder.record(an_event_row(number))
            await trio.sleep(0.1)
        assert bench.recorder.problem == "database is locked"
        assert bench.recorder.failures > 5
        bench.store.problem = None
        await trio.sleep(5)
        assert bench.recorder.problem is None
    numbers = [
        row.details["number"] for row in bench.store.rows if isinstance(row, EventRow) and "number" in row.details
    ]
    assert numbers == list(range(120))
    assert bench.store.kinds().count("telemetry.performance.degraded") == 1


async def test_a_long_outage_becomes_a_gap_and_the_sum_holds(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench(max_rows=20)
    bench.store.problem = "disk full"
    async with bench.running():
        for number in range(500):
            bench.recorder.record(a_telemetry_row(number))
            await trio.sleep(0.02)
        bench.store.problem = None
        await trio.sleep(5)
    rows = bench.store.rows
    gaps = sum(row.count for row in rows if isinstance(row, GapRow) and row.stream == "telemetry")
    kept = sum(isinstance(row, TelemetryRow) for row in rows)
    assert gaps > 300
    assert kept + gaps == 500 + 1  # the recorder's own sample of the one snapshot


async def test_a_batch_cut_by_a_restart_is_written_once(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.is_hanging = True
    async with bench.running():
        bench.recorder.record(an_event_row(1))
        await trio.sleep(3)
    bench.store.is_hanging = False
    async with bench.running():
        await trio.sleep(3)
    assert bench.store.kinds().count("test.happened") == 1
    assert bench.store.kinds().count("robot.started") == 1


async def test_a_shutdown_flushes_within_its_bound(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    async with bench.running():
        for number in range(130):
            bench.recorder.record(an_event_row(number))
    assert bench.store.kinds().count("test.happened") == 130
    bench.recorder.record(an_event_row(131, "robot.stopped"))
    assert await bench.recorder.flush()
    assert bench.store.kinds()[-1] == "robot.stopped"


async def test_a_shutdown_does_not_wait_for_a_hanging_store(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.is_hanging = True
    async with bench.running():
        bench.recorder.record(an_event_row(1))
        await trio.sleep(2)
        start = trio.current_time()
    assert trio.current_time() - start == pytest.approx(2.0)


async def test_a_flush_gives_up_at_the_first_failure() -> None:
    bench = Bench()
    bench.store.problem = "disk full"
    bench.recorder.record(an_event_row(1))
    assert not await bench.recorder.flush()
    assert bench.store.calls == 1


async def test_snapshots_become_events_and_samples(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    cause = (Cause(CauseCode.OPERATOR_STOP, START_NS),)
    stop = a_stop(1, StopPhase.STANDSTILL, first_frame_ns=START_NS + 4 * MS, standstill_ns=START_NS + 380 * MS)
    async with bench.running():
        for _ in range(40):
            bench.publish(state=MachineState.MOVE, velocity_mm_s=200.0)
            await trio.sleep(0.05)
        bench.publish(state=MachineState.SAFE, is_latched=True, latched_causes=cause, last_stops=(stop,))
        await trio.sleep(1.5)
    assert bench.store.kinds() == [
        "robot.started", "robot.status.changed", "robot.status.changed", "safety.emergency.triggered",
        "robot.stop.finished",
    ]  # fmt: skip
    finished = next(row for row in bench.store.rows if isinstance(row, EventRow) and row.kind == "robot.stop.finished")
    assert (finished.details["first_frame_ms"], finished.details["standstill_ms"]) == (4.0, 380.0)
    moving = [row for row in bench.store.rows if isinstance(row, TelemetryRow) and row.values["state"] == "MOVE"]
    assert 9 <= len(moving) <= 11


async def test_a_full_memory_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.squeezed = 10
    async with bench.running():
        await trio.sleep(200)
        bench.store.squeezed = 0
        await trio.sleep(70)
        bench.store.squeezed = 10
        await trio.sleep(70)
    assert bench.store.kinds().count("telemetry.storage.full") == 2


async def test_a_purge_that_fails_is_noted_and_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    bench = Bench()
    bench.store.purge_problem = "locked"
    async with bench.running():
        await trio.sleep(61)
        assert bench.recorder.problem == "locked"
        bench.store.purge_problem = None
        bench.recorder.record(an_event_row(1))
        await trio.sleep(60 + 2)
        assert bench.recorder.problem is None
