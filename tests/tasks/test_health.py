"""Who pets the watchdog, and what readiness and the status line say: the real ring on memory, under the mock clock."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from attrs import define, field
from bus_fakes import MS
from control_bench import Control, running_control
from trio.testing import MockClock

from oht50d.app.health import HealthDesk
from oht50d.app.rooms import Rooms
from oht50d.app.simulation_pace import SimulationPace
from oht50d.clock import now_ns
from oht50d.drivers.systemd import Notifier
from oht50d.model.errors import LinkError

PERIOD_MS = 2000


@define(slots=False)
class Manager:
    """A service manager of memory: when it was petted and what it was told."""

    pets_ns: list[int] = field(factory=list)
    words: list[str] = field(factory=list)

    def watchdog(self) -> None:
        self.pets_ns.append(now_ns())

    def status(self, words: str) -> None:
        self.words.append(words)

    def pets_since(self, at_ns: int) -> int:
        return sum(moment > at_ns for moment in self.pets_ns)


@asynccontextmanager
async def watched(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Control, Manager, HealthDesk]]:
    monkeypatch.setenv("WATCHDOG_USEC", str(PERIOD_MS * 1000))
    async with running_control() as control:
        rooms = SimpleNamespace(bus=control.bench.bus, snapshots=control.snapshots, recorder=control.recorder)
        manager = Manager()
        desk = HealthDesk(cast(Rooms, rooms), cast(Notifier, manager), SimulationPace())
        control.guardian.on_step = desk.note_step
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run)
            yield control, manager, desk
            nursery.cancel_scope.cancel()


async def test_a_healthy_ring_is_petted_well_within_the_period(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(monkeypatch) as (_, manager, desk):
        await trio.sleep(5)
        gaps_ms = [(later - earlier) / MS for earlier, later in pairwise(manager.pets_ns)]
        assert max(gaps_ms) < PERIOD_MS / 3
        assert min(gaps_ms) >= PERIOD_MS / 4 - 1
        view = desk.view()
        assert (view.is_live, view.is_ready) == (True, True)
        assert manager.words[-1].startswith("SIMULATED SAFE")


async def test_a_wedged_wire_is_not_petted(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guardian is well and the port is open, but the bus owner's task hangs in an await of its own."""
    async with watched(monkeypatch) as (control, manager, desk):
        await trio.sleep(1)
        released = trio.Event()

        async def wedge(_deadline_ns: int) -> None:
            await released.wait()

        monkeypatch.setattr(control.bench.bus._timer, "wait_until_ns", wedge)
        wedged_ns = now_ns()
        await trio.sleep(5)
        assert manager.pets_since(wedged_ns + 400 * MS) == 0
        assert control.bench.bus.status.is_open
        assert desk.view().is_live, "the guardian lives; the service manager is not told that all is well"
        monkeypatch.undo()
        released.set()
        again_ns = now_ns()
        await trio.sleep(2)
        assert manager.pets_since(again_ns) >= 2


@pytest.mark.parametrize(("late_ms", "is_petted"), [(49, True), (50, False)])
async def test_late_steps_are_not_petted(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, late_ms: int, is_petted: bool
) -> None:
    async with watched(monkeypatch) as (control, manager, desk):
        await trio.sleep(1)
        began_ns = now_ns()
        control.guardian.on_step = lambda decision, _lateness_ns: desk.note_step(decision, late_ms * MS)
        await trio.sleep(3)
        assert (manager.pets_since(began_ns) > 0) is is_petted


async def test_a_dead_guardian_is_neither_petted_nor_live(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(monkeypatch) as (control, manager, desk):
        await trio.sleep(1)
        dead_ns = now_ns()
        control.guardian.on_step = lambda _decision, _lateness_ns: None
        for _ in range(10):
            await trio.sleep(0.5)
            desk.note_reopening(None)
        # The reopening loop vouches for a guardian that stepped within the last second, no longer.
        assert manager.pets_since(dead_ns + 1000 * MS) == 0
        assert not desk.view().is_live
        assert not desk.view().is_ready


async def test_while_the_port_is_closed_the_reopening_loop_is_petted_and_the_guardian_is_not(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(monkeypatch) as (control, manager, desk):
        monkeypatch.setattr(control.bench.schedule, "_is_open", False)
        closed_ns = now_ns()
        await trio.sleep(2)
        assert manager.pets_since(closed_ns) == 0
        desk.note_reopening(LinkError("no file left", cause="resources"))
        assert manager.pets_since(closed_ns) == 0, "waiting does not give this process its files back"
        desk.note_reopening(LinkError("not there", cause="absent"))
        assert manager.pets_since(closed_ns) == 1


async def test_a_slow_computer_is_a_hint_and_no_fault(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(monkeypatch) as (control, manager, desk):
        await trio.sleep(1)
        assert "simulation" not in desk.view().checks
        for _ in range(4):
            control.guardian.on_step(control.snapshots.current().decision, 45 * MS)
        await trio.sleep(1)
        check = desk.view().checks["simulation"]
        assert (check.is_ok, "too busy for the simulation" in check.cause) == (True, True)
        assert desk.view().is_ready
        assert "too busy for the simulation" in manager.words[-1]
        assert "nothing is wrong with the wiring" in desk.hints()[0]


async def test_every_trouble_is_named_with_cause_and_remedy(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(monkeypatch) as (control, manager, desk):
        control.bench.rules.append(lambda request, _: [] if request.unit == 0x05 else None)
        control.store.problem = "disk full"
        await trio.sleep(3)
        checks: dict[str, Any] = {name: (c.is_ok, c.cause) for name, c in desk.view().checks.items()}
        assert checks["modules"][0] is False
        assert checks["modules"][1] == "no reply from 0x05 (dock): check power, A/B wiring, address switch"
        assert checks["memory"] == (False, "disk full")
        assert not desk.view().is_ready
        assert all(word in manager.words[-1] for word in ("0x05", "disk full", "Check the disk", "A/B wiring"))
