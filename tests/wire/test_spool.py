"""The spool on real SQLite files: durable through kill -9, salvaged from damage, bounded in bytes, bounded in time."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from memory_samples import a_telemetry_row, an_event_row, utc_at

from oht50d.drivers.spool import Spool, SpoolConfig, open_spool
from oht50d.model.errors import StoreError
from oht50d.model.records import GapRow, TelemetryRow
from oht50d.model.units import Duration

KILLS = 20
CENTURY = Duration.parse("36500d")
ROOT = Path(__file__).resolve().parents[2]

# Appends one event after the other and tells each number only after the commit was acknowledged.
WRITER = """
import sys, trio
from oht50d.drivers.spool import SpoolConfig, open_spool
from oht50d.model.records import EventRow, Severity, TelemetryRow
NOON = "2024-05-01T12:00:00.000Z"
async def main(path, boot, first):
    spool = await open_spool(SpoolConfig(path=path), "robot", boot)
    number = first
    while True:
        row = EventRow(NOON, number, "test.killed", Severity.INFO, "m", details={"number": number})
        await spool.append([row, TelemetryRow(row.utc, number, {"number": number})], batch=number)
        sys.stdout.write(f"{number}\\n"); sys.stdout.flush()
        number += 1
trio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


@asynccontextmanager
async def opened(path: Path, boot_id: str = "boot-a", **settings: object) -> AsyncIterator[Spool]:
    spool = await open_spool(SpoolConfig(path=str(path), **settings), "OHT-50-001", boot_id)  # type: ignore[arg-type]  # settings vary by test
    try:
        yield spool
    finally:
        with trio.move_on_after(10, shield=True):
            await spool.close()


def rows_of(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


async def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    gap = GapRow(utc_at(a_telemetry_row(0).monotonic_ns), 5, "telemetry", 17, "journal full")
    async with opened(path) as spool:
        await spool.append([a_telemetry_row(0), an_event_row(1), gap, a_telemetry_row(10)])
        history = await spool.telemetry(start_utc=None, end_utc=None, interval_s=0, limit=100)
        events = await spool.events(limit=10)
    assert [row["values"] for row in history] == [{"number": 0, "state": "IDLE"}, {"number": 10, "state": "IDLE"}]
    assert history[1]["utc"] == "2024-05-01T12:00:01.000Z"
    assert history[1]["boot_id"] == "boot-a"
    assert events[0]["details"] == {"number": 1}
    assert events[0]["acknowledged_by"] is None
    assert rows_of(path, "SELECT robot_id, stream, count, reason FROM gaps") == [
        ("OHT-50-001", "telemetry", 17, "journal full")
    ]


async def test_a_history_is_thinned_to_one_row_an_interval(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool.db") as spool:
        await spool.append([a_telemetry_row(number) for number in range(600)])  # one minute, ten a second
        start = "2024-05-01T12:00:10.000Z"
        forward = await spool.telemetry(start_utc=start, end_utc="2024-05-01T12:00:19.999Z", interval_s=1, limit=100)
        assert [row["values"]["number"] for row in forward] == list(range(100, 200, 10))  # type: ignore[index]  # a mapping
        first_three = await spool.telemetry(start_utc=start, end_utc=None, interval_s=5, limit=3)
        assert [row["values"]["number"] for row in first_three] == [100, 150, 200]  # type: ignore[index]  # a mapping
        newest = await spool.telemetry(start_utc=None, end_utc=None, interval_s=10, limit=3)
        assert [row["values"]["number"] for row in newest] == [399, 499, 599]  # type: ignore[index]  # a mapping
        assert await spool.telemetry(start_utc="2030-01-01T00:00:00Z", end_utc=None, interval_s=1, limit=9) == []
        with pytest.raises(StoreError, match="RFC 3339"):
            await spool.telemetry(start_utc="yesterday", end_utc=None, interval_s=1, limit=9)


async def test_events_are_paged_and_acknowledged_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool.db") as spool:
        await spool.append([an_event_row(number) for number in range(30)])
        newest = await spool.events(limit=5)
        assert [event["seq"] for event in newest] == [30, 29, 28, 27, 26]
        assert [event["seq"] for event in await spool.events(limit=2, before_seq=26)] == [25, 24]
        assert await spool.acknowledge(30, "uid:1000")
        assert not await spool.acknowledge(30, "uid:1001")
        assert not await spool.acknowledge(999, "uid:1000")
        assert (await spool.events(limit=1))[0]["acknowledged_by"] == "uid:1000"


async def test_a_repeated_batch_is_written_once_in_a_boot(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    for boot_id in ("boot-a", "boot-b"):
        async with opened(path, boot_id) as spool:
            await spool.append([an_event_row(1)], batch=1)
            await spool.append([an_event_row(1)], batch=1)
            await spool.append([an_event_row(2)], batch=2)
    assert rows_of(path, "SELECT boot_id, count(*) FROM events GROUP BY boot_id ORDER BY boot_id") == [
        ("boot-a", 2),
        ("boot-b", 2),
    ]


def damage_leaves(path: Path, content: bytes) -> None:
    """Overwrite every page but the header, the page map and the roots of the tables."""
    spared = {1, 2, *(int(str(page)) for (page,) in rows_of(path, "SELECT rootpage FROM sqlite_master"))}
    pages = [content[start : start + 4096] for start in range(0, len(content), 4096)]
    path.write_bytes(b"".join(page if n in spared else os.urandom(4096) for n, page in enumerate(pages, start=1)))


def test_kill_9_loses_no_acknowledged_row(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    acknowledged: list[int] = []
    chance = random.Random(50)
    for kill in range(KILLS):
        first = acknowledged[-1] + 2 if acknowledged else 1  # one may be committed and not yet told
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), f"boot-{kill}", str(first)],
            stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        told = [int(process.stdout.readline())]
        time.sleep(chance.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        told += [int(line) for line in process.stdout.read().split(b"\n")[:-1] if line]
        process.stdout.close()
        assert process.wait(timeout=30) == -signal.SIGKILL
        acknowledged += told
    assert len(acknowledged) >= KILLS
    for query in ("SELECT monotonic_ns FROM events", "SELECT monotonic_ns FROM telemetry"):
        kept = {number for (number,) in rows_of(path, query)}
        assert set(acknowledged) <= kept
        assert len(kept - set(acknowledged)) <= KILLS
    assert rows_of(path, "PRAGMA integrity_check") == [("ok",)]
    assert not list(tmp_path.glob("*.corrupt-*"))


async def test_a_killed_run_is_known_to_the_next_one_only(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as first:
        assert first.was_clean
    command = [sys.executable, "-c", WRITER, str(path), "boot-b", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.kill()
    async with opened(path) as after:
        assert not after.was_clean
    async with opened(path) as last:
        assert last.was_clean


@pytest.mark.parametrize("damage", ["no database", "torn page", "torn leaf", "cut in half"])
async def test_a_damaged_file_is_kept_aside_and_told(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as spool:
        await spool.append([an_event_row(number) for number in range(500)])
        last_seq = (await spool.events(limit=1))[0]["seq"]
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE meta SET content = '0' WHERE key = 'is_clean'")
    connection.close()
    before = path.read_bytes()
    match damage:
        case "no database":
            path.write_bytes(b"this is no database" * 1000)
        case "torn page":
            path.write_bytes(before[:8192] + os.urandom(40_960) + before[8192 + 40_960 :])
        case "torn leaf":
            damage_leaves(path, before)
        case _:
            path.write_bytes(before[: len(before) // 2])
    damaged = path.read_bytes()
    async with opened(path, "boot-b") as spool:
        events = await spool.events(limit=10)
        assert [event["kind"] for event in events] == ["store.replaced"]
        assert int(str(events[0]["seq"])) > int(str(last_seq))
        kept = list(tmp_path.glob("spool.db.corrupt-*"))
        assert len([file for file in kept if not file.name.endswith(("-wal", "-shm"))]) == 1
        assert kept[0].name in str(events[0]["message"])
        await spool.append([an_event_row(1)])
    assert kept[0].read_bytes()[8192:16_384] == damaged[8192:16_384]


async def test_damage_that_shows_while_running_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as spool:
        await spool.append([an_event_row(number) for number in range(2000)])
    damage_leaves(path, path.read_bytes())  # it was closed properly, so no check finds that
    async with opened(path, "boot-b") as spool:
        await spool.append([an_event_row(1)], batch=1)
        kinds = [event["kind"] for event in await spool.events(limit=10)]
    assert kinds == ["test.happened", "store.replaced"]


async def test_only_three_damaged_files_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    for _ in range(5):
        path.write_bytes(b"rubbish" * 1000)
        async with opened(path):
            await trio.sleep(0.005)  # another millisecond, another name
    assert len(list(tmp_path.glob("spool.db.corrupt-*"))) == 3


async def test_size_is_bounded_and_the_oldest_telemetry_goes_first(tmp_path: Path) -> None:
    path, max_bytes = tmp_path / "spool.db", 2 * 2**20
    big = {"filler": "x" * 1000}
    async with opened(path, max_bytes=max_bytes, telemetry_keep=CENTURY, events_keep=CENTURY) as spool:
        await spool.append([an_event_row(number) for number in range(100)])
        squeezed = 0
        for batch in range(60):
            rows = [TelemetryRow(utc_at(a_telemetry_row(number).monotonic_ns), batch, big) for number in range(100)]
            await spool.append(rows)
            report = await spool.purge()
            squeezed += report.telemetry_squeezed
            assert report.size_bytes <= max_bytes
            assert report.events_squeezed == 0
        assert len(await spool.events(limit=1000)) == 100
        assert spool.size_bytes <= max_bytes
    assert squeezed > 1000
    assert rows_of(path, "SELECT min(monotonic_ns) > 30, max(monotonic_ns) FROM telemetry") == [
        (1, 59)
    ]  # the newest stay


async def test_without_a_purge_a_full_file_makes_room_by_itself(tmp_path: Path) -> None:
    path, max_bytes = tmp_path / "spool.db", 2 * 2**20
    async with opened(path, max_bytes=max_bytes, telemetry_keep=CENTURY) as spool:
        for batch in range(60):
            rows = [TelemetryRow(utc_at(10**12), batch, {"filler": "x" * 1000}) for _ in range(100)]
            await spool.append(rows, batch=batch + 1)
        assert spool.size_bytes <= max_bytes
        assert (await spool.purge()).is_squeezed
    assert rows_of(path, "SELECT max(monotonic_ns) FROM telemetry") == [(59,)]


async def test_age_purges_by_table(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    hour = Duration.parse("1h")
    async with opened(path, telemetry_keep=hour, events_keep=CENTURY) as spool:  # the rows of the samples are from 2024
        await spool.append([a_telemetry_row(number) for number in range(3000)])
        await spool.append([an_event_row(1)])
        first, second = await spool.purge(), await spool.purge()
        assert (first.telemetry_aged, second.telemetry_aged) == (2000, 1000)
        assert (await spool.purge()).telemetry_aged == 0
    async with opened(path, events_keep=hour) as spool:
        assert (await spool.purge()).events_aged == 1


async def test_a_locked_file_is_an_error_in_bounded_time_and_then_works_again(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as spool:
        await spool.append([an_event_row(1)], batch=1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        start = time.monotonic()
        with pytest.raises(StoreError, match="locked"):
            await spool.append([an_event_row(2)], batch=2)
        assert time.monotonic() - start < 10
        assert spool.errors == 1
        other.execute("ROLLBACK")
        other.close()
        await spool.append([an_event_row(2)], batch=2)
        assert [event["seq"] for event in await spool.events(limit=10)] == [2, 1]


async def test_a_full_disk_is_an_error_and_nothing_half_written(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as spool:
        await spool.append([an_event_row(1)])

        def fill_up() -> None:
            pages = spool._file.connection.execute("PRAGMA page_count").fetchone()[0]
            spool._file.connection.execute(f"PRAGMA max_page_count = {pages}")

        fill_up()
        big = [TelemetryRow(utc_at(10**12), number, {"filler": "x" * 5000}) for number in range(200)]
        with pytest.raises(StoreError, match="full"):
            await spool.append([an_event_row(2), *big])
    assert rows_of(path, "SELECT count(*) FROM telemetry") == [(0,)]


async def test_calls_from_many_tasks_use_one_thread_at_a_time(tmp_path: Path) -> None:
    at_once, most = [0], [0]
    lock = threading.Lock()
    async with opened(tmp_path / "spool.db") as spool:
        genuine = spool._file.append

        def counted(rows: list[object], batch: int | None = None) -> None:
            with lock:
                at_once[0] += 1
                most[0] = max(most[0], at_once[0])
            genuine(rows, batch)  # type: ignore[arg-type]  # rows of the samples
            with lock:
                at_once[0] -= 1

        object.__setattr__(spool, "_file", _Counting(spool._file, counted))
        async with trio.open_nursery() as nursery:
            for number in range(12):
                nursery.start_soon(spool.append, [an_event_row(number)])
        assert len(await spool.events(limit=100)) == 12
    assert most[0] == 1


class _Counting:
    """A file whose `append` is another one."""

    def __init__(self, file: object, append: object) -> None:
        self._file = file
        self.append = append

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


async def test_a_query_without_end_is_interrupted(tmp_path: Path) -> None:
    endless = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    async with opened(tmp_path / "spool.db") as spool:
        start = time.monotonic()
        with pytest.raises(StoreError, match="no end within"):
            await spool._call(lambda: spool._file.connection.execute(endless).fetchall(), Duration.parse("200ms"))
        await spool.append([an_event_row(1)])
        assert time.monotonic() - start < 10


async def test_a_crowd_is_turned_away(tmp_path: Path) -> None:
    refused: list[str] = []
    async with opened(tmp_path / "spool.db") as spool, trio.open_nursery() as nursery:

        async def read() -> None:
            try:
                await spool.events(limit=1)
            except StoreError as problem:
                refused.append(str(problem))

        for _ in range(60):
            nursery.start_soon(read)
    assert 0 < len(refused) < 60
    assert set(refused) == {"the memory is busy"}


async def test_a_closed_spool_refuses(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool.db") as spool:
        await spool.close()
        with pytest.raises(StoreError, match="closed"):
            await spool.events(limit=1)
    assert not (tmp_path / "spool.db-wal").exists()


async def test_a_file_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        await open_spool(SpoolConfig(path=str(tmp_path / "file" / "spool.db")), "robot", "boot")


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    async with opened(path) as spool:
        await spool.append([an_event_row(1)])
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("UPDATE meta SET content = '99' WHERE key = 'schema_version'")
    connection.close()
    with pytest.raises(StoreError, match="schema 99"):
        await open_spool(SpoolConfig(path=str(path)), "robot", "boot")
    assert rows_of(path, "SELECT count(*) FROM events") == [(1,)]


def test_what_is_stored_is_json(tmp_path: Path) -> None:
    async def write() -> None:
        async with opened(tmp_path / "spool.db") as spool:
            await spool.append([an_event_row(1), a_telemetry_row(1)])

    trio.run(write)
    [(values,)] = rows_of(tmp_path / "spool.db", "SELECT values_json FROM telemetry")
    assert json.loads(str(values)) == {"number": 1, "state": "IDLE"}
