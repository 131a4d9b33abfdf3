"""The simulator's own lateness over its control socket, as the daemon asks for it."""

import os
import signal
from pathlib import Path

import trio
from daemon_fixture import until
from robot_fixture import SimulatedRobot

from oht50d.app.simulated_robot import SimulatedSite, ask_lateness
from oht50d.app.simulation_pace import SimulatorLateness

STALL_S = 0.4
LIMIT_S = 30


async def test_a_simulator_that_was_held_up_says_so(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        site = SimulatedSite(tmp_path / "unused.toml", robot.runtime_dir)
        before = await ask_lateness(site)
        assert before is not None
        os.kill(robot.process.pid, signal.SIGSTOP)
        await trio.sleep(STALL_S)
        os.kill(robot.process.pid, signal.SIGCONT)

        async def later() -> SimulatorLateness | None:
            found = await ask_lateness(site)
            return found if found is not None and found.total_ms > before.total_ms else None

        after = await until(later, "the simulator tells its lateness")
        assert after.worst_ms >= STALL_S * 1000 - 50
        assert after.total_ms - before.total_ms >= STALL_S * 1000 - 50


async def test_without_a_simulator_nothing_is_known(tmp_path: Path) -> None:
    assert await ask_lateness(SimulatedSite(tmp_path / "unused.toml", tmp_path)) is None


async def test_a_simulator_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        os.kill(robot.process.pid, signal.SIGSTOP)
        try:
            with trio.fail_after(LIMIT_S):
                assert await ask_lateness(SimulatedSite(tmp_path / "unused.toml", robot.runtime_dir)) is None
        finally:
            os.kill(robot.process.pid, signal.SIGCONT)
