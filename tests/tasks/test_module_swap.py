"""Modules that come, go and change, under the mock clock: what inhibits, what is found, what is written again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import cast

import pytest
import trio
from attrs import define, evolve, field
from bus_fakes import CHARACTER_NS, DOCK, MS, SILENCE_NS, TRAVEL, Pieces, make_bench
from control_bench import ANNA, Control, make_control, rejected, running_control, utc_now
from core_fixtures import fresh_registry, shipped_maps
from module_bench import PROBE_NS, SERIAL_HIGH, SERIAL_LOW, SERIALS, show, show_all, stranger
from trio.testing import MockClock

from oht50d.app.supervisor import RestartPolicy, Supervised
from oht50d.clock import now_ns
from oht50d.codec.rtu import encode_reply
from oht50d.core.local_rights import Peer
from oht50d.core.motion_gate import MotionGate
from oht50d.drivers.serial_settings import BAUD_RATES
from oht50d.model.bus import BusRequest, ExceptionReply, ReadRegisters, WriteRegister
from oht50d.model.errors import StoreError
from oht50d.model.line import LineSettings, Parity
from oht50d.model.modules import FoundState, StoredModules, Trust
from oht50d.model.motion import Direction, MachineState, StopKind
from oht50d.model.records import EventRow
from oht50d.services.local_desk import LocalDesk
from oht50d.services.module_desk import LineChoices, ModuleDesk
from oht50d.services.ports import Accounts, HistoryReader
from oht50d.services.registry_keeper import RegistryKeeper

pytestmark = pytest.mark.no_cover
"""Minutes of virtual time or thousands of cases: under the tracer they take six times as long."""

ROOT = Peer(10, 0, 0, frozenset({0}))
TECHNICIAN = Peer(11, 1000, 1000, frozenset({1000, 900}))
LIFTER = 0x06


@define
class Disk:
    """Where the list of modules is kept: it works, or fails with `problem`."""

    saved: list[StoredModules] = field(factory=list)
    problem: str = ""

    async def save(self, stored: StoredModules) -> None:
        await trio.sleep(0.01)
        if self.problem:
            raise StoreError(self.problem)
        self.saved.append(stored)


@define(slots=False)
class Workshop:
    """The control ring with the desk for modules and a technician in front of it."""

    control: Control
    disk: Disk
    keeper: RegistryKeeper
    desk: LocalDesk

    @property
    def links(self) -> Mapping[int, object]:
        return self.control.bench.schedule.links

    async def ask(self, peer: Peer = ROOT, **request: object) -> dict[str, object]:
        reply = await self.desk(peer, request)
        assert reply["ok"] is True, reply
        return cast(dict[str, object], reply["data"])

    async def refused(self, peer: Peer = ROOT, **request: object) -> dict[str, object]:
        reply = await self.desk(peer, request)
        assert reply["ok"] is False, reply
        return cast(dict[str, object], reply["error"])

    def causes(self) -> dict[str, str]:
        """What stands against motion, with its words."""
        return {cause.code.value: cause.detail for cause in self.control.snapshots.current().decision.inhibits}

    async def until(self, *codes: str) -> None:
        """Until all of these stand against motion."""
        await self.control.bench.until(lambda: set(codes) <= self.causes().keys())

    async def replug(self, unit: int, serial: int, *, for_s: float = 0.6, firmware: int = 0x0101) -> None:
        """Out with the old, in with another one."""
        module = self.control.bench.modules.pop(unit)
        await trio.sleep(for_s)
        module.power_up()
        show(module, serial, firmware)
        self.control.bench.modules[unit] = module

    def events(self, kind: str) -> list[EventRow]:
        return self.control.store.events(kind)


@asynccontextmanager
async def workshop(
    stored: StoredModules | None = None, *, is_settled: bool = True, is_reopened: bool = False
) -> AsyncIterator[Workshop]:
    """Everything running; the modules show the numbers of `SERIALS`. `is_reopened`: a lost port is opened again."""
    registry = fresh_registry(shipped_maps(), stored)
    control = make_control(registry=registry, is_searching=True)
    show_all(control.bench)
    discovery = control.state.search
    assert discovery is not None
    disk = Disk()
    keeper = RegistryKeeper(registry, disk, utc_now)
    modules = ModuleDesk(
        snapshots=control.snapshots, guardian=control.guardian, keeper=keeper, scanner=control.bench.bus,
        searcher=discovery, lines=LineChoices(own=LineSettings(115_200), speeds=BAUD_RATES),
        standstill_mm_s=control.config.stop.standstill_mm_s, records=control.recorder, utc_now=utc_now,
    )  # fmt: skip
    desk = LocalDesk(
        snapshots=control.snapshots, commander=control.commander, history=cast(HistoryReader, None),
        accounts=cast(Accounts, None), records=control.recorder, technicians_gid=900, utc_now=utc_now,
        further=[modules.operations],
    )  # fmt: skip
    if is_reopened:
        reopening = Supervised("field bus", control.bench.bus.run, RestartPolicy(first_s=0.03, cap_s=0.2))
        control.bench.bus.run = reopening.run  # type: ignore[method-assign] # as the house runs it
    async with running_control(control, is_settled=is_settled), trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        yield Workshop(control, disk, keeper, desk)
        nursery.cancel_scope.cancel()


# -- identity


async def test_first_sight_is_registered_written_and_told(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.bench.until(lambda: bool(shop.disk.saved) and len(shop.disk.saved[-1].records) == 4)
        records = {record.address: record.serial for record in shop.disk.saved[-1].records}
        assert records == SERIALS
        assert all(record.accepted_utc for record in shop.disk.saved[-1].records)
        await trio.sleep(2)
        assert {row.details["serial"] for row in shop.events("module.discovered")} == set(SERIALS.values())


async def test_another_module_inhibits_until_it_is_accepted(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.armed()
        await shop.replug(DOCK, 1234)
        await shop.until("module_changed")
        words = shop.causes()["module_changed"]
        assert words.startswith("another module at 0x05 (dock): serial 1234 instead of 5000")
        assert "oht50ctl modules accept 0x05 --serial 1234" in words
        async with rejected("SAFETY_VIOLATION") as refusal:
            shop.control.commander.press_jog(ANNA, shop.control.claim, Direction.FORWARD, None)
        assert "module_changed" in cast(list[str], refusal.details["causes"])
        before = len(shop.disk.saved)
        answer = await shop.ask(op="modules_accept", address=DOCK, serial=1234)
        assert "serial 1234" in str(answer["message"])
        assert {record.address: record.serial for record in shop.disk.saved[before].records}[DOCK] == 1234
        await shop.control.bench.until(lambda: "module_changed" not in shop.causes())
        await trio.sleep(2)
        (row,) = shop.events("module.accepted")
        assert (row.actor, row.details["uid"], row.details["serial"]) == ("uid:0", 0, 1234)
        assert [row.severity.value for row in shop.events("module.updated")] == ["error", "info"]


async def test_the_same_module_that_comes_back_is_free_at_once(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.replug(DOCK, SERIALS[DOCK])
        await trio.sleep(3)
        assert "module_changed" not in shop.causes()
        assert shop.control.state.registry.trust(DOCK).trust is Trust.ACCEPTED


async def test_a_swap_across_a_restart_is_noticed(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.bench.until(lambda: bool(shop.disk.saved) and len(shop.disk.saved[-1].records) == 4)
        stored = shop.disk.saved[-1]
    old = [evolve(r, serial=4999) if r.address == TRAVEL else r for r in stored.records]
    async with workshop(StoredModules(records=tuple(old))) as shop:
        await shop.until("module_changed")
        assert "serial 4000 instead of 4999" in shop.causes()["module_changed"]


async def test_a_lost_list_inhibits_every_module_until_each_is_accepted(autojump_clock: MockClock) -> None:
    async with workshop(StoredModules(is_lost=True, problem="modules.json is damaged")) as shop:
        await shop.until("module_changed")
        await shop.control.bench.until(lambda: bool(shop.disk.saved))
        assert shop.disk.saved[-1].is_lost, "at once, so that a restart does not take it for a first start"
        for unit, serial in SERIALS.items():
            await shop.ask(op="modules_accept", address=unit, serial=serial)
        await shop.control.bench.until(lambda: "module_changed" not in shop.causes())
        assert not shop.disk.saved[-1].is_lost


async def test_another_firmware_is_told_and_does_not_inhibit(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.replug(DOCK, SERIALS[DOCK], firmware=0x0102)
        await shop.control.bench.until(lambda: shop.control.state.registry.trust(DOCK).trust is Trust.UPDATED)
        await trio.sleep(3)
        assert "module_changed" not in shop.causes()
        modules = cast(list[dict[str, object]], (await shop.ask(TECHNICIAN, op="modules"))["modules"])
        assert "firmware 1.02 instead of 1.01" in str(modules[3]["problem"])


async def test_a_module_that_refuses_its_serial_number_is_another_one(autojump_clock: MockClock) -> None:
    def secretive(request: BusRequest, _honest: Pieces) -> Pieces | None:
        """Exception 2 for every read across the serial number."""
        if request.unit != DOCK or not isinstance(request, ReadRegisters):
            return None
        if not {SERIAL_LOW, SERIAL_HIGH} & set(range(request.address, request.address + request.count)):
            return None
        adu = encode_reply(ExceptionReply(DOCK, 3, 2))
        return [(SILENCE_NS + MS + len(adu) * CHARACTER_NS, adu)]

    async with workshop() as shop:
        await shop.control.bench.until(lambda: shop.control.state.registry.trust(DOCK).trust is Trust.ACCEPTED)
        bench = shop.control.bench
        bench.rules.append(secretive)
        bench.line.rules = bench.rules
        await shop.replug(DOCK, SERIALS[DOCK])
        await shop.until("module_changed")
        assert "no serial number instead of 5000" in shop.causes()["module_changed"]
        await shop.ask(op="modules_accept", address=DOCK, serial=None)
        await bench.until(lambda: "module_changed" not in shop.causes())


async def test_an_acceptance_that_cannot_be_stored_is_refused(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.replug(DOCK, 1234)
        await shop.until("module_changed")
        shop.disk.problem = "no space left"
        assert (await shop.refused(op="modules_accept", address=DOCK, serial=1234))["code"] == "SYSTEM_ERROR"
        await trio.sleep(0.5)
        assert "module_changed" in shop.causes()
        shop.disk.problem = ""
        await trio.sleep(11)
        assert {r.address: r.serial for r in shop.disk.saved[-1].records}[DOCK] == 5000, "the registry's word stands"


async def test_no_acceptance_while_the_robot_moves_or_by_a_technician(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        error = await shop.refused(TECHNICIAN, op="modules_accept", address=DOCK, serial=1)
        assert error["code"] == "INSUFFICIENT_PERMISSIONS"
        shop.control.bench.bus.trip_causes(StopKind.S1, ())
        assert (await shop.refused(op="modules_accept", address=DOCK, serial=1))["code"] == "SAFETY_VIOLATION"
        assert (await shop.refused(op="modules_accept", address=DOCK))["code"] == "INVALID_COMMAND"


# -- strangers


async def test_a_foreign_module_is_found_in_less_than_five_seconds_and_stays_read_only(
    autojump_clock: MockClock,
) -> None:
    async with workshop() as shop:
        await trio.sleep(8)
        bench = shop.control.bench
        bench.modules[LIFTER] = stranger(bench, LIFTER, serial=777, type_code=6)
        plugged_ns = now_ns()
        await shop.ask(TECHNICIAN, op="modules_search")
        found: list[dict[str, object]] = []
        while not found:
            await trio.sleep(0.05)
            found = cast(list[dict[str, object]], (await shop.ask(TECHNICIAN, op="modules"))["found"])
        assert now_ns() - plugged_ns < 5_000 * MS
        assert (found[0]["address"], found[0]["type"], found[0]["serial"]) == (LIFTER, "lifter", 777)
        await trio.sleep(40)
        asked = [request for _, request in bench.line.sent if request.unit == LIFTER]
        assert asked
        assert all(isinstance(request, ReadRegisters) for request in asked)
        gate: MotionGate = bench.schedule.gate
        assert not gate.check(WriteRegister(LIFTER, 0x0000, 0), None, now_ns()), "nobody may write to it"
        del bench.modules[LIFTER]
        for _ in range(2):
            await shop.ask(TECHNICIAN, op="modules_search")
            await trio.sleep(6)
        assert (await shop.ask(TECHNICIAN, op="modules"))["found"] == []
        assert [row.details["address"] for row in shop.events("module.discovered")][-1] == LIFTER
        assert [row.details["address"] for row in shop.events("module.offline")] == [LIFTER]


async def test_polls_keep_their_pace_while_absent_addresses_are_asked(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        bench = shop.control.bench
        start_ns = now_ns()
        for _ in range(10):
            await shop.ask(op="modules_search")
            await trio.sleep(1)
        times = [at for at in bench.line.sent_times(ReadRegisters(3, 0x0000, 8)) if at >= start_ns]
        longest_ns = (50 + 25 + 7) * MS  # a period, one whole probe, and the block that was due before this one
        assert max(later - earlier for earlier, later in pairwise(times)) <= longest_ns
        searched = [request for at, request in bench.line.sent if request.unit > DOCK and at >= start_ns]
        taken_ns = len(searched) * PROBE_NS
        assert 0.03 <= taken_ns / (10_000 * MS) <= 0.052, "a twentieth of the wire: two probes a second"


async def test_two_modules_at_one_address_are_told(autojump_clock: MockClock) -> None:
    def both(request: BusRequest, honest: Pieces) -> Pieces | None:
        """Where their words differ they spoil each other's reply."""
        if request.unit != LIFTER or not isinstance(request, ReadRegisters) or request.address >= 0x0100:
            return None
        return [(at_ns, octets[:-1] + bytes([octets[-1] ^ 0xFF])) for at_ns, octets in honest]

    async with workshop() as shop:
        bench = shop.control.bench
        bench.modules[LIFTER] = stranger(bench, LIFTER, serial=777, type_code=6)
        bench.rules.append(both)
        bench.line.rules = bench.rules
        await shop.ask(op="modules_search")
        await trio.sleep(6)
        (found,) = cast(list[dict[str, object]], (await shop.ask(op="modules"))["found"])
        assert (found["state"], found["type_code"]) == (FoundState.GARBLED.value, 6)
        assert "two modules at one address" in str(found["problem"])


async def test_the_search_goes_on_while_a_missing_module_keeps_the_opening_from_its_end(
    autojump_clock: MockClock,
) -> None:
    async with workshop(is_settled=False) as shop:
        bench = shop.control.bench
        bench.modules[LIFTER] = stranger(bench, LIFTER, serial=777, type_code=5)
        del bench.modules[DOCK]
        await trio.sleep(5)
        (found,) = cast(list[dict[str, object]], (await shop.ask(op="modules"))["found"])
        assert (found["address"], found["type_code"]) == (LIFTER, 5), "the dock module with its switch at 6"


# -- set-up written again


async def test_after_a_loss_of_power_the_time_out_is_written_and_read_back_before_any_motion(
    autojump_clock: MockClock,
) -> None:
    bench = make_bench(travel="travel_motor_timeout")
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await bench.settle()
        await bench.until(lambda: bench.schedule.is_set_up)
        module = bench.modules.pop(TRAVEL)
        await trio.sleep(1)
        module.power_up()
        assert module.image[0x0035] == 0, "its settings are gone"
        back_ns = now_ns()
        bench.modules[TRAVEL] = module
        while now_ns() < back_ns + 4_000 * MS:
            bench.grant()
            await trio.sleep(0.05)
        frames = [request for at, request in bench.line.sent if at >= back_ns and request.unit == TRAVEL]
        written = frames.index(WriteRegister(TRAVEL, 0x0035, 200))
        moved = [number for number, frame in enumerate(frames) if bench.is_motion(frame) and number != written]
        covers = [
            number
            for number, frame in enumerate(frames)
            if isinstance(frame, ReadRegisters) and frame.address <= 0x0035 < frame.address + frame.count
        ]
        assert moved, "and then it moves again"
        assert any(written < number < moved[0] for number in covers), "not before the read-back"
        nursery.cancel_scope.cancel()


# -- a scan with polling paused


def slow_module(shop: Workshop, unit: int, line: LineSettings) -> None:
    """One that answers with these settings of the line only."""
    bench = shop.control.bench
    bench.modules[unit] = stranger(bench, unit, serial=777, type_code=6)

    def deaf(request: BusRequest, _honest: Pieces) -> Pieces | None:
        now = bench.line.settings[-1][1] if bench.line.settings else LineSettings(115_200)
        return [] if request.unit == unit and now != line else None

    bench.rules.append(deaf)
    bench.line.rules = bench.rules


async def scanned(shop: Workshop) -> dict[str, object]:
    """The scan when it is over."""
    while True:
        scan = cast(dict[str, object], (await shop.ask(TECHNICIAN, op="modules"))["scan"])
        if not scan["is_running"]:
            return scan
        await trio.sleep(0.05)


async def test_a_scan_finds_what_speaks_otherwise_and_says_itself_what_is_going_on(autojump_clock: MockClock) -> None:
    odd = LineSettings(9600, Parity.ODD)
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        slow_module(shop, 0x21, odd)
        await shop.ask(
            op="modules_scan", action="start", first=0x20, last=0x22, bauds=[115_200, 9600], parities=["none", "odd"]
        )
        seen: set[str] = set()
        scan: dict[str, object] = {"is_running": True}
        while scan["is_running"]:
            seen |= shop.causes().keys()
            scan = cast(dict[str, object], (await shop.ask(op="modules"))["scan"])
            await trio.sleep(0.01)
        assert (scan["asked"], scan["planned"], scan["end"]) == (12, 12, "complete")
        (found,) = cast(list[dict[str, object]], scan["found"])
        assert (found["address"], found["serial"], found["line"]) == (0x21, 777, "9600 8O1")
        assert "bus_scan" in seen
        assert not {code for code in seen if "lost" in code or "missing" in code}
        await trio.sleep(3)
        assert shop.control.kernel.state is MachineState.SAFE
        codes = {cause.code.value for cause in shop.control.kernel.latch.causes}
        assert codes == {"boot", "bus_scan"}
        assert shop.control.bench.line.settings[-1][1] == LineSettings(115_200)
        assert shop.events("module.offline") == []
        assert [row.details["found"] for row in shop.events("bus.scan.finished")] == [1]
        held = shop.control.commander.hold_reset(ANNA, shop.control.claim)
        await trio.sleep(1.1)
        await shop.control.commander.release_reset(ANNA, shop.control.claim, str(held["hold_id"]))
        assert shop.control.kernel.state is MachineState.IDLE


async def test_nobody_is_lost_during_a_long_scan(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        await shop.ask(op="modules_scan", action="start", first=0x10, last=0xF7)
        await trio.sleep(4)
        assert shop.causes().keys() == {"boot", "bus_scan", "no_authority"}
        modules = cast(list[dict[str, object]], (await shop.ask(op="modules"))["modules"])
        assert {str(module["problem"]) for module in modules} == {"not polled: bus scan under way"}
        await scanned(shop)
        await trio.sleep(3)
        assert shop.causes().keys() == {"boot", "bus_scan", "no_authority"}


async def test_a_stop_outranks_a_scan_and_finds_the_port_as_it_should_be(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        bench = shop.control.bench
        await shop.ask(op="modules_scan", action="start", first=0x20, last=0xF7, bauds=[9600])
        await trio.sleep(0.5)
        asked = len(bench.line.sent)
        stopped_ns = now_ns()
        await shop.control.commander.stop(None, "test")
        scan = cast(dict[str, object], (await shop.ask(op="modules"))["scan"])
        assert scan["end"] == "ended early: a stop needed the bus"
        after = [(at, request) for at, request in bench.line.sent[asked:] if at >= stopped_ns]
        first_ns, first = after[0]
        assert isinstance(first, BusRequest)
        assert not isinstance(first, ReadRegisters)
        assert first_ns - stopped_ns <= 40 * MS, "the request that was on the wire at 9600 baud, and 10 ms"
        set_ns, line = bench.line.settings[-1]
        assert line == LineSettings(115_200)
        assert set_ns <= first_ns
        await bench.until(lambda: not bench.schedule.sequencer.is_active)
        assert shop.control.kernel.state is MachineState.SAFE


async def test_stop_pressed_again_while_it_holds_ends_a_scan_too(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        await shop.control.commander.stop(None, "test")
        await shop.control.bench.until(lambda: not shop.control.bench.schedule.sequencer.is_active)
        await shop.ask(op="modules_scan", action="start", first=0x20, last=0xF7)
        await trio.sleep(0.3)
        stopped_ns = now_ns()
        answer = await shop.control.commander.stop(None, "test")
        assert answer["outcome"] in ("acknowledged", "verified")
        assert not shop.control.bench.schedule.pause.is_on
        frames = shop.control.bench.line.frames_since(stopped_ns)
        assert not isinstance(frames[0], ReadRegisters)
        report = shop.control.bench.bus.stop_report
        assert report is not None
        assert "stop_unverified" not in {cause.code.value for cause in report.causes}


async def test_a_speed_that_the_driver_does_not_know_ends_the_scan_and_not_the_session(
    autojump_clock: MockClock,
) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        bench = shop.control.bench
        bench.line.unknown_speeds.add(9600)
        await shop.ask(op="modules_scan", action="start", first=0x20, last=0x22, bauds=[115_200, 9600])
        scan = await scanned(shop)
        assert scan["end"] == "ended early: memory cannot be set to 9600 8N1"
        assert scan["asked"] == 3
        await bench.settle()
        assert len(bench.lines) == 1, "the port was not opened again"


async def test_a_port_that_is_lost_during_a_scan_is_opened_with_its_own_settings(autojump_clock: MockClock) -> None:
    async with workshop(is_reopened=True) as shop:
        await shop.control.ready_for_reset()
        bench = shop.control.bench
        await shop.ask(op="modules_scan", action="start", first=0x20, last=0xF7, bauds=[9600])
        await trio.sleep(0.3)
        bench.line.hang_up()
        await bench.until(lambda: len(bench.lines) == 2)
        scan = cast(dict[str, object], (await shop.ask(op="modules"))["scan"])
        assert (scan["is_running"], scan["end"]) == (False, "ended early: the port was lost")
        await bench.until(lambda: bool(bench.line.sent))
        assert not isinstance(bench.line.sent[0][1], ReadRegisters), "S0 first"
        assert bench.line.settings == []


async def test_one_whose_asker_has_gone_ends_by_itself(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        await shop.ask(op="modules_scan", action="start", first=1, last=247, bauds=[9600, 19_200])
        await trio.sleep(9)
        assert cast(dict[str, object], (await shop.ask(op="modules"))["scan"])["is_running"]
        await trio.sleep(9)
        assert shop.control.bench.schedule.pause.is_on
        await trio.sleep(1.2)
        scan = cast(dict[str, object], (await shop.ask(op="modules"))["scan"])
        assert (scan["is_running"], scan["end"]) == (False, "ended early: nobody asks for it any more")
        await shop.control.bench.settle()


async def test_a_search_that_cannot_run_is_refused_at_once(autojump_clock: MockClock) -> None:
    async with workshop(is_reopened=True) as shop:
        await shop.control.ready_for_reset()
        await shop.ask(op="modules_scan", action="start", first=1, last=247)
        error = await shop.refused(op="modules_search")
        assert (error["code"], "--cancel" in str(error["message"])) == ("ROBOT_BUSY", True)
        shop.control.bench.line.hang_up()
        await shop.control.bench.until(lambda: not shop.control.bench.schedule.is_open)
        error = await shop.refused(op="modules_search")
        assert (error["code"], "the bus is closed" in str(error["message"])) == ("NOT_READY", True)


async def test_where_the_daemon_only_listens_nobody_is_looked_for(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with workshop() as shop:
        kernel, state, wire = shop.control.guardian.inputs_now()
        heard = evolve(wire, is_open=False, is_listen_only=True, is_listening=True)
        monkeypatch.setattr(shop.control.guardian, "inputs_now", lambda: (kernel, state, heard))
        for request in ({"op": "modules_search"}, {"op": "modules_scan", "action": "start", "first": 1, "last": 2}):
            error = await shop.refused(**request)
            assert (error["code"], "bus.listen_only is set" in str(error["message"])) == ("NOT_READY", True)


async def test_a_scan_is_cancelled_by_root(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        await shop.ask(op="modules_scan", action="start", first=1, last=247)
        await trio.sleep(0.3)
        assert (await shop.refused(op="modules_scan", action="start", first=1, last=2))["code"] == "ROBOT_BUSY"
        assert (await shop.ask(op="modules_scan", action="cancel"))["was_running"]
        assert (await scanned(shop))["end"] == "cancelled"
        assert not (await shop.ask(op="modules_scan", action="cancel"))["was_running"]
        await shop.control.bench.settle()


async def test_no_scan_while_somebody_has_control(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        await shop.control.armed()
        error = await shop.refused(op="modules_scan", action="start", first=1, last=2)
        assert (error["code"], "anna has control" in str(error["message"])) == ("SAFETY_VIOLATION", True)
        assert shop.control.bench.schedule.pause.scan is None


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"action": "pause"}, "action"), ({"first": 0}, "first"), ({"last": "x"}, "last"),
        ({"first": 9, "last": 3}, "first"), ({"bauds": [1]}, "bauds"), ({"bauds": []}, "bauds"),
        ({"parities": ["mark"]}, "parities"), ({"bauds": 9600}, "bauds"), ({"bauds": [True]}, "bauds"),
    ],
)  # fmt: skip
async def test_a_senseless_scan_is_refused(autojump_clock: MockClock, wrong: dict[str, object], where: str) -> None:
    async with workshop() as shop:
        await shop.control.ready_for_reset()
        request = {"action": "start", "first": 1, "last": 2, **wrong}
        error = await shop.refused(op="modules_scan", **request)
        assert (error["code"], cast(dict[str, object], error["details"])["field"]) == ("INVALID_COMMAND", where)


async def test_a_bus_that_is_no_serial_line_is_not_scanned(autojump_clock: MockClock) -> None:
    async with workshop() as shop:
        desk = ModuleDesk(
            snapshots=shop.control.snapshots, guardian=shop.control.guardian, keeper=shop.keeper,
            scanner=shop.control.bench.bus, searcher=cast(ModuleDesk, None),  # type: ignore[arg-type] # not asked here
            lines=LineChoices(own=LineSettings(115_200), speeds=BAUD_RATES, refusal="this bus is a TCP connection"),
            standstill_mm_s=1.0, records=shop.control.recorder, utc_now=utc_now,
        )  # fmt: skip
        async with rejected("CONFLICT"):
            await desk.operations["modules_scan"].act(ROOT, {"action": "start", "first": 1, "last": 2})
