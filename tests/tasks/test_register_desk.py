"""Registers from outside on the real bus owner and schedule, over a line of memory: frames, outcomes and records."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
import trio
from attrs import define, evolve, field
from bus_fakes import DOCK, MS, POWER, SAFETY, TRAVEL, Bench, Pieces, make_bench
from memory_samples import a_module, a_snapshot
from trio.testing import MockClock, wait_all_tasks_blocked

from oht50d.clock import now_ns
from oht50d.core.errands import Errands, Patience
from oht50d.core.local_rights import Peer
from oht50d.core.probe_budget import module_claim
from oht50d.core.register_names import RegisterNames
from oht50d.core.stop_sequence import PRESSING_NS
from oht50d.core.wire_schedule import Rank
from oht50d.model.bus import BusRequest, ReadRegisters, WriteRegister, WriteRegisters
from oht50d.model.errands import ErrandOutcome
from oht50d.model.errors import LinkError
from oht50d.model.modules import ModuleTrust, Trust
from oht50d.model.motion import Cause, CauseCode, StopKind
from oht50d.model.records import EventRow, Row
from oht50d.model.registers import ModuleKind, Quality, Reading
from oht50d.model.snapshot import Snapshot
from oht50d.services.local_desk import LocalDesk
from oht50d.services.ports import Accounts, Commander, HistoryReader, RecordSink, SnapshotSource
from oht50d.services.register_desk import RegisterDesk

ROOT = Peer(10, 0, 0, frozenset({0}))
TECHNICIAN = Peer(11, 1000, 1000, frozenset({1000, 900}))
DECLINATION = 0x0025
WRITE = WriteRegister(DOCK, DECLINATION, 7)
KINDS = {POWER: ModuleKind.POWER, SAFETY: ModuleKind.SAFETY, TRAVEL: ModuleKind.TRAVEL, DOCK: ModuleKind.DOCK}


@define(slots=False)
class Counter:
    """The desk in front of a bench."""

    bench: Bench
    errands: Errands = field(init=False)
    rows: list[Row] = field(factory=list)
    changes: dict[str, Any] = field(factory=dict)
    readings: dict[str, Reading] = field(factory=dict)
    trust: ModuleTrust = ModuleTrust(Trust.ACCEPTED)
    desk: LocalDesk = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.errands = Errands(self.patience, self.bench.schedule.probe_budget)
        self.bench.schedule.attach(self.errands, Rank.ERRAND)
        registers = RegisterDesk(
            names=RegisterNames(self.bench.maps), errands=self.errands, wake=self.bench.bus.wake,
            refusal=self.bench.schedule.gate.refusal, snapshots=cast(SnapshotSource, self),
            records=cast(RecordSink, self), utc_now=lambda: "2024-05-01T12:00:00.000Z",
        )  # fmt: skip
        self.desk = LocalDesk(
            snapshots=cast(SnapshotSource, self), commander=cast(Commander, None), history=cast(HistoryReader, None),
            accounts=cast(Accounts, None), records=cast(RecordSink, self), technicians_gid=900, utc_now=str,
            further=(registers.operations,),
        )  # fmt: skip

    @staticmethod
    def patience(request: BusRequest) -> Patience:
        return Patience(50 * MS, 2) if request.unit in KINDS else Patience(25 * MS, 1, module_claim(request.unit))

    def current(self) -> Snapshot:
        """What the guardian would have published."""
        links = self.bench.schedule.links
        modules = tuple(
            evolve(
                a_module(unit, KINDS[unit]),
                is_identified=links[unit].is_identified,
                readings=self.readings,
                trust=self.trust,
            )
            for unit in sorted(links)
        )
        snapshot = a_snapshot(modules=modules, taken_ns=now_ns())
        return evolve(snapshot, wire=evolve(snapshot.wire, is_open=self.bench.schedule.is_open, **self.changes))

    def record(self, row: Row) -> None:
        self.rows.append(row)

    @property
    def audited(self) -> list[EventRow]:
        return [row for row in self.rows if isinstance(row, EventRow) and row.kind == "bus.register.write"]

    async def ask(self, *, peer: Peer = ROOT, **request: object) -> dict[str, Any]:
        reply = await self.desk(peer, request)
        assert reply["ok"] is True, reply
        return cast(dict[str, Any], reply["data"])

    async def refused(self, *, peer: Peer = ROOT, **request: object) -> dict[str, Any]:
        reply = await self.desk(peer, request)
        assert reply["ok"] is False, reply
        return cast(dict[str, Any], reply["error"])

    async def set(self, name: str = "dock.magnetic_declination", value: object = "7") -> dict[str, Any]:
        return await self.ask(op="reg_set", name=name, value=value)

    def sent(self, wanted: BusRequest) -> int:
        return sum(request == wanted for line in self.bench.lines for _, request in line.sent)

    def writes(self) -> list[BusRequest]:
        """Everything that was written since the stop of the opening."""
        sent = [request for line in self.bench.lines for _, request in line.sent]
        kinds = (WriteRegister, WriteRegisters)
        return [request for request in sent[3:] if isinstance(request, kinds)]


@asynccontextmanager
async def open_counter() -> AsyncIterator[Counter]:
    counter = Counter(make_bench())
    async with trio.open_nursery() as nursery:
        await nursery.start(counter.bench.bus.run)
        await wait_all_tasks_blocked()
        await counter.bench.settle()
        yield counter
        nursery.cancel_scope.cancel()


def lose(request: BusRequest, times: int) -> Any:
    """A rule: the module carries it out and its reply is lost, so many times."""
    left = [times]

    def rule(found: BusRequest, _honest: Pieces) -> Pieces | None:
        if found != request or left[0] == 0:
            return None
        left[0] -= 1
        return []

    return rule


async def test_a_verified_write_reads_writes_and_reads(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        told = await counter.set()
        assert (told["outcome"], told["before"]["raw"], told["after"]["raw"]) == ("verified", 0, 7)
        assert told["after"]["value"] == 7
        assert counter.sent(WRITE) == 1
        assert counter.bench.modules[DOCK].image[DECLINATION] == 7
        (row,) = counter.audited
        assert row.actor == "uid:0"
        assert {
            "before": 0,
            "after": 7,
            "outcome": "verified",
            "uid": 0,
            "was_sent": True,
        }.items() <= row.details.items()


async def test_a_lost_echo_is_read_back_and_never_sent_again(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        counter.bench.rules.append(lose(WRITE, 1))
        told = await counter.set()
        assert (told["outcome"], told["is_echoed"]) == ("verified", False)
        assert "not sent again" in told["reason"]
        assert counter.sent(WRITE) == 1


async def test_nothing_read_back_is_unknown(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        look = ReadRegisters(DOCK, DECLINATION, 1)
        seen = [0]

        def silent_after_the_write(found: BusRequest, _honest: Pieces) -> Pieces | None:
            seen[0] += found == WRITE
            return [] if seen[0] and found == look else None

        counter.bench.rules.append(silent_after_the_write)
        told = await counter.set()
        assert (told["outcome"], told["is_echoed"], told["after"]["raw"]) == ("unknown", True, None)
        assert counter.sent(WRITE) == 1


async def test_a_module_that_keeps_its_old_value_is_a_mismatch(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        counter.bench.modules[DOCK].hold(frozenset({DECLINATION}))
        told = await counter.set()
        assert (told["outcome"], told["after"]["raw"]) == ("mismatch", 0)
        assert counter.audited[0].details["outcome"] == "mismatch"


async def test_a_port_that_is_lost_while_it_is_written_sends_nothing_twice(autojump_clock: MockClock) -> None:
    counter = Counter(make_bench())

    def hang_up(found: BusRequest, _honest: Pieces) -> Pieces | None:
        if found == WRITE:
            counter.bench.line.hang_up()
        return None

    counter.bench.rules.append(hang_up)

    async def reopen() -> None:
        while True:
            try:
                await counter.bench.bus.run()
            except LinkError:
                await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reopen)
        await counter.bench.until(lambda: counter.bench.schedule.is_open)
        await counter.bench.settle()
        told = await counter.set()
        nursery.cancel_scope.cancel()
    assert len(counter.bench.lines) == 2
    assert counter.sent(WRITE) == 1
    assert told["outcome"] == "verified"
    assert "the port was lost" in told["reason"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("travel.motor_1_enable", "on"),
        ("drive.1.setpoint", "0"),
        ("brake.release", "off"),
        ("safety.relay_4_control", "on"),
        ("dock.position_x", "0"),
        ("power.relay_12v", "on"),
        ("travel.config_baudrate", "9600"),
        ("safety.auto_reset_enable", "0"),
        ("0x04:0x0001", "0"),
        ("0x04:0x0777", "1"),
        ("0x02:0x0777", "1"),
        ("0x44:0x0001", "1"),
    ],
)
async def test_motion_frames_are_refused_for_root_too_and_a_dry_run_tells(
    name: str, value: str, autojump_clock: MockClock
) -> None:
    async with open_counter() as counter:
        dry = await counter.refused(op="reg_dry_run", name=name, value=value)
        wet = await counter.refused(op="reg_set", name=name, value=value)
        assert dry == wet
        assert wet["code"] == "SAFETY_VIOLATION"
        await trio.sleep(0.5)
        assert counter.writes() == []


async def test_a_refused_write_is_recorded(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        await counter.refused(op="reg_set", name="travel.motor_1_enable", value="on")
        (row,) = counter.audited
        assert (row.details["outcome"], row.details["was_sent"], row.details["wanted"]) == ("rejected", False, 1)
        assert row.message == f"Write of motor_1_enable of 0x04 rejected: {row.details['reason']}"
        await counter.refused(op="reg_dry_run", name="travel.motor_1_enable", value="on")
        assert len(counter.audited) == 1
        assert counter.errands.counts[ErrandOutcome.REJECTED] == 1


@pytest.mark.parametrize(
    ("name", "value", "place", "unit"),
    [
        ("dock.magnetic_declination", "181", "magnetic_declination of 0x05", DOCK),
        ("dock.velocity_x", "1", "velocity_x of 0x05", DOCK),
        ("0x05:0x0025:2", "1", "0x05:0x0025:2 of 0x05", DOCK),
        ("0x05:0x0777", "1", "0x05:0x0777 of 0x05", DOCK),
        ("0x44:0x0001", "1", "0x44:0x0001 of 0x44", 0x44),
        ("dock.nosuch", "1", "dock.nosuch", None),
        ("lift.height", "1", "lift.height", None),
    ],
)
async def test_what_the_map_refuses_is_counted_and_recorded_once(
    name: str, value: str, place: str, unit: int | None, autojump_clock: MockClock
) -> None:
    async with open_counter() as counter:
        error = await counter.refused(op="reg_set", name=name, value=value)
        await counter.refused(op="reg_dry_run", name=name, value=value)
        (row,) = counter.audited
        assert row.message == f"Write of {place} rejected: {row.details['reason']}"
        assert row.details["reason"] in error["message"]
        assert (row.details["outcome"], row.details["was_sent"], row.details["unit"]) == ("rejected", False, unit)
        assert counter.errands.counts[ErrandOutcome.REJECTED] == 1
        assert counter.writes() == []


@pytest.mark.parametrize(
    "request_",
    [
        {"name": "dock.magnetic_declination", "value": "181"},
        {"name": "dock.magnetic_declination", "value": "north"},
        {"name": "dock.magnetic_declination", "value": ""},
        {"name": "dock.magnetic_declination"},
        {"name": "dock.magnetic_declination", "value": True},
        {"name": "dock.velocity_x", "value": "1"},
        {"name": "0x05:0x0025:2", "value": "1"},
        {"name": "", "value": "1"},
        {"value": "1"},
    ],
)
async def test_what_the_map_does_not_allow_is_refused_before_anything_is_sent(
    request_: dict[str, object], autojump_clock: MockClock
) -> None:
    async with open_counter() as counter:
        error = await counter.refused(op="reg_set", **request_)
        assert error["code"] == "INVALID_COMMAND"
        assert counter.writes() == []


async def test_a_dry_run_shows_the_frame_and_sends_nothing(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        told = await counter.ask(peer=TECHNICIAN, op="reg_dry_run", name="dock.magnetic_declination", value=7)
        assert told["frame"].startswith("05 06 00 25 00 07")
        assert (told["outcome"], told["is_dry_run"]) == ("dry_run", True)
        await trio.sleep(0.5)
        assert counter.writes() == []
        assert counter.audited == []


async def test_a_technician_may_read_and_not_write(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        told = await counter.ask(peer=TECHNICIAN, op="reg_get", names=["dock.magnetic_declination"])
        assert told["registers"][0]["values"][0]["value"] == 0
        error = await counter.refused(peer=TECHNICIAN, op="reg_set", name="dock.magnetic_declination", value="7")
        assert error["code"] == "INSUFFICIENT_PERMISSIONS"
        assert counter.writes() == []


async def test_a_module_that_has_not_proved_who_it_is_is_not_written(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        counter.bench.schedule.links[DOCK].is_identified = False
        error = await counter.refused(op="reg_set", name="dock.magnetic_declination", value="7")
        assert "identified" in error["message"]
        assert counter.writes() == []


async def test_another_module_than_the_accepted_one_is_not_written(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        counter.trust = ModuleTrust(Trust.CHANGED, "another serial number")
        error = await counter.refused(op="reg_set", name="dock.magnetic_declination", value="7")
        assert "another serial number" in error["message"]
        assert counter.writes() == []


async def test_several_registers_one_of_which_is_refused(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        names = ["velocity.x", "0x05:0x0999", "dock.serial_number", "0x05:0x0030:3"]
        found = (await counter.ask(op="reg_get", names=names))["registers"]
        assert [one["outcome"] for one in found] == ["read", "failed", "read", "read"]
        assert "illegal data address" in found[1]["reason"]
        assert found[2]["number"] == 0
        assert [value["name"] for value in found[3]["values"]] == ["position_x", "position_y", "position_z"]


async def test_a_value_that_was_polled_lately_may_stand_for_a_reading(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        at_ns = now_ns()
        counter.readings["velocity_x"] = Reading(
            "velocity_x", 0x33, "velocity.x", 5, 5, "mm/s", Quality.GOOD, at_ns, at_ns
        )
        polled = await counter.ask(op="reg_get", names=["velocity.x"], max_age_s=1)
        assert (polled["registers"][0]["is_polled"], polled["registers"][0]["values"][0]["raw"]) == (True, 5)
        read = await counter.ask(op="reg_get", names=["velocity.x"])
        assert (read["registers"][0]["is_polled"], read["registers"][0]["values"][0]["raw"]) == (False, 0)


async def test_a_value_that_the_polls_know_as_stuck_is_stuck(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        at_ns = now_ns()
        counter.readings["accel_x"] = Reading("accel_x", 0, None, 0, 0, "mg", Quality.STUCK, at_ns, at_ns)
        told = (await counter.ask(op="reg_get", names=["dock.accel_x"]))["registers"][0]["values"][0]
        assert (told["quality"], told["value"], told["raw"]) == ("stuck", None, 0)


async def test_a_closed_bus_and_a_listening_one_are_told_at_once(autojump_clock: MockClock) -> None:
    counter = Counter(make_bench())
    error = await counter.refused(op="reg_get", names=["velocity.x"])
    assert (error["code"], "closed" in error["message"]) == ("NOT_READY", True)
    counter.changes = {"is_listen_only": True}
    error = await counter.refused(op="reg_get", names=["velocity.x"])
    assert "listen_only" in error["message"]


@pytest.mark.parametrize("op", ["reg_set", "reg_dry_run"])
async def test_a_write_where_nothing_is_sent_is_refused_for_that(op: str, autojump_clock: MockClock) -> None:
    counter = Counter(make_bench())
    wanted = {"name": "dock.magnetic_declination", "value": 7}
    assert "the bus is closed" in (await counter.refused(op=op, **wanted))["message"]
    counter.changes = {"is_listen_only": True}
    error = await counter.refused(op=op, **wanted)
    assert (error["code"], "bus.listen_only is set" in error["message"]) == ("NOT_READY", True)
    error = await counter.refused(op=op, name="travel.motor_1_enable", value="on")
    assert error["code"] == "SAFETY_VIOLATION", "what is never written is told, and recorded, as ever"
    assert len(counter.audited) == (op == "reg_set")


async def test_a_new_stop_has_the_wire_alone_and_the_errand_waits(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        bench = counter.bench
        bench.rules.append(lambda request, _honest: [] if request.unit == TRAVEL else None)
        bench.bus.trip_causes(StopKind.S1, (Cause(CauseCode.OPERATOR_STOP, now_ns()),))
        tripped_ns = now_ns()
        (found,) = (await counter.ask(op="reg_get", names=["dock.accel_x"]))["registers"]
        assert bench.schedule.sequencer.is_judged, "a dead drive keeps the stop up for ever"
        assert found["outcome"] == "read", "and meanwhile a technician can look for the reason"
        assert now_ns() - tripped_ns >= PRESSING_NS
        assert counter.errands.waiting == 0
        pressed_ns = now_ns()
        bench.bus.repeat_stop((Cause(CauseCode.OPERATOR_STOP, pressed_ns),))
        await counter.ask(op="reg_get", names=["dock.accel_x"])
        assert now_ns() - pressed_ns >= PRESSING_NS, "a STOP pressed again has the wire alone again"


@pytest.mark.parametrize(
    "request_",
    [
        {"names": []},
        {"names": ["a"] * 17},
        {"names": "velocity.x"},
        {"names": [5]},
        {"names": ["velocity.x"], "space": "attic"},
        {"names": ["velocity.x"], "space": ["coil"]},
        {"names": ["velocity.x"], "max_age_s": -1},
        {"names": ["velocity.x"], "max_age_s": "old"},
    ],
)
async def test_questions_that_make_no_sense_are_refused(request_: dict[str, object], autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        assert (await counter.refused(op="reg_get", **request_))["code"] == "INVALID_COMMAND"


async def test_a_unit_that_nobody_has_bound_takes_a_twentieth_of_the_wire_at_most(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        begins_ns, took_ns = now_ns(), 0
        while now_ns() - begins_ns < 10 * 1000 * MS:
            await counter.ask(op="reg_get", names=["0x44:0x0000"])
        sent = [(at_ns, request) for at_ns, request in counter.bench.line.sent if request.unit == 0x44]
        took_ns = sum(26 * MS for at_ns, _ in sent if at_ns >= begins_ns)
        assert len(sent) > 5
        assert took_ns <= 0.06 * (now_ns() - begins_ns)


async def test_the_list_shows_what_is_known_and_what_is_not(autojump_clock: MockClock) -> None:
    async with open_counter() as counter:
        at_ns = now_ns()
        counter.readings["velocity_x"] = Reading(
            "velocity_x", 0x33, "velocity.x", 5, 5, "mm/s", Quality.GOOD, at_ns, at_ns
        )
        found = {one["name"]: one for one in (await counter.ask(op="reg_list", module="dock"))["registers"]}
        assert (found["dock.velocity_x"]["value"], found["dock.velocity_x"]["age_s"]) == (5, 0)
        assert (found["dock.accel_x"]["value"], found["dock.accel_x"]["quality"]) == (None, None)
        assert found["dock.position_x"]["is_motion"]
        assert len((await counter.ask(op="reg_list"))["registers"]) == sum(len(m.registers) for m in counter.bench.maps)
        assert (await counter.refused(op="reg_list", module="attic"))["code"] == "NOT_FOUND"
