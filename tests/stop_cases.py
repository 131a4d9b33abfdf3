"""Causes of a stop and what each must keep, shared by the acceptance tests and the soak.

The truth is the plant's own log over the simulator's control socket; the sum is the one that `oht50d check` prints.
"""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio
from attrs import frozen
from daemon_fixture import Daemon, Operator, until, wait_at_rest
from robot_fixture import SimulatedRobot

from oht50d.app.config import load_config
from oht50d.app.rooms import load_maps, reaction_model, released_word
from oht50d.core.actuators import find_actuators
from oht50d.core.reaction import ReactionSum


@frozen
class StopCase:
    """One cause: how it is brought about, which sum it must keep, which causes may be named."""

    name: str
    sum_name: str
    codes: frozenset[str]
    act: Callable[[SimulatedRobot, Daemon, Operator], Awaitable[None]]


async def _obstacle(robot: SimulatedRobot, _daemon: Daemon, _operator: Operator) -> None:
    await robot.ask({"op": "obstacle", "id": "box", "ahead_mm": 420, "y_mm": 0, "radius_mm": 100})


async def _silence(robot: SimulatedRobot, _daemon: Daemon, _operator: Operator) -> None:
    await robot.ask({"op": "fault", "kind": "lidar_silence", "for_s": 5})


async def _chain(robot: SimulatedRobot, _daemon: Daemon, _operator: Operator) -> None:
    await robot.ask({"op": "estop", "open": True})


async def _stop(_robot: SimulatedRobot, _daemon: Daemon, operator: Operator) -> None:
    await operator.client.post("/api/v1/robot/emergency-stop")


async def _sigterm(_robot: SimulatedRobot, daemon: Daemon, _operator: Operator) -> None:
    daemon.process.send_signal(signal.SIGTERM)


CASES = (
    StopCase("obstacle", "obstacle in the stop zone", frozenset({"zone_stop"}), _obstacle),
    StopCase("lidar_silence", "LiDAR silent", frozenset({"lidar_silent", "lidar_absent", "sector_unknown"}), _silence),
    StopCase("safety_bit", "safety bit", frozenset({"chain_open"}), _chain),
    StopCase("stop_button", "STOP or SIGTERM", frozenset({"operator_stop"}), _stop),
    StopCase("sigterm", "STOP or SIGTERM", frozenset({"shutdown"}), _sigterm),
)


def reaction_sum(directory: Path, name: str) -> ReactionSum:
    """The printed sum of a cause for the configuration of a running daemon."""
    config = load_config(directory / "oht50d.toml", environ={}).config
    maps = load_maps(config.bus)
    actuators = find_actuators(maps, released_word=released_word(config.safety.brake_wiring))
    return next(found for found in reaction_model(config, maps, actuators).sums() if found.cause == name)


async def moment_of(robot: SimulatedRobot, event: str, after_ns: int) -> int:
    """When the plant's log first shows `event` after a moment."""

    async def find() -> int | None:
        log = (await robot.ask({"op": "log"}))["log"]
        return next(
            (row["monotonic_ns"] for row in log if row["event"] == event and row["monotonic_ns"] > after_ns), None
        )

    found: int = await until(find, f"{event} in the plant's log", 10)
    return found


async def last_stop(operator: Operator) -> dict[str, Any]:
    """The newest stop, complete."""

    async def complete() -> dict[str, Any] | None:
        stop = (await operator.safety())["last_stops"][-1]
        return stop if stop["phase"] == "standstill" else None

    found: dict[str, Any] = await until(complete, "the stop is complete", 10)
    return found


async def run_case(case: StopCase, directory: Path, robot: SimulatedRobot, phase_s: float) -> None:
    async with Daemon.running(directory, robot) as daemon, Operator.signed_in(daemon) as operator:
        async with operator.moving(robot):
            await trio.sleep(phase_s)
            before = await robot.ask({"op": "plant"})
            await case.act(robot, daemon, operator)
            rest_ns = await moment_of(robot, "standstill", before["monotonic_ns"])
        predicted = reaction_sum(directory, case.sum_name)
        after = await wait_at_rest(robot)
        taken_ms = (rest_ns - before["monotonic_ns"]) / 1e6
        travelled_mm = after["x_mm"] - before["x_mm"]
        print(f"{case.name}: at rest after {taken_ms:.0f} of {predicted.total_ms:.0f} ms, "
              f"{travelled_mm:.1f} of {predicted.distance_mm:.0f} mm")  # fmt: skip
        assert taken_ms <= predicted.total_ms
        assert 0 <= travelled_mm <= predicted.distance_mm
        if case.name == "sigterm":
            await _check_recorded(directory, daemon, robot)
        else:
            _check_report(case, await last_stop(operator))


def _check_report(case: StopCase, stop: dict[str, Any]) -> None:
    """Detected, first frame, output zero, standstill: in this order, each told."""
    assert case.codes & {cause["code"] for cause in stop["causes"]}, stop
    names = ("first_frame_ms", "output_zero_ms", "standstill_ms")
    times = [stop[name] for name in names]
    assert all(moment is not None for moment in times), stop
    assert 0 <= times[0] <= times[1] <= times[2], stop
    told = ", ".join(f"{name} {moment:.1f}" for name, moment in zip(names, times, strict=True))
    print(f"{case.name}: {stop['kind']}, ms after detection: {told}")


async def _check_recorded(directory: Path, daemon: Daemon, robot: SimulatedRobot) -> None:
    """After SIGTERM the four times are in the records, which the next start shows."""
    assert await daemon.terminate() == 0, daemon.log.read_text()[-4000:]
    async with Daemon.running(directory, robot) as again, Operator.signed_in(again) as operator:
        events = (await operator.client.get("/api/v1/events", params={"limit": 50})).json()["data"]["events"]
        finished = [event for event in events if "standstill_ms" in event["details"]]
        assert finished, [event["kind"] for event in events]
        assert {"first_frame_ms", "output_zero_ms", "standstill_ms"} <= set(finished[0]["details"])
