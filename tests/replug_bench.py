"""An adapter that is pulled out and plugged in elsewhere, again and again, under the daemon as a process.

The stable name is followed by the clock of the simulator: `linked_ns` is when it pointed to a line again, and a round
takes until every module is online at that line, as the daemon's own health says. What it holds is counted at the
process: descriptors in /proc, tasks and resident memory in its metrics.
"""

import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from attrs import define, field
from daemon_fixture import Daemon, Operator, until
from robot_fixture import SimulatedRobot

GONE_S = (0.02, 0.15)
FOLLOWS_S = (0.0, 0.1)
POLL_S = 0.005
WARM_UP = 5
ONLINE_S = 2.0
GROWTH_MB = 5.0
SLACK = 3
"""Descriptors and tasks that come and go with a request that is being answered; a leak would be one for each round."""
IDENTIFIED = {f"{unit:#04x}": (True, True, 0x0050_1000 + unit) for unit in (2, 3, 4, 5)}
"""Online, identified, and the serial number that the simulator gives."""


def percentile(samples: list[float], percent: int) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]


@define
class Holdings:
    """What a process holds."""

    descriptors: int
    tasks: int
    resident_mb: float

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.tasks} tasks, {self.resident_mb:.1f} MB"


@define
class ReplugBench:
    """One daemon on one simulated robot; `online_s` are the times from the new link to all modules online."""

    robot: SimulatedRobot
    daemon: Daemon
    client: httpx.AsyncClient
    operator: Operator
    chance: random.Random
    online_s: list[float] = field(factory=list)
    devices: set[str] = field(factory=set)

    async def holdings(self) -> Holdings:
        text = (await self.client.get("/metrics")).text
        found = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        descriptors = len(list(Path(f"/proc/{self.daemon.process.pid}/fd").iterdir()))
        return Holdings(
            descriptors, int(float(found["oht50_loop_tasks"])), float(found["process_resident_memory_bytes"]) / 2**20
        )

    async def replug(self) -> None:
        """One round; AssertionError if the bus was not seen to go, or does not come back."""
        order = {
            "op": "fault",
            "kind": "replug",
            "for_s": self.chance.uniform(*GONE_S),
            "delay_ms": 1000 * self.chance.uniform(*FOLLOWS_S),
        }
        await self.robot.ask(order)
        try:
            await until(self._is_lost, "the daemon sees that the bus is gone", poll_s=POLL_S)
            await until(self._is_online, "every module is online again", poll_s=POLL_S)
        except AssertionError as failure:
            raise AssertionError(f"{failure} in round {len(self.online_s)}; {await self.why()}") from failure
        line = await self.robot.ask({"op": "line"})
        self.online_s.append((time.monotonic_ns() - line["linked_ns"]) / 1e9)
        self.devices.add(line["device"])

    async def is_identified(self) -> bool:
        """Whether the API tells every module's serial number and that it is online."""
        view = (await self.operator.client.get("/api/v1/modules")).json()["data"]
        found = {one["address"]: (one["is_online"], one["is_identified"], one["serial"]) for one in view["modules"]}
        return found == IDENTIFIED

    async def why(self) -> str:
        """For messages of failures: what the daemon says, where the line is, and how late the simulator was."""
        checks = (await self.client.get("/health/ready")).json()["checks"]
        causes = {name: check["cause"] for name, check in checks.items() if not check["ok"]}
        line = await self.robot.ask({"op": "line"})
        late_ms = (await self.robot.ask({"op": "counters"}))["late_ms"]
        return f"{causes}; line {line['is_open']} {line['device']} {line['linked_ns']}; simulator late {late_ms:.0f} ms"

    def told(self) -> str:
        spread = " ".join(f"p{percent} {percentile(self.online_s, percent) * 1e3:.0f} ms" for percent in (50, 99))
        return f"{len(self.online_s)} replugs: link to online {spread} max {max(self.online_s) * 1e3:.0f} ms"

    async def _is_lost(self) -> bool:
        checks = (await self.client.get("/health/ready")).json()["checks"]
        return not checks["bus"]["ok"]

    async def _is_online(self) -> bool:
        return (await self.client.get("/health/ready")).status_code == 200


@asynccontextmanager
async def opened(tmp_path: Path, seed: int) -> AsyncIterator[ReplugBench]:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with (
            Daemon.running(tmp_path / "daemon", robot) as daemon,
            Operator.signed_in(daemon) as operator,
            httpx.AsyncClient(base_url=daemon.base_url, timeout=30) as client,
        ):
            yield ReplugBench(robot, daemon, client, operator, random.Random(seed))


async def run_replugs(tmp_path: Path, count: int, seed: int) -> None:
    """`count` rounds with one process; nothing may grow, everybody must be known again."""
    async with opened(tmp_path, seed) as bench:
        await until(bench.is_identified, "every module is identified")
        # The first rounds import and open what stays.
        for _ in range(WARM_UP):
            await bench.replug()
        before = await bench.holdings()
        for _ in range(count - WARM_UP):
            await bench.replug()
        after = await bench.holdings()
        print(f"{bench.told()}; {len(bench.devices)} devices; before: {before}; after: {after}")
        await until(bench.is_identified, "every module is who it was")
        assert len(bench.devices) >= 2, "it did come back as another device"
        assert after.descriptors <= before.descriptors + SLACK
        assert after.tasks <= before.tasks + SLACK
        assert after.resident_mb <= before.resident_mb + GROWTH_MB
        assert percentile(bench.online_s, 99) <= ONLINE_S
        assert (await bench.robot.ask({"op": "counters"}))["bus_hangups"] == count
