"""The daemon as a subprocess on a simulated robot, and an operator who talks to it like the page does.

    async with Daemon.running(tmp_path, robot) as daemon:
        async with Operator.signed_in(daemon) as operator:
            await operator.reset()
            await operator.arm()
            async with operator.jogging("forward"):
                ...

Everything goes through the public doors: HTTP, WebSocket, signals. Waits are on conditions with generous limits.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import trio
from robot_fixture import SimulatedRobot, prefer
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from oht50d.drivers.user_store import UserStore
from oht50d.model.accounts import Role

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 30.0
ROOM_S = 120.0
"""Generous: a computer that was busy for a while answers late, and the bus remembers that for a minute."""
START_S = 5.0
SETTLE_S = 0.4
USER = "tester"
PASSWORD = "correct horse battery staple"  # an account of a temporary directory


async def until(
    condition: Callable[[], Awaitable[Any]], what: str, limit_s: float = LIMIT_S, *, poll_s: float = 0.02
) -> Any:
    """Poll `condition` until it returns something true; AssertionError names what was waited for."""
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        found = await condition()
        if found:
            return found
        await trio.sleep(poll_s)
    raise AssertionError(f"not within {limit_s} s: {what}")


def config_text(
    robot: SimulatedRobot, state_dir: Path, *, maps: str = "travel_motor.toml", bus: str = "", extra: str = ""
) -> str:
    """A site's configuration: the same daemon, pointed at ttys; `bus` are lines of that table."""
    return f"""
schema_version = 1
environment = "development"
[robot]
state_dir = "{state_dir}/state"
runtime_dir = "{state_dir}/run"
[bus]
is_simulated = true
maps = ["power.toml", "safety.toml", "{maps}", "dock.toml"]
{bus}
[bus.serial]
port = "{robot.bus_path}"
lock_dir = "{state_dir}"
[lidar]
port = "{robot.lidar_path}"
is_simulated = true
[safety]
brake_wiring = "energise_to_release"
[safety.zones]
# The simulated LiDAR turns ten times a second: the sums that the plant is held to count no slower turns.
maximum_turn = "110ms"
[web]
host = "127.0.0.1"
port = 0
{extra}
"""


class Daemon:
    """One process of `oht50d run`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.base_url = ""

    @classmethod
    async def start(
        cls, directory: Path, robot: SimulatedRobot, *, maps: str = "travel_motor.toml", bus: str = "",
        extra: str = "", environ: dict[str, str] | None = None, is_waited: bool = True,
    ) -> "Daemon":  # fmt: skip
        """Start it in `directory` (its state survives there) and wait until it serves."""
        directory.mkdir(parents=True, exist_ok=True)
        config = directory / "oht50d.toml"
        config.write_text(config_text(robot, directory, maps=maps, bus=bus, extra=extra))
        await _make_user(directory / "state")
        log = directory / f"daemon-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "oht50d", "run", "--config", str(config)],
                stdout=output, stderr=output, cwd=ROOT, env={**os.environ, **(environ or {})},
            )  # fmt: skip
        prefer(process)
        daemon = cls(process, log)
        if is_waited:
            await daemon.wait_serving()
        return daemon

    @classmethod
    @asynccontextmanager
    async def running(cls, directory: Path, robot: SimulatedRobot, **options: Any) -> AsyncIterator["Daemon"]:
        """Started, ready (modules online, LiDAR scanning), and gone afterwards."""
        daemon = await cls.start(directory, robot, **options)
        try:
            await daemon.wait_ready()
            yield daemon
        finally:
            daemon.kill()

    def lines(self) -> list[dict[str, Any]]:
        """The log so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    async def wait_serving(self) -> None:
        async def port() -> int | None:
            assert self.process.poll() is None, self.log.read_text()
            ready = [line for line in self.lines() if line.get("event") == "daemon.ready"]
            return int(ready[-1]["message"].rsplit(" ", 1)[1]) if ready else None

        self.base_url = f"http://127.0.0.1:{await until(port, 'the daemon serves')}"

    async def wait_ready(self) -> None:
        async with httpx.AsyncClient(base_url=self.base_url) as client:

            async def is_ready() -> bool:
                return (await client.get("/health/ready", timeout=LIMIT_S)).status_code == 200

            await until(is_ready, "ready")

    def kill(self) -> None:
        """kill -9; nothing of it stays."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)

    async def terminate(self) -> int:
        """SIGTERM, then its exit code."""
        self.process.send_signal(signal.SIGTERM)
        await until(self._has_ended, "the daemon ends")
        assert self.process.returncode is not None
        return self.process.returncode

    async def _has_ended(self) -> bool:
        return self.process.poll() is not None


async def _make_user(state_dir: Path) -> None:
    state_dir.mkdir(parents=True, exist_ok=True)
    store = UserStore(state_dir / "users.db")
    store.prepare()
    if await store.get(USER) is None:
        await store.add(USER, PASSWORD, Role.SUPERVISOR)


class Operator:
    """Somebody with a login; `claim` follows boot_id and epoch like the page does."""

    def __init__(self, client: httpx.AsyncClient, token: str, base_url: str) -> None:
        self.client = client
        self.token = token
        self._socket_url = base_url.replace("http", "ws", 1) + f"/ws?token={token}"
        self.events: list[dict[str, Any]] = []

    @classmethod
    @asynccontextmanager
    async def signed_in(cls, daemon: Daemon) -> AsyncIterator["Operator"]:
        async with httpx.AsyncClient(base_url=daemon.base_url, timeout=LIMIT_S) as client:
            answer = await client.post("/api/v1/auth/login", json={"username": USER, "password": PASSWORD})
            assert answer.status_code == 200, answer.text
            token = answer.json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield cls(client, token, daemon.base_url)

    async def status(self) -> dict[str, Any]:
        return (await self.client.get("/api/v1/robot/status")).json()

    async def safety(self) -> dict[str, Any]:
        """A daemon that is too busy to answer is asked again."""

        async def told() -> dict[str, Any] | None:
            answer = await self.client.get("/api/v1/safety/status")
            if answer.status_code != 200:
                print(f"safety status: {answer.status_code} {answer.text}")
            return answer.json().get("data")

        found: dict[str, Any] = await until(told, "the safety status is told", poll_s=0.2)
        return found

    async def claim(self) -> dict[str, Any]:
        authority = (await self.status())["authority"]
        return {"boot_id": authority["boot_id"], "epoch": authority["epoch"]}

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def reset(self, limit_s: float = ROOM_S) -> dict[str, Any]:
        """Hold for a second, let go; nothing to do if nothing is latched."""
        await self._resettable(limit_s)
        if not (await self.safety())["is_latched"]:
            return {}
        claim = await self.claim()
        held = await self.post("/api/v1/safety/reset", action="hold", **claim)
        await trio.sleep(held["hold_s"] + 0.1)
        return await self.post("/api/v1/safety/reset", action="release", hold_id=held["hold_id"], **claim)

    async def _resettable(self, limit_s: float) -> None:
        async def is_quiet() -> bool:
            safety = await self.safety()
            codes = {cause["code"] for cause in safety["inhibits"]}
            return not codes & {"no_evidence", "stopping", "module_missing", "lidar_absent", "bus_too_slow"}

        await until(is_quiet, "nothing but the latch stands against motion", limit_s, poll_s=0.1)

    async def arm(self) -> dict[str, Any]:
        return await self.post("/api/v1/robot/control", command="arm", **await self.claim())

    async def prepare(self, limit_s: float = ROOM_S) -> None:
        """From a fresh start to armed."""
        await self.reset(limit_s)
        await self.arm()

    async def why(self) -> str:
        """For messages of failures: what stands against motion, and what the socket said last."""
        safety = await self.safety()
        names = [f"{cause['code']} ({cause['detail']})" for cause in safety["inhibits"]]
        return f"state {safety['state']}, inhibits {names}, events {[e['type'] for e in self.events][-8:]}"

    @asynccontextmanager
    async def jogging(self, direction: str = "forward") -> AsyncIterator[None]:
        """Hold the jog button: echo every nonce until the block is left, then let go."""
        claim = await self.claim()
        async with self.socket() as socket:
            await socket.send_message(json.dumps({"type": "jog_press", "direction": direction, **claim}))
            started = trio.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._echo, socket, started)
                with trio.fail_after(START_S):
                    await started.wait()
                try:
                    yield
                except AssertionError as failure:
                    raise AssertionError(f"{failure}; {await self.why()}") from failure
                nursery.cancel_scope.cancel()
            with trio.move_on_after(1), suppress(ConnectionClosed):
                await socket.send_message(json.dumps({"type": "jog_release"}))

    @asynccontextmanager
    async def moving(self, robot: SimulatedRobot) -> AsyncIterator[None]:
        """Reset, arm and jog until the plant really moves; a jog lost to a busy machine is pressed again, and told."""
        ends = time.monotonic() + ROOM_S
        while (left_s := ends - time.monotonic()) > 0:
            if (await self.safety())["state"] == "ESTOP":
                await press_reset_button(robot)
            async with AsyncExitStack() as jog:
                try:
                    await self.prepare(left_s)
                    await jog.enter_async_context(self.jogging())
                    await wait_moving(robot, limit_s=5)
                    await trio.sleep(SETTLE_S)
                    await wait_moving(robot, limit_s=0.1)
                except (AssertionError, trio.TooSlowError, ExceptionGroup) as lost:
                    if isinstance(lost, ExceptionGroup) and lost.split((AssertionError, trio.TooSlowError))[1]:
                        raise
                    print(f"the jog was lost: {lost!r}; {await self.why()}")
                    continue
                yield
                return
        raise AssertionError(f"no jog held in {ROOM_S} s: {await self.why()}")

    @asynccontextmanager
    async def socket(self) -> AsyncIterator[WebSocketConnection]:
        """A connection to /ws whose TCP stream is closed whatever happens."""
        url = httpx.URL(self._socket_url)
        assert url.port is not None
        stream = await trio.open_tcp_stream(url.host, url.port)
        try:
            async with trio.open_nursery() as nursery:
                resource = url.raw_path.decode()
                connection = await wrap_client_stream(nursery, stream, f"{url.host}:{url.port}", resource)
                yield connection
                with trio.move_on_after(1):
                    await connection.aclose()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await trio.aclose_forcefully(stream)

    async def _echo(self, socket: WebSocketConnection, started: trio.Event) -> None:
        while True:
            try:
                message = json.loads(await socket.get_message())
            except ConnectionClosed:
                return
            self.events.append(message)
            if message["type"] == "jog_started":
                started.set()
            nonce = message.get("nonce")
            if nonce is not None:
                await socket.send_message(json.dumps({"type": "jog_renew", "nonce": nonce}))


async def press_reset_button(robot: SimulatedRobot) -> None:
    """At the vehicle: hold it for longer than a second, let go."""
    await robot.ask({"op": "reset_button", "pressed": False})
    await trio.sleep(0.5)
    await robot.ask({"op": "reset_button", "pressed": True})
    await trio.sleep(1.6)
    await robot.ask({"op": "reset_button", "pressed": False})
    await trio.sleep(0.5)


async def wait_moving(robot: SimulatedRobot, speed_mm_s: float = 40.0, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Until the plant really moves."""

    async def moving() -> dict[str, Any] | None:
        plant = await robot.ask({"op": "plant"})
        return plant if abs(plant["v_mm_s"]) >= speed_mm_s else None

    found: dict[str, Any] = await until(moving, f"the plant moves at {speed_mm_s} mm/s", limit_s)
    return found


async def wait_at_rest(robot: SimulatedRobot, limit_s: float = LIMIT_S) -> dict[str, Any]:
    """Until the plant really stands."""

    async def at_rest() -> dict[str, Any] | None:
        plant = await robot.ask({"op": "plant"})
        return plant if plant["at_rest_since_ns"] is not None else None

    found: dict[str, Any] = await until(at_rest, "the plant is at rest", limit_s)
    return found
