"""The whole daemon on a simulated robot that is reached over TCP: ready, driving, stopped, and safe after a kill."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from bus_servers import served
from daemon_fixture import Daemon, Operator, wait_at_rest
from robot_fixture import ROOT, SimulatedRobot

LIMIT_S = 60
BOTH = pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path, "empty") as it:
        yield it


@asynccontextmanager
async def running(tmp_path: Path, robot: SimulatedRobot, transport: str) -> AsyncIterator[tuple[Daemon, str]]:
    """A daemon that is ready, and where its bus is."""
    async with served(robot.bus_path, transport) as port:
        directory = tmp_path / "daemon"
        (directory / "conf.d").mkdir(parents=True)
        (directory / "conf.d" / "tcp.toml").write_text(f'[bus]\ntransport = "{transport}"\n')
        environ = {"FIRMWARE_HOST": "localhost", "FIRMWARE_PORT": str(port)}
        async with Daemon.running(directory, robot, environ=environ) as daemon:
            yield daemon, f"localhost:{port}"


def assert_safe(plant: dict[str, Any]) -> None:
    assert plant["brake_engaged"]
    assert not any(drive["enable"] or drive["duty_ratio"] for drive in plant["drives"])


@BOTH
async def test_the_daemon_drives_and_stops_the_robot(transport: str, tmp_path: Path, robot: SimulatedRobot) -> None:
    async with running(tmp_path, robot, transport) as (daemon, place), Operator.signed_in(daemon) as operator:
        bus = (await operator.client.get("/api/v1/modules")).json()["data"]["bus"]
        assert (bus["is_open"], bus["transport"], bus["port"], bus["early_frames"]) == (True, transport, place, 0)
        assert bus["device"].endswith(place.partition(":")[2])
        async with operator.moving(robot):
            pass
        await wait_at_rest(robot, limit_s=10)
        assert await daemon.terminate() == 0
    assert_safe(await robot.ask({"op": "plant"}))


@BOTH
@pytest.mark.usefixtures("product_speed")
async def test_safe_stop_reaches_a_moving_robot_after_a_kill(
    transport: str, tmp_path: Path, robot: SimulatedRobot
) -> None:
    async with running(tmp_path, robot, transport) as (daemon, place):
        async with Operator.signed_in(daemon) as operator, operator.moving(robot):
            daemon.kill()
        assert abs((await robot.ask({"op": "plant"}))["v_mm_s"]) > 40, (
            "drives without a time-out keep their last command"
        )
        ended = await trio.to_thread.run_sync(safe_stop, tmp_path, place)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "3 of 3 stop frames answered" in ended.stdout
        assert_safe(await wait_at_rest(robot, limit_s=5))


def safe_stop(tmp_path: Path, place: str) -> subprocess.CompletedProcess[str]:
    host, _, port = place.partition(":")
    command = [sys.executable, "-m", "oht50d", "safe-stop", "--config", str(tmp_path / "daemon" / "oht50d.toml")]
    command += ["--set", f"bus.tcp.host={host}", "--set", f"bus.tcp.port={port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT)
