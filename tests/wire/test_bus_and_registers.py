"""`oht50ctl bus` and `reg` as a technician uses them, on daemon and simulated robot; a daemon that only listens."""

import json
import os
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from daemon_fixture import Daemon, until
from robot_fixture import ROOT, SimulatedRobot, read_within
from trace_witnesses import ctl

from oht50d.codec.rtu import encode_reply, encode_request
from oht50d.model.bus import ReadRegisters, ReadReply

WRITES = ("06", "10")


async def events(directory: Path, kind: str) -> list[dict[str, Any]]:
    done = await ctl(directory, "--json", "events", "-n", "50")
    found: list[dict[str, Any]] = json.loads(done.stdout)["events"]
    return [event for event in found if event["kind"] == kind]


def written(robot: SimulatedRobot, place: str) -> list[str]:
    """Requests on the wire that write the place given as unit and address."""
    requests = [frame["hex"] for frame in robot.frames() if frame["way"] == "request"]
    return [octets for octets in requests if octets[2:4] in WRITES and octets[:2] + octets[4:8] == place]


async def test_registers_are_read_written_and_refused(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(directory, robot):
            done = await ctl(directory, "reg", "get", "velocity.x", "dock.serial_number", "0x05:0x0030:3")
            assert done.returncode == 0, done.stderr
            assert "mm/s" in done.stdout
            assert "3000 mm" in done.stdout

            done = await ctl(directory, "reg", "set", "dock.magnetic_declination", "-7")
            assert (done.returncode, "VERIFIED" in done.stdout) == (0, True), done.stdout + done.stderr
            assert written(robot, "050025") == [encode_hex("05060025fff9")]
            done = await ctl(directory, "reg", "get", "dock.magnetic_declination")
            assert "-7 deg" in done.stdout

            for words in (("drive.1.enable", "on"), ("0x04:0x0777", "1"), ("brake.release", "on")):
                dry = await ctl(directory, "reg", "set", *words, "--dry-run")
                wet = await ctl(directory, "reg", "set", *words)
                assert (dry.returncode, wet.returncode) == (1, 1)
                assert dry.stderr == wet.stderr
                assert "SAFETY_VIOLATION" in wet.stderr
            assert written(robot, "040777") == []
            on = [octets for octets in written(robot, "040001") if octets[14:18] != "0000"]
            assert on == []

            found = await until(lambda: _at_least(directory, "bus.register.write", 4), "the writes are recorded")
            assert [event["details"]["outcome"] for event in reversed(found)] == ["verified", *["rejected"] * 3]
            assert found[-1]["details"]["before"] == 0
            assert found[-1]["details"]["after"] == 0xFFF9
            assert found[-1]["actor"] == f"uid:{os.getuid()}"


async def _at_least(directory: Path, kind: str, count: int) -> list[dict[str, Any]]:
    found = await events(directory, kind)
    return found if len(found) >= count else []


def encode_hex(body: str) -> str:
    from oht50d.codec.rtu import crc16

    octets = bytes.fromhex(body)
    return (octets + crc16(octets).to_bytes(2, "little")).hex()


async def test_what_goes_wrong_on_the_bus_is_seen(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(directory, robot) as daemon:
            await robot.ask({"op": "fault", "kind": "crc", "module": 5, "ratio": 0.2, "for_s": 3})
            await robot.ask({"op": "fault", "kind": "stuck_register", "module": 5, "register": "accel_x", "for_s": 60})
            await trio.sleep(4)
            done = await ctl(directory, "--json", "bus", "stats")
            stats = json.loads(done.stdout)
            dock = next(one for one in stats["modules"] if one["unit"] == 5)
            assert dock["crc_errors"] > 0
            assert dock["retries"] > 0
            assert stats["early_frames"] == 0
            shares = stats["recent"]
            whole = sum(shares[name] for name in ("characters", "silence", "waiting", "idle"))
            assert whole == pytest.approx(1.0, abs=0.001)

            done = await ctl(directory, "bus", "trace", "--errors", "--unit", "0x05", "--last", "1000")
            assert done.stdout.count("[CRC]") >= dock["crc_errors"]
            assert "0x03" not in done.stdout

            async def is_stuck() -> bool:
                told = await ctl(directory, "--json", "registers", "0x05")
                registers = {one["name"]: one for one in json.loads(told.stdout)["registers"]}
                assert registers["accel_y"]["quality"] == "good"
                return bool(registers["accel_x"]["quality"] == "stuck" and registers["accel_x"]["value"] is None)

            await until(is_stuck, "accel_x is stuck")
            done = await ctl(directory, "reg", "get", "dock.accel_x")
            assert (done.returncode, "stuck" in done.stdout) == (2, True)

            async with httpx.AsyncClient(base_url=daemon.base_url) as client:
                text = (await client.get("/metrics")).text
            assert 'oht50_bus_turnaround_seconds_bucket{le="0.002",module="dock@0x05"}' in text
            assert "oht50_bus_trace_frames_total" in text


async def test_follow_and_watch_go_on_until_ctrl_c(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        async with Daemon.running(directory, robot):
            for words in (("bus", "trace", "--follow"), ("reg", "watch", "dock.accel_x", "--every", "0.1")):
                environ = {**os.environ, "OHT50_SOCKET": str(directory / "run" / "control.sock")}
                command = [sys.executable, "-m", "oht50d.app.ctl", *words]
                with subprocess.Popen(
                    command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environ
                ) as following:
                    assert following.stdout is not None
                    lines = [await trio.to_thread.run_sync(following.stdout.readline) for _ in range(60)]
                    following.send_signal(signal.SIGINT)
                    rest = await trio.to_thread.run_sync(following.stdout.read)
                    assert following.stderr is not None
                    complaints = following.stderr.read()
                assert following.returncode == 0, complaints
                assert complaints == ""
                assert all(lines)
                if words[0] == "bus":
                    numbers = [int(line.split()[0][1:]) for line in lines + rest.splitlines()]
                    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


class ForeignBus:
    """A pty on which somebody else is the master; the daemon gets its other end."""

    def __init__(self, path: Path) -> None:
        self.master, slave = os.openpty()
        tty.setraw(self.master)
        self.path = path
        path.symlink_to(os.ttyname(slave))
        self._slave = slave

    def say(self, *frames: bytes) -> None:
        for octets in frames:
            os.write(self.master, octets)
            time.sleep(0.004)

    def close(self) -> None:
        os.close(self.master)
        os.close(self._slave)


async def test_listen_only_sends_nothing_and_tells_everything(tmp_path: Path) -> None:
    directory = tmp_path / "daemon"
    bus = ForeignBus(tmp_path / "foreign")
    request = encode_request(ReadRegisters(5, 0x30, 4))
    reply = encode_reply(ReadReply(5, (3000, 0, 0, 12)))
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        robot.bus_path = bus.path
        daemon = await Daemon.start(directory, robot, bus="listen_only = true")
        try:
            await until(lambda: _is_listening(directory), "the bus is listened to")
            await trio.to_thread.run_sync(lambda: bus.say(*[request, reply] * 20))
            await trio.sleep(0.5)
            done = await ctl(directory, "--json", "bus", "trace", "--last", "100")
            frames = [json.loads(line) for line in done.stdout.splitlines()]
            heard = [frame for frame in frames if frame["way"] == "overheard"]
            assert [frame["hex"] for frame in heard] == [request.hex(), reply.hex()] * 20
            assert [value["name"] for value in heard[1]["values"]] == [
                "position_x",
                "position_y",
                "position_z",
                "velocity_x",
            ]
            assert heard[1]["values"][3]["value"] == 12

            status = await ctl(directory, "status")
            assert "LISTEN-ONLY, nothing is sent" in status.stdout
            assert "listen_only" in status.stdout
            assert "position   unknown" in status.stdout, "what was overheard is no measurement"
            refused = await ctl(directory, "reg", "get", "velocity.x")
            assert (refused.returncode, "listen_only" in refused.stderr) == (1, True)
            stopped = await ctl(directory, "stop")
            assert stopped.returncode == 2
            assert "press the red button" in stopped.stdout
            async with httpx.AsyncClient(base_url=daemon.base_url) as client:
                live = await client.get("/health/live")
                checks = (await client.get("/health/ready")).json()
            assert live.status_code == 200
            assert [checks["checks"][name]["ok"] for name in ("bus", "modules")] == [True, True]
            daemon.process.send_signal(signal.SIGTERM)
            assert await trio.to_thread.run_sync(lambda: daemon.process.wait(30)) == 0
            assert "listen-only, nothing was sent" in daemon.log.read_text()
            safe_stop = await trio.to_thread.run_sync(_safe_stop(directory))
            assert "only listened" in safe_stop.stdout
            assert read_within(bus.master, 1, 0.3) == b"", "not one byte was sent"
        finally:
            daemon.kill()
            bus.close()


async def _is_listening(directory: Path) -> bool:
    done = await ctl(directory, "--json", "status")
    return done.returncode == 0 and json.loads(done.stdout)["wire"]["is_listening"] is True


def _safe_stop(directory: Path) -> Callable[[], subprocess.CompletedProcess[str]]:
    command = [sys.executable, "-m", "oht50d", "safe-stop", "--config", str(directory / "oht50d.toml")]
    return lambda: subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=True)
