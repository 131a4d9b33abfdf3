"""Statistics and trace over the local desk: pages, filters, what fell out, and that reading stalls nobody."""

from typing import Any, cast

import pytest
import trio
from bus_fakes import CHARACTER_NS, MS, SILENCE_NS, shipped_maps
from memory_samples import a_snapshot
from trio.testing import MockClock

from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_reply, encode_request
from oht50d.core.bus_sight import Sight
from oht50d.core.bus_stats import BusStats
from oht50d.core.bus_trace import BusTrace
from oht50d.core.errands import Errands, Patience
from oht50d.core.frame_event import Note, Way
from oht50d.core.local_rights import LocalRight, Peer
from oht50d.core.poll_plan import NEVER_NS
from oht50d.core.probe_budget import ProbeBudget
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import (
    ExceptionReply,
    ExchangeResult,
    Failure,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteReply,
)
from oht50d.model.errors import CommandRejected
from oht50d.services.bus_desk import MAX_PAGE, MAX_SCAN, BusDesk
from oht50d.services.ports import SnapshotSource

PEER = Peer(1, 0, 0, frozenset({0}))
UTC_NS = 1_700_000_000_000_000_000


class Still:
    def current(self) -> object:
        return a_snapshot()


class Desk:
    def __init__(self, trace: BusTrace | None = None) -> None:
        self.trace = trace or BusTrace()
        self.sight = Sight(
            trace=self.trace, stats=BusStats(CHARACTER_NS, SILENCE_NS),
            errands=Errands(lambda _: Patience(1, 1), ProbeBudget(lambda: NEVER_NS)),
            maps={module.address: module for module in shipped_maps()}, character_ns=CHARACTER_NS,
            p99_ns=lambda unit: 7 * MS if unit == 5 else None,
        )  # fmt: skip
        self.desk = BusDesk(self.sight, cast(SnapshotSource, Still()), lambda: UTC_NS)

    async def ask(self, op: str = "bus_trace", **request: object) -> dict[str, Any]:
        operation = self.desk.operations[op]
        assert operation.right is LocalRight.READ
        return await operation.act(PEER, request)

    def exchange(self, unit: int, note: Note = Note.VALID, octets: bytes | None = None) -> None:
        """A read of one register and what came of it."""
        at_ns = now_ns()
        self.trace.add(at_ns, Way.SENT, encode_request(ReadRegisters(unit, 0x33, 1)), Note.SENT, Purpose.POLL)
        reply = encode_reply(ReadReply(unit, (7,))) if octets is None else octets
        self.trace.add(at_ns + 5 * MS, Way.RECEIVED, reply, note, Purpose.POLL)


def numbers(page: dict[str, Any]) -> list[int]:
    return [frame["n"] for frame in page["frames"]]


async def test_a_frame_is_told_with_everything(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.exchange(5)
    page = await desk.ask()
    asked, told = page["frames"]
    assert (asked["way"], asked["unit"], asked["module"], asked["function"]) == ("sent", 5, "dock", 3)
    assert asked["words"] == "read registers 0x0033"
    assert told["values"] == [
        {"address": 0x33, "name": "velocity_x", "value": 7, "unit": "mm/s", "raw": 7, "quality": "good"}
    ]
    assert told["crc"] == "good"
    assert told["latency_ms"] == pytest.approx(5 - 8 * CHARACTER_NS / 1e6, abs=0.001)
    assert page["utc_minus_monotonic_ns"] == UTC_NS - page["now_ns"]


async def test_pages_follow_each_other_and_say_what_fell_out(autojump_clock: MockClock) -> None:
    desk = Desk(BusTrace(max_frames=600))
    for _ in range(500):
        desk.exchange(5)
    page = await desk.ask(**{"from": 0})
    assert (page["lost"], page["first_kept"], page["newest"]) == (400, 400, 1000)
    assert numbers(page) == list(range(400, 400 + MAX_PAGE))
    page = await desk.ask(**{"from": page["next"], "limit": 5})
    assert (numbers(page), page["lost"]) == (list(range(400 + MAX_PAGE, 405 + MAX_PAGE)), 0)
    page = await desk.ask(**{"from": 10_000})
    assert (numbers(page), page["next"]) == ([], 1000)
    assert numbers(await desk.ask(limit=3)) == [997, 998, 999]


async def test_filters_take_whole_exchanges(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.exchange(5)
    desk.exchange(3, Note.TIMEOUT, b"")
    desk.exchange(3, Note.EXCEPTION, encode_reply(ExceptionReply(3, 3, 2)))
    desk.exchange(5, Note.CRC, b"\x05\x03\x02\x00\x07\x00\x00")
    desk.trace.add(now_ns(), Way.SENT, encode_request(WriteRegister(5, 0x25, 7)), Note.SENT, Purpose.ERRAND)
    desk.trace.add(now_ns(), Way.RECEIVED, encode_reply(WriteReply(5, 0x25, 1, 7)), Note.VALID, Purpose.ERRAND)
    desk.trace.add(now_ns(), Way.LINE, b"lost", Note.CLOSED, None)
    assert numbers(await desk.ask(unit=3, **{"from": 0})) == [2, 3, 4, 5]
    assert numbers(await desk.ask(function=6, **{"from": 0})) == [8, 9]
    assert numbers(await desk.ask(errors=True, **{"from": 0})) == [3, 5, 7, 10]
    page = await desk.ask(errors=True, unit=3, **{"from": 0})
    assert [(frame["n"], frame["words"]) for frame in page["frames"]] == [
        (3, "no reply"), (5, "exception 2 (illegal data address)")
    ]  # fmt: skip


async def test_a_page_that_begins_in_the_middle_of_an_exchange_knows_its_request(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.exchange(5)
    (told,) = (await desk.ask(**{"from": 1}))["frames"]
    assert told["values"][0]["name"] == "velocity_x"


async def test_the_last_seconds(autojump_clock: MockClock) -> None:
    desk = Desk()
    for _ in range(10):
        desk.exchange(5)
        await trio.sleep(1)
    assert numbers(await desk.ask(seconds=3.5)) == list(range(14, 20))


async def test_raw_frames_are_not_decoded(autojump_clock: MockClock) -> None:
    desk = Desk()
    desk.exchange(5)
    assert {*(await desk.ask(raw=True))["frames"][1]} == {"n", "at_ns", "way", "note", "purpose", "hex"}


async def test_looking_for_what_is_not_there_ends_and_says_where_to_go_on(autojump_clock: MockClock) -> None:
    desk = Desk()
    for _ in range(MAX_SCAN):
        desk.exchange(5)
    page = await desk.ask(unit=9, **{"from": 0})
    assert (page["frames"], page["next"]) == ([], MAX_SCAN)


async def test_reading_a_page_lets_every_other_task_run(autojump_clock: MockClock) -> None:
    desk = Desk()
    for _ in range(MAX_PAGE):
        desk.exchange(5)
    turns = 0

    async def another(task_status: trio.TaskStatus[None]) -> None:
        nonlocal turns
        task_status.started()
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        await nursery.start(another)
        turns = 0
        await desk.ask()
        assert turns >= MAX_PAGE // 16
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "request_",
    [{"limit": 0}, {"limit": MAX_PAGE + 1}, {"limit": True}, {"from": -1}, {"from": "x"}, {"seconds": 0},
     {"seconds": 4000}, {"seconds": "x"}, {"unit": 248}, {"function": 0}],
)  # fmt: skip
async def test_questions_that_make_no_sense_are_refused(request_: dict[str, object], autojump_clock: MockClock) -> None:
    with pytest.raises(CommandRejected):
        await Desk().ask(**request_)


async def test_statistics(autojump_clock: MockClock) -> None:
    desk = Desk()
    await trio.sleep(1)
    for number in range(40):
        sent_ns = now_ns()
        reply = None if number == 7 else ReadReply(5, (7,))
        failure = Failure.NOISE if number == 7 else None
        await trio.sleep(0.01)
        result = ExchangeResult(ReadRegisters(5, 0x33, 1), reply, failure, sent_ns, now_ns(), 8, 7)
        desk.sight.stats.record(Slot(result.request, Purpose.POLL, 1), result)
    desk.exchange(5)
    told = await desk.ask("bus_stats")
    (dock,) = told["modules"]
    assert (dock["module"], dock["requests"], dock["crc_errors"], dock["retries"]) == ("dock", 40, 1, 1)
    assert dock["turnaround_mean_ms"] == pytest.approx(10 - 15 * CHARACTER_NS / 1e6 - 1.75, abs=0.01)
    assert dock["turnaround_p99_ms"] == 7
    assert sum(dock["turnaround"]["counts"]) == 39
    assert len(dock["turnaround"]["counts"]) == len(dock["turnaround"]["up_to_ms"]) + 1
    assert told["recent"]["characters"] == pytest.approx(15 * CHARACTER_NS / 1e7, rel=0.01)
    assert told["headroom"] is None
    assert told["trace"]["frames"] == 2
    assert told["errands"]["waiting"] == 0
