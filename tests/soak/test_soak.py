"""The long tests: twenty rounds of every stop cause, and a robot whose memory, descriptors and lag stay bounded."""

import os
import random
import time
from pathlib import Path

import httpx
import psutil
import pytest
import trio
from daemon_fixture import Daemon, Operator
from robot_fixture import SimulatedRobot
from stop_cases import CASES, StopCase, run_case

ROUNDS = 20
STEADY_MINUTES = float(os.environ.get("OHT50_SOAK_MINUTES", "10"))
GROWTH_MB = 10.0
LAG_S = 0.25

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_stop_round(case: StopCase, number: int, tmp_path: Path) -> None:
    phase_s = random.Random(f"{case.name}{number}").uniform(0.0, 0.25)
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        await run_case(case, tmp_path / "daemon", robot, phase_s)


async def worst_lag_s(client: httpx.AsyncClient) -> float:
    """The worst step of the event loop since the last scrape."""
    text = (await client.get("/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("oht50_loop_step_worst_seconds ")]
    return float(lines[0].split()[1])


async def test_memory_descriptors_and_lag_stay_bounded(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "hall") as robot:
        async with Daemon.running(tmp_path / "daemon", robot) as daemon, Operator.signed_in(daemon) as operator:
            process = psutil.Process(daemon.process.pid)
            await trio.sleep(20)
            rss_mb, descriptors = process.memory_info().rss / 2**20, process.num_fds()
            worst_s = 0.0
            ends = time.monotonic() + STEADY_MINUTES * 60
            while time.monotonic() < ends:
                await operator.status()
                worst_s = max(worst_s, await worst_lag_s(operator.client))
                await trio.sleep(1)
            grown_mb = process.memory_info().rss / 2**20 - rss_mb
            told = f"RSS {rss_mb:.0f} MB, grown {grown_mb:.1f} MB, worst step {worst_s * 1e3:.0f} ms"
            print(f"{STEADY_MINUTES:g} minutes: {told}")
            assert grown_mb < GROWTH_MB
            assert process.num_fds() <= descriptors + 2
            assert worst_s < LAG_S
