"""The whole daemon on a simulated robot that is reached over TCP: ready, stopped in order, and safe after a kill."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trio
from bus_servers import served
from daemon_fixture import Daemon, Operator, until, wait_at_rest, wait_moving
from robot_fixture import ROOT, SimulatedRobot

from oht50d.app.rooms import load_maps
from oht50d.codec.framing import Framing
from oht50d.core.actuators import find_actuators
from oht50d.drivers.blocking_link import BlockingLink, open_blocking
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.bus_transport import framing_of
from oht50d.drivers.tcp_link import TcpConfig
from oht50d.model.bus import BusRequest, WriteRegister
from oht50d.model.errors import RemoteProtocolError

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
async def test_the_daemon_is_ready_stops_and_ends_in_order(
    transport: str, tmp_path: Path, robot: SimulatedRobot
) -> None:
    async with running(tmp_path, robot, transport) as (daemon, place), Operator.signed_in(daemon) as operator:
        bus = (await operator.client.get("/api/v1/modules")).json()["data"]["bus"]
        assert (bus["is_open"], bus["transport"], bus["port"], bus["early_frames"]) == (True, transport, place, 0)
        assert bus["device"].endswith(place.partition(":")[2])

        async def is_stopped() -> bool:
            """Pressed again while a busy machine lets replies come late."""
            answer = await operator.client.post("/api/v1/robot/emergency-stop")
            return answer.json()["data"]["outcome"] in {"acknowledged", "verified"}

        await until(is_stopped, "STOP is read back")
        assert await daemon.terminate() == 0
    assert_safe(await robot.ask({"op": "plant"}))


@BOTH
async def test_safe_stop_reaches_a_moving_robot_after_a_kill(
    transport: str, tmp_path: Path, robot: SimulatedRobot
) -> None:
    async with running(tmp_path, robot, transport) as (daemon, place):
        daemon.kill()
        await trio.to_thread.run_sync(drive, place, transport)
        await wait_moving(robot)
        ended = await trio.to_thread.run_sync(safe_stop, tmp_path, place)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "3 of 3 stop frames answered" in ended.stdout
        assert_safe(await wait_at_rest(robot, limit_s=LIMIT_S))


def drive(place: str, transport: str) -> None:
    """Somebody else's master, for which TCP has no lock: brake released, both drives forward and on, until told."""
    host, _, port = place.partition(":")
    bus = BusConfig(transport=Transport(transport), tcp=TcpConfig(host=host, port=int(port)))
    actuators = find_actuators(load_maps(bus), released_word=1)
    release = actuators.brake.release()
    assert release is not None
    frames: list[BusRequest] = [release]
    frames += [WriteRegister(drive.unit, drive.direction, 1) for drive in actuators.drives]
    frames += [drive.output(enable=True, setpoint=20, linear_input=0) for drive in actuators.drives]
    link, framing = open_blocking(bus), framing_of(bus)
    for frame in frames:
        assert any(is_answered(link, framing, frame) for _ in range(20)), frame
    link.close()


def is_answered(link: BlockingLink, framing: Framing, frame: BusRequest) -> bool:
    link.send(framing.encode(frame))
    framing.expect(frame)
    ends_s = monotonic() + 1
    while monotonic() < ends_s:
        octets = link.receive()
        with suppress(RemoteProtocolError):
            if octets and framing.receive_data(octets) is not None:
                return True
    return False


def safe_stop(tmp_path: Path, place: str) -> subprocess.CompletedProcess[str]:
    host, _, port = place.partition(":")
    command = [sys.executable, "-m", "oht50d", "safe-stop", "--config", str(tmp_path / "daemon" / "oht50d.toml")]
    command += ["--set", f"bus.tcp.host={host}", "--set", f"bus.tcp.port={port}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT)
