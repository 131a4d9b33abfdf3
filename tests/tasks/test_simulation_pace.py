"""The hint that a computer is too slow for its simulated robot: when it comes, when it goes, how often it is logged."""

from typing import cast

import pytest
import trio
from bus_fakes import MS
from trio.testing import MockClock

from oht50d.app.health import HealthDesk
from oht50d.app.rooms import Rooms
from oht50d.app.simulation_pace import MAX_MOMENTS, SimulationPace, SimulatorLateness
from oht50d.drivers.systemd import Notifier


async def test_small_delays_say_nothing(autojump_clock: MockClock) -> None:
    pace = SimulationPace()
    for _ in range(1000):
        pace.note_step(19 * MS)
    assert pace.hint == ""


async def test_late_steps_make_the_hint_and_time_takes_it_away(autojump_clock: MockClock) -> None:
    pace = SimulationPace()
    pace.note_step(100 * MS)
    assert pace.hint == ""
    await trio.sleep(10)
    pace.note_step(60 * MS)
    assert "too slow or too busy for the simulation (160 ms late in the last 30 s)" in pace.hint
    await trio.sleep(21)
    assert pace.hint == ""


async def test_a_late_simulator_is_asked_and_logged_once_a_minute(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    total_ms = 0.0

    async def ask() -> SimulatorLateness | None:
        nonlocal total_ms
        await trio.lowlevel.checkpoint()
        total_ms += 40
        return SimulatorLateness(total_ms, 40) if total_ms > 80 else None

    pace = SimulationPace(ask)
    with trio.move_on_after(119):
        await pace.run()
    assert "too busy for the simulation" in pace.hint
    assert len(caplog.records) == 2
    assert "nothing is wrong with the wiring" in caplog.text


async def test_what_is_kept_is_bounded(autojump_clock: MockClock) -> None:
    pace = SimulationPace()
    for _ in range(10 * MAX_MOMENTS):
        pace.note_step(20 * MS)
    assert f"({20 * MAX_MOMENTS} ms late" in pace.hint


async def test_without_a_simulation_there_is_no_hint(autojump_clock: MockClock) -> None:
    assert HealthDesk(cast(Rooms, None), cast(Notifier, None)).hints() == []
