"""The daemon on a simulated bus, one module silenced after the other: the others keep their polls.

Figures of whole minutes are in virtual time (`tests/tasks/test_bus_isolation.py`); here the clock is real and the
machine may be shared.
"""

from pathlib import Path
from typing import Any

import trio
from daemon_fixture import Daemon, Operator, until
from robot_fixture import SimulatedRobot

SILENT_S = 4.0
BACK_S = 30.0
"""Generous: how soon a module is back is measured where nothing else runs (the replug soak)."""
SILENCED = (2, 4, 5)


async def modules(operator: Operator) -> dict[int, dict[str, Any]]:
    answer = (await operator.client.get("/api/v1/modules")).json()
    return {module["addr"]: module for module in answer["data"]["modules"]}


async def test_a_silent_module_costs_the_others_nothing_and_is_back_soon(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path) as robot:
        async with Daemon.running(tmp_path / "daemon", robot) as daemon, Operator.signed_in(daemon) as operator:
            for unit in SILENCED:
                await robot.ask({"op": "fault", "kind": "silence", "module": unit, "for_s": SILENT_S})
                before = await modules(operator)
                await trio.sleep(SILENT_S - 0.5)
                after = await modules(operator)
                asked = after[unit]["counters"]["requests"] - before[unit]["counters"]["requests"]
                print(f"{unit:#04x}: asked {asked} times in {SILENT_S - 0.5} s")
                assert 2 <= asked <= 20
                assert after[3]["counters"]["timeouts"] - before[3]["counters"]["timeouts"] <= 2
                polls = after[3]["counters"]["requests"] - before[3]["counters"]["requests"]
                assert polls >= 15 * (SILENT_S - 0.5), "the safety module is asked 20 times a second"

                async def is_back(unit: int = unit) -> bool:
                    return bool((await modules(operator))[unit]["is_online"])

                await until(is_back, f"{unit:#04x} is back", BACK_S)
