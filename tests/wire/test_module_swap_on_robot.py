"""A swapped module and a foreign one, with the whole daemon on the simulated robot, through the command line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import trio
from daemon_fixture import ROOT, Daemon, Operator, until
from robot_fixture import SimulatedRobot

from oht50d.app.exit_codes import ExitCode

DOCK, LIFTER = 0x05, 0x06


async def ctl(directory: Path, *words: str, expected: int = ExitCode.OK) -> dict[str, Any]:
    """What `oht50ctl --json` prints, as the user of the test."""
    command = [sys.executable, "-m", "oht50d.app.ctl", "--socket", str(directory / "run" / "control.sock"), "--json"]
    done = await trio.run_process(
        [*command, *words], capture_stdout=True, capture_stderr=True, check=False, cwd=ROOT, stdin=subprocess.DEVNULL
    )
    assert done.returncode == expected, (done.returncode, done.stdout, done.stderr)
    return cast(dict[str, Any], json.loads(done.stdout)) if done.stdout.strip() else {}


async def changed(operator: Operator) -> str:
    """The words of the cause once it stands against motion."""

    async def words() -> str:
        causes = (await operator.safety())["inhibits"]
        return next((cause["detail"] for cause in causes if cause["code"] == "module_changed"), "")

    return str(await until(words, "the changed module inhibits"))


async def free(operator: Operator) -> None:
    async def is_free() -> bool:
        return "module_changed" not in {cause["code"] for cause in (await operator.safety())["inhibits"]}

    await until(is_free, "the accepted module is free")


async def test_swapped_while_running_and_across_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    is_root = os.getuid() == 0
    with SimulatedRobot.start(tmp_path) as robot:
        async with Daemon.running(directory, robot) as daemon:
            async with Operator.signed_in(daemon) as operator:
                await robot.ask({"op": "swap", "module": DOCK, "serial": 1234, "for_s": 0.5})
                words = await changed(operator)
                assert words.startswith("another module at 0x05 (dock): serial 1234 instead of ")
                assert "`oht50ctl modules accept 0x05 --serial 1234`" in words
                accept = ("modules", "accept", "0x05", "--serial")
                if not is_root:
                    await ctl(directory, *accept, "1234", expected=ExitCode.PERMISSION)
                    return
                await ctl(directory, *accept, "999", expected=ExitCode.FAILURE)
                assert (await ctl(directory, *accept, "1234"))["serial"] == 1234
                await free(operator)
            await daemon.terminate()
        await robot.ask({"op": "swap", "module": DOCK, "serial": 4321, "for_s": 0.1})
        async with Daemon.running(directory, robot) as daemon, Operator.signed_in(daemon) as operator:
            assert "serial 4321 instead of 1234" in await changed(operator)
            modules = (await ctl(directory, "modules"))["modules"]
            assert [(one["address"], one["trust"]) for one in modules][3] == (DOCK, "changed")
            shown = (await operator.client.get("/api/v1/modules")).json()["data"]["modules"][3]
            assert (shown["trust"], shown["serial"], shown["accepted_serial"]) == ("changed", 4321, 1234)
            await ctl(directory, *accept, "4321")
            await free(operator)
            kinds = {event["kind"] for event in (await ctl(directory, "events", "-n", "200"))["events"]}
            assert {"module.discovered", "module.updated", "module.accepted", "module.online"} <= kinds


async def test_a_foreign_module_is_found_in_less_than_five_seconds_and_a_scan_finds_one_at_another_speed(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path) as robot:
        async with Daemon.running(directory, robot):
            await robot.ask({"op": "add_module", "address": LIFTER, "type": 6, "tag": "LIFT", "serial": 777})
            began_s = time.monotonic()
            found = (await ctl(directory, "modules", "scan"))["found"]
            assert time.monotonic() - began_s < 5
            assert [(one["address"], one["type"], one["serial"]) for one in found] == [(LIFTER, "lifter", 777)]
            await robot.ask({"op": "line_setting", "module": LIFTER, "baud": 19_200})
            scan = ("modules", "scan", "--first", "5", "--last", "6", "--baud", "115200", "--baud", "19200")
            if os.getuid() != 0:
                await ctl(directory, *scan, expected=ExitCode.PERMISSION)
                return
            result = await ctl(directory, *scan)
            assert [(one["address"], one["line"]) for one in result["found"]] == [
                (DOCK, "115200 8N1"), (LIFTER, "19200 8N1"),
            ]  # fmt: skip
            assert (await robot.ask({"op": "line"}))["baud"] == 115_200
            frames = [frame for frame in robot.frames() if frame["way"] == "request"]
            functions = {bytes.fromhex(frame["hex"])[1] for frame in frames if frame["hex"].startswith("06")}
            assert functions == {3}, "an unknown module is only read"

            async def are_back() -> bool:
                return all(one["is_online"] for one in (await ctl(directory, "modules"))["modules"])

            await until(are_back, "every module is back")
