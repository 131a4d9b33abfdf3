"""The whole daemon as a process against the simulated robot: bad ports, the service manager, signals, safe-stop."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from daemon_fixture import Daemon, Operator, until, wait_at_rest
from robot_fixture import ROOT, SimulatedRobot

LIMIT_S = 60
HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


class ServiceManager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    def lines(self, word: str) -> list[str]:
        """What was said so far after `word`, such as STATUS."""
        while True:
            try:
                self.messages += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                break
        return [line.partition("=")[2] for line in self.messages if line.startswith(f"{word}=")]

    async def hears(self, word: str, part: str = "", count: int = 1) -> None:
        async def is_heard() -> bool:
            return sum(part in line for line in self.lines(word)) >= count

        try:
            await until(is_heard, f"{word}=...{part}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.lines(word)}") from error

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[ServiceManager]:
    listening = ServiceManager(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def robot(tmp_path: Path) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path, "empty") as it:
        yield it


@asynccontextmanager
async def started(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager, extra: str = ""
) -> AsyncIterator[Daemon]:
    """A daemon that serves, whatever else it can or cannot do; watched with a period of two seconds."""
    environ = {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}
    daemon = await Daemon.start(tmp_path / "daemon", robot, extra=extra, environ=environ)
    try:
        yield daemon
    finally:
        daemon.kill()


async def readiness(daemon: Daemon) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=daemon.base_url, timeout=LIMIT_S) as client:
        found: dict[str, Any] = (await client.get("/health/ready")).json()
    return found


# -- ports that cannot be opened


def no_tty(tmp_path: Path, robot: SimulatedRobot) -> tuple[str, str, str]:
    robot.bus_path.unlink()
    return str(robot.bus_path), "is not there", "plug in the adapter"


def no_permission(tmp_path: Path, robot: SimulatedRobot) -> tuple[str, str, str]:
    """A tty that this user may not open; root may open everything, so for root it is a file that is no tty."""
    robot.bus_path.unlink()
    if os.geteuid() == 0:
        robot.bus_path.write_text("")
        return str(robot.bus_path), "cannot be set up as a serial port", "set the port to a serial device"
    robot.bus_path.symlink_to("/dev/console")
    return str(robot.bus_path), "no permission to open", "add the user of this service to the group"


@pytest.mark.parametrize("spoil", [no_tty, no_permission])
async def test_a_port_that_cannot_be_opened_is_named_with_its_remedy_everywhere(
    spoil: Any, tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    port, cause, remedy = spoil(tmp_path, robot)
    async with started(tmp_path, robot, manager) as daemon:
        await expect_trouble(daemon, manager, port, cause, remedy)
        assert daemon.process.poll() is None


async def expect_trouble(daemon: Daemon, manager: ServiceManager, port: str, cause: str, remedy: str) -> None:
    """Not ready; /health/ready, STATUS= and the log name port, cause and remedy; the reopening loop pets meanwhile."""
    view = await readiness(daemon)
    bus = view["checks"]["bus"]
    assert view["status"] == "not ready"
    assert (bus["ok"], port in bus["cause"], cause in bus["cause"], remedy in bus["remedy"]) == (False,) + (
        True,
    ) * 3, bus
    await manager.hears("STATUS", cause)
    assert [line for line in manager.lines("STATUS") if cause in line and remedy in line]

    async def logged() -> list[str]:
        return [
            line["message"]
            for line in daemon.lines()
            if line.get("event") == "link.problem" and cause in line["message"]
        ]

    messages = await until(logged, "the log names it")
    assert (len(messages), port in messages[0], remedy in messages[0]) == (1, True, True)
    await manager.hears("WATCHDOG", "1", count=3)


async def test_a_port_that_another_process_holds_is_used_once_it_is_free(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(robot.bus_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        async with started(tmp_path, robot, manager) as daemon:
            await expect_trouble(daemon, manager, str(robot.bus_path), "is held by", f"(pid {holder.pid})")
            holder.kill()
            await daemon.wait_ready()
            writes = [f["hex"] for f in await frames(robot) if f["way"] == "request"][:3]
            assert [text[:12] for text in writes] == ["041000010003", "041000110003", "030600310000"], "S0 comes first"
            await manager.hears("STATUS", "SAFE")


async def frames(robot: SimulatedRobot) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await robot.ask({"op": "trace", "since": 0}))["frames"]
    return found


# -- the service manager and signals


async def test_ready_watchdog_reload_and_end(tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager) -> None:
    async with started(tmp_path, robot, manager) as daemon:
        await manager.hears("READY", "1")
        await daemon.wait_ready()
        known = len(manager.lines("WATCHDOG"))
        began_s = time.monotonic()
        await manager.hears("WATCHDOG", "1", count=known + 6)
        # A quarter of the period each: at least five times as often as would be enough, and not in a rush.
        assert 1.0 < time.monotonic() - began_s < 20.0
        assert "SIMULATED SAFE" in manager.lines("STATUS")[-1]

        config = tmp_path / "daemon" / "oht50d.toml"
        config.write_text(config.read_text() + "body_bytes = 4096\n[log]\nlevel = 'DEBUG'\n")
        asked_us = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        await manager.hears("RELOADING", "1")
        await manager.hears("READY", "1", count=2)
        assert asked_us <= int(manager.lines("MONOTONIC_USEC")[-1]) <= time.monotonic_ns() // 1000
        assert await reload_said(daemon, 2) == [
            'reloaded: log.level is "DEBUG" from now on (it was "INFO")',
            "reloaded: web.body_bytes needs a restart: 65536 stays in force, 4096 is set",
        ]
        assert "SIMULATED SAFE" in manager.lines("STATUS")[-1], "the reload leaves the state on the line"

        config.write_text("what is this")
        daemon.process.send_signal(signal.SIGHUP)
        await manager.hears("READY", "1", count=3)
        refused = (await reload_said(daemon, 3))[2]
        assert refused.startswith(f"reload refused, the running configuration stays: {config}:1: ")
        (line,) = [line for line in daemon.lines() if line["message"] == refused]
        assert (line["level"], line["config_file"], line["config_line"]) == ("WARNING", str(config), 1)
        assert (await readiness(daemon))["status"] == "ready"

        assert await daemon.terminate() == 0
        assert manager.lines("STOPPING") == ["1"]
        assert [line["phase"] for line in daemon.lines() if line.get("event") == "stop.last"] == ["standstill"]
        assert_safe(await robot.ask({"op": "plant"}))


async def test_sigterm_while_the_port_is_absent_ends_in_order(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    robot.bus_path.unlink()
    async with started(tmp_path, robot, manager) as daemon:
        began_s = time.monotonic()
        assert await daemon.terminate() == 0
        assert time.monotonic() - began_s < 7


async def test_signals_again_and_again_change_nothing_to_the_very_end(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    """An impatient administrator, or a reload that comes while the interpreter ends: the exit code stays the stop's."""
    async with started(tmp_path, robot, manager) as daemon:
        await daemon.wait_ready()
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            daemon.process.send_signal(number)
        await trio.sleep(0.2)
        assert daemon.process.poll() is None, "what was meant for another program ends nothing"
        daemon.process.send_signal(signal.SIGQUIT)
        with trio.fail_after(LIMIT_S):
            while daemon.process.poll() is None:
                for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                    daemon.process.send_signal(number)
                await trio.sleep(0.002)
        assert daemon.process.returncode == 0, daemon.log.read_text()


async def reload_said(daemon: Daemon, count: int) -> list[str]:
    """What all reloads have logged so far, at least `count` lines."""

    async def said() -> list[str]:
        lines = [line["message"] for line in daemon.lines() if line.get("event") == "daemon.reload"]
        return lines if len(lines) >= count else []

    found: list[str] = await until(said, f"{count} lines of reloads are in the log")
    return found


def assert_safe(plant: dict[str, Any]) -> None:
    assert plant["brake_engaged"]
    assert not any(drive["enable"] or drive["duty_ratio"] for drive in plant["drives"])


# -- the safe-stop program


def safe_stop(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "oht50d", "safe-stop", "--config", str(tmp_path / "daemon" / "oht50d.toml")]
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=ROOT)


async def test_safe_stop_turns_everything_off_after_a_kill_while_moving(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    async with started(tmp_path, robot, manager) as daemon, Operator.signed_in(daemon) as operator:
        await daemon.wait_ready()
        async with operator.moving(robot):
            daemon.kill()
    plant = await robot.ask({"op": "plant"})
    assert abs(plant["v_mm_s"]) > 40, "drives without a time-out keep their last command"
    ended = await trio.to_thread.run_sync(safe_stop, tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "3 of 3 stop frames answered" in ended.stdout
    assert_safe(await wait_at_rest(robot, limit_s=5))


async def test_safe_stop_says_who_did_not_answer_and_stops_the_others(
    tmp_path: Path, robot: SimulatedRobot, manager: ServiceManager
) -> None:
    async with started(tmp_path, robot, manager) as daemon:
        daemon.kill()
    await robot.ask({"op": "fault", "kind": "silence", "module": 4})
    ended = await trio.to_thread.run_sync(safe_stop, tmp_path)
    assert ended.returncode == 74
    assert "unit 0x04 did not answer; press the red button" in ended.stderr
    assert "1 of 3 stop frames answered" in ended.stdout
    assert (await robot.ask({"op": "plant"}))["brake_engaged"]
    robot.bus_path.unlink()
    ended = await trio.to_thread.run_sync(safe_stop, tmp_path)
    assert ended.returncode == 69
    assert str(robot.bus_path) in ended.stderr
