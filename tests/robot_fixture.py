"""The simulated robot as a subprocess, for tests: two pty paths and the plant's ground truth.

    def test_something(tmp_path):
        with SimulatedRobot.start(tmp_path, "empty") as robot:
            robot.bus_path, robot.lidar_path          # symlinks to give to the daemon or to open raw
            robot.control({"op": "plant"})["v_mm_s"]  # the truth, not what a register says
            robot.control({"op": "fault", "kind": "silence", "module": 3, "for_s": 0.5})

In a Trio test use `await robot.ask({...})` instead of `control`, which blocks for a millisecond or so. `start` and
`stop` block (about half a second for the imports); `stop` is idempotent, ends the process by SIGTERM, then SIGKILL,
and leaves no pipe open. All `*_ns` are CLOCK_MONOTONIC, comparable with `time.monotonic_ns()` here.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import termios
import time
import tty
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "config" / "scenarios"
START_LIMIT_S = 30.0
ANSWER_LIMIT_S = 10.0
STOP_LIMIT_S = 10.0
PREFERRED = -10


def prefer(process: subprocess.Popen[bytes]) -> None:
    """Before whatever else the computer does, if that is allowed: a robot's modules and its computer are its own."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, process.pid, PREFERRED)


class SimulatedRobot:
    """One running simulator; `scenario` is the name of a shipped one or the path of a file."""

    def __init__(self, process: subprocess.Popen[bytes], runtime_dir: Path) -> None:
        self.process = process
        self.runtime_dir = runtime_dir
        self.bus_path = runtime_dir / "bus"
        self.lidar_path = runtime_dir / "lidar"
        self.control_path = runtime_dir / "control.sock"

    @classmethod
    def start(
        cls,
        tmp_path: Path,
        scenario: str | Path = "empty",
        *,
        seed: int | None = None,
        arguments: Sequence[str] = (),
        directory: str = "robot",
    ) -> Self:
        """Start in `tmp_path`/`directory`, wait for the ready line; RuntimeError with its stderr if it ends before."""
        runtime_dir = tmp_path / directory
        file = scenario if isinstance(scenario, Path) else SCENARIOS / f"{scenario}.toml"
        command = [sys.executable, "-m", "oht50d.sim", "--scenario", str(file), "--runtime-dir", str(runtime_dir)]
        command += ["--map-dir", str(ROOT / "config" / "modules"), *arguments]
        command += [] if seed is None else ["--seed", str(seed)]
        tmp_path.mkdir(parents=True, exist_ok=True)
        with (tmp_path / f"{directory}.stderr").open("w+b") as complaints:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints, cwd=ROOT
            )
            prefer(process)
            robot = cls(process, runtime_dir)
            if not robot._is_ready():
                robot.stop()
                complaints.seek(0)
                raise RuntimeError(f"the simulator did not start: {complaints.read().decode()}")
        return robot

    def _is_ready(self) -> bool:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], START_LIMIT_S)
        return bool(readable) and b'"ready"' in self.process.stdout.readline()

    def stop(self) -> int:
        """End it and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return self.process.wait(STOP_LIMIT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()

    def control(self, operation: dict[str, object]) -> dict[str, Any]:
        """One operation of the control socket; raises RuntimeError for an error answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_LIMIT_S)
            connection.connect(str(self.control_path))
            connection.sendall(json.dumps(operation).encode() + b"\n")
            with connection.makefile("rb") as lines:
                return _checked(lines.readline())

    async def ask(self, operation: dict[str, object]) -> dict[str, Any]:
        """`control` for Trio tests."""
        with trio.fail_after(ANSWER_LIMIT_S):
            async with await trio.open_unix_socket(str(self.control_path)) as connection:
                await connection.send_all(json.dumps(operation).encode() + b"\n")
                received = b""
                while not received.endswith(b"\n"):
                    piece = await connection.receive_some(65_536)
                    if not piece:
                        break
                    received += piece
        return _checked(received)

    def plant(self) -> dict[str, Any]:
        """The ground truth (docs/simulator.md lists the keys)."""
        return self.control({"op": "plant"})

    def frames(self, since: int = 0) -> list[dict[str, Any]]:
        """Every traced bus frame from number `since` on: n, monotonic_ns, way (request or reply), hex, note."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.control({"op": "trace", "since": since})
            if not answer["frames"]:
                return found
            found += answer["frames"]
            since = answer["next"]

    def wait_for(self, key: str, wanted: object, limit_s: float = 10.0) -> dict[str, Any]:
        """Poll the plant until `key` equals `wanted`; raises TimeoutError with the last plant."""
        ends = time.monotonic() + limit_s
        while True:
            plant = self.plant()
            if plant[key] == wanted:
                return plant
            if time.monotonic() > ends:
                raise TimeoutError(f"{key} never became {wanted!r}: {plant}")
            time.sleep(0.01)


def open_raw(path: Path) -> int:
    """Open a line of the robot raw and non-blocking; the caller closes the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(descriptor)
    termios.tcflush(descriptor, termios.TCIOFLUSH)
    return descriptor


def read_within(descriptor: int, count: int, limit_s: float, *, is_whole: bool = True) -> bytes:
    """Up to `count` bytes, or what came in `limit_s`; ends early at a hang-up, and with the first if not `is_whole`."""
    received = b""
    ends = time.monotonic() + limit_s
    while len(received) < count and (left := ends - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        try:
            piece = os.read(descriptor, count - len(received))
        except OSError:
            break
        if not piece:
            break
        received += piece
        if not is_whole:
            break
    return received


def _checked(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise RuntimeError("the simulator hung up on the control socket")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RuntimeError(str(answer["error"]))
    return answer
