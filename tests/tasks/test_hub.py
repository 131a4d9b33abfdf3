"""`Latest` conflates and never waits for readers; `Journal.take_batch` waits no longer than it must."""

import pytest
import trio
import trio.testing
from memory_samples import a_snapshot, a_telemetry_row, an_event_row

from oht50d.model.errors import InvariantViolation, StoreError
from oht50d.model.records import GapRow
from oht50d.model.units import Duration
from oht50d.services.hub import Journal, Latest

SECOND = Duration.parse("1s")


async def test_a_reader_gets_what_is_newer_and_skips_what_it_missed() -> None:
    latest = Latest("a")
    seen: list[tuple[int, str]] = []

    async def read() -> None:
        version = latest.version
        while len(seen) < 2:
            letter = await latest.newer_than(version)
            version = latest.version
            seen.append((version, letter))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        latest.publish("b")
        latest.publish("c")
        await trio.testing.wait_all_tasks_blocked()
        latest.publish("d")
    assert seen == [(2, "c"), (3, "d")]


async def test_every_waiting_reader_is_woken() -> None:
    latest = Latest(0)
    got: list[int] = []

    async def read() -> None:
        got.append(await latest.newer_than(0))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        latest.publish(7)
    assert got == [7] * 5


async def test_what_is_there_already_comes_at_once_but_lets_others_run() -> None:
    latest = Latest("a")
    latest.publish("b")
    with trio.testing.assert_checkpoints():
        assert await latest.newer_than(0) == "b"
    assert latest.current() == "b"


async def test_a_snapshot_brings_its_own_version() -> None:
    latest = Latest(a_snapshot(version=10), version_of=lambda snapshot: snapshot.version)
    latest.publish(a_snapshot(version=14))
    assert (await latest.newer_than(13)).version == latest.version == 14
    with pytest.raises(InvariantViolation):
        latest.publish(a_snapshot(version=14))
    assert latest.version == 14


async def test_a_cancelled_reader_leaves_nothing_behind(autojump_clock: trio.testing.MockClock) -> None:
    latest = Latest(0)
    with trio.move_on_after(1) as scope:
        await latest.newer_than(0)
    assert scope.cancelled_caught
    latest.publish(1)
    assert await latest.newer_than(0) == 1


async def test_a_full_batch_is_taken_at_once(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    for number in range(5):
        journal.record(a_telemetry_row(number))
    start = trio.current_time()
    batch = await journal.take_batch(3, SECOND)
    assert [row.monotonic_ns for row in batch.rows] == [a_telemetry_row(number).monotonic_ns for number in range(3)]
    assert trio.current_time() == start
    assert len(journal) == 2


async def test_a_part_of_a_batch_waits_its_time_and_no_longer(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    journal.record(a_telemetry_row())
    start = trio.current_time()
    batch = await journal.take_batch(3, SECOND)
    assert len(batch.rows) == 1
    assert trio.current_time() - start == pytest.approx(1.0)
    assert (await journal.take_batch(3, SECOND)).rows == ()


async def test_an_urgent_row_wakes_the_recorder(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    taken_s: list[float] = []

    async def take() -> None:
        batch = await journal.take_batch(100, SECOND)
        taken_s.append(trio.current_time())
        batch.settle(None)

    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.sleep(0.25)
        receipt = journal.record_with_receipt(an_event_row())
        await receipt.wait()
    assert taken_s[0] - start == pytest.approx(0.25)


async def test_a_batch_that_fills_while_waiting_is_taken(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            assert len((await journal.take_batch(2, SECOND)).rows) == 2
            assert trio.current_time() - start == pytest.approx(0.5)

        nursery.start_soon(take)
        await trio.sleep(0.5)
        journal.record(a_telemetry_row(1))
        journal.record(a_telemetry_row(2))


async def test_a_cancelled_take_has_taken_nothing(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    journal.record(a_telemetry_row())
    with trio.move_on_after(0.1):
        await journal.take_batch(5, SECOND)
    assert len(journal) == 1


async def test_a_durable_row_that_overflows_tells_its_owner() -> None:
    journal = Journal(1)
    receipt = journal.record_with_receipt(an_event_row(1))
    journal.record(an_event_row(2))
    with pytest.raises(StoreError, match="full"):
        await receipt.wait()


async def test_a_lost_batch_becomes_gaps_and_tells_its_owners() -> None:
    journal = Journal()
    receipt = journal.record_with_receipt(an_event_row(1))
    journal.record(a_telemetry_row(2))
    journal.lose(journal.take_now(10), "disk gone")
    with pytest.raises(StoreError, match="disk gone"):
        await receipt.wait()
    rows = journal.take_now(10).rows
    assert [(row.stream, row.count, row.reason) for row in rows if isinstance(row, GapRow)] == [
        ("events", 1, "disk gone"),
        ("telemetry", 1, "disk gone"),
    ]


async def test_a_gap_cannot_be_waited_for() -> None:
    with pytest.raises(StoreError):
        await Journal().record_with_receipt(GapRow("2024-05-01T12:00:00Z", 1, "events", 1, "x")).wait()


def test_a_journal_without_room_is_refused() -> None:
    with pytest.raises(InvariantViolation):
        Journal(0)
