"""One minute of `oht50ctl bus trace` in Wireshark's tshark as Modbus RTU: every frame agrees, and with the wire too."""

from pathlib import Path

import pytest
from daemon_fixture import Daemon
from robot_fixture import SimulatedRobot
from trace_witnesses import compare_trace

SECONDS = 60.0

pytestmark = pytest.mark.soak


async def test_one_minute_of_trace(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(directory, robot) as daemon:
            found = await compare_trace(daemon, robot, directory, SECONDS)
    print(f"{SECONDS:g} s of bus trace: {found}")
    assert found.frames > 6000
