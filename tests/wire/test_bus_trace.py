"""`oht50ctl bus trace` on the real daemon: Wireshark's tshark and the simulator's own trace agree with every frame."""

from pathlib import Path

from daemon_fixture import Daemon
from robot_fixture import SimulatedRobot
from trace_witnesses import compare_trace

SECONDS = 6.0
"""The full minute is in tests/soak."""


async def test_every_frame_agrees_with_tshark_and_with_the_wire(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(directory, robot) as daemon:
            found = await compare_trace(daemon, robot, directory, SECONDS)
    print(f"{SECONDS:g} s of bus trace: {found}")
    assert found.frames > 400
    assert {1, 2, 3, 4, 6, 16} <= set(found.functions)
    assert found.values > 2000
