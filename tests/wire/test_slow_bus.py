"""The daemon on a simulated bus whose modules become slow: the stated order of giving way, then motion is refused."""

from pathlib import Path
from typing import Any

import trio
from daemon_fixture import ROOM_S, Daemon, Operator, until
from robot_fixture import SimulatedRobot

AT_REST = ["imu", "dock", "auxiliary", "slow", "static", "battery"]
"""Inputs give way, after dock, while moving only."""


async def plan_of(operator: Operator) -> dict[str, Any]:
    answer = (await operator.client.get("/api/v1/modules")).json()
    found: dict[str, Any] = answer["data"]["bus"]["plan"]
    return found


def names(plan: dict[str, Any]) -> list[str]:
    return [words.partition(":")[0] for words in plan["given_way"]]


async def test_classes_give_way_in_the_stated_order_and_a_bus_that_is_too_slow_refuses_motion(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path) as robot:
        async with Daemon.running(tmp_path / "daemon", robot) as daemon, Operator.signed_in(daemon) as operator:

            async def has_room() -> bool:
                return (await plan_of(operator))["refusal"] is None

            await until(has_room, "motion is not refused at 1 ms", ROOM_S)
            await robot.ask({"op": "turnaround", "ms": 8})

            seen: list[list[str]] = []

            async def all_give_way() -> bool:
                found = names(await plan_of(operator))
                if not seen or seen[-1] != found:
                    seen.append(found)
                return found == AT_REST

            for slower_ms in (2, 3, 4, 5):
                await robot.ask({"op": "turnaround", "ms": slower_ms})
                for _ in range(8):
                    await all_give_way()
                    await trio.sleep(0.2)
                print(f"{slower_ms} ms: {seen[-1]}")
            await robot.ask({"op": "turnaround", "ms": 8})
            await until(all_give_way, "all but the vital classes give way at 8 ms")
            print(f"8 ms: {seen}")
            for found in seen:
                assert found == AT_REST[: len(found)], "in the stated order"
            await robot.ask({"op": "turnaround", "ms": 16})

            async def is_refused() -> str:
                codes = {cause["code"]: cause["detail"] for cause in (await operator.safety())["inhibits"]}
                return codes.get("bus_too_slow", "")

            words = await until(is_refused, "motion is refused at 16 ms")
            print(f"16 ms: {words}")
            assert "is read every" in words
            assert "within 150.0 ms" in words
            assert daemon.process.poll() is None, "the daemon stays up"
            modules = (await operator.client.get("/api/v1/modules")).json()["data"]["modules"]
            assert all(module["is_online"] for module in modules), "slow is not dead"
