"""Acceptance: every cause, at random phase, brings the plant to rest within the reaction sum, and four times are told.

The truth is the plant's own log over the simulator's control socket; the sum is the one that `oht50d check` prints.
One round per cause here; `./dev soak` runs twenty.
"""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import frozen
from daemon_fixture import Daemon, Operator, wait_at_rest
from robot_fixture import SimulatedRobot
from stop_cases import CASES, StopCase, last_stop, moment_of, reaction_sum, run_case


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_plant_is_at_rest_within_the_sum(case: StopCase, tmp_path: Path) -> None:
    phase_s = random.Random(case.name).uniform(0.0, 0.25)
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        await run_case(case, tmp_path / "daemon", robot, phase_s)


@asynccontextmanager
async def site(tmp_path: Path, maps: str) -> AsyncIterator[tuple[SimulatedRobot, Operator]]:
    """A ready robot with a drive map; its drives have no time-out until the daemon writes one."""
    scenario = tmp_path / "site.toml"
    scenario.write_text(
        f'title = "site"\nseed = 3\n[hall]\nlength_mm = 11000\nwidth_mm = 3000\n[maps]\ntravel = "{maps}"\n'
        "[plant]\nstart_x_mm = 3000\n"
    )
    with SimulatedRobot.start(tmp_path, scenario) as robot:
        async with (
            Daemon.running(tmp_path / "daemon", robot, maps=maps) as daemon,
            Operator.signed_in(daemon) as operator,
        ):
            yield robot, operator


@frozen
class ClosedPty:
    """What was seen after the bus pty was closed while moving, and what the operator was shown."""

    before: dict[str, Any]
    during: dict[str, Any]
    requests: int
    residual: str
    stop: dict[str, Any]


async def close_pty(robot: SimulatedRobot, operator: Operator) -> ClosedPty:
    async with operator.moving(robot):
        before = await robot.ask({"op": "plant"})
        mark = (await robot.ask({"op": "trace", "since": 0}))["next"]
        await robot.ask({"op": "fault", "kind": "hangup", "for_s": 2.0})
        closed_ns = time.monotonic_ns()
        await trio.sleep(1.0)
        residual = (await operator.safety())["last_stops"][-1]["residual"]
        during = await robot.ask({"op": "plant"})
        frames = (await robot.ask({"op": "trace", "since": mark}))["frames"]
    requests = [frame for frame in frames if frame["way"] == "request" and frame["monotonic_ns"] > closed_ns]
    await wait_at_rest(robot)
    return ClosedPty(before, during, len(requests), residual, await last_stop(operator))


async def test_closed_pty_with_drive_timeout(tmp_path: Path) -> None:
    """The drives stop by themselves within the sum; no frame reaches them; S0 on the next opening."""
    async with site(tmp_path, "travel_motor_timeout.toml") as (robot, operator):
        seen = await close_pty(robot, operator)
        rest_ns = await moment_of(robot, "standstill", seen.before["monotonic_ns"])
    predicted = reaction_sum(tmp_path / "daemon", "bus closed, drives time out")
    taken_ms = (rest_ns - seen.before["monotonic_ns"]) / 1e6
    print(
        f"closed pty with time-out: at rest after {taken_ms:.0f} of {predicted.total_ms:.0f} ms; shown: {seen.residual}"
    )
    assert taken_ms <= predicted.total_ms
    assert (seen.requests, seen.stop["kind"]) == (0, "S0")
    assert "time-out" in seen.residual


async def test_closed_pty_without_drive_timeout(tmp_path: Path) -> None:
    """No frame can be sent: the residual motion is real, and it is shown; S0 on the next opening ends it."""
    async with site(tmp_path, "travel_motor.toml") as (robot, operator):
        seen = await close_pty(robot, operator)
    print(f"closed pty, no time-out: still {seen.during['v_mm_s']:.0f} mm/s after 1 s; shown: {seen.residual}")
    assert seen.during["v_mm_s"] > 40
    assert (seen.requests, seen.stop["kind"]) == (0, "S0")
    assert "No frame can be sent" in seen.residual
    assert "red button" in seen.residual
