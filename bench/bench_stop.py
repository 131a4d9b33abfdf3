"""How long from the last byte of a cause to the first byte of the stop frame, while the robot moves?

The daemon runs as it is on the simulated robot, with a wire that is always busy (poll periods times 0.9); beside it run
17 status requests a second. Stamps are taken around the port's own reads and writes. Causes: the chain bit in a reply
of the safety module (S0; from the read that brought it), and STOP over HTTP (S1; from before the client sends it, so
the loopback and the parsing count). Between two trips the latch is cleared in memory instead of by a held button.
"""

import json
import random
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from harness import (
    BENCH,
    IS_QUICK,
    child,
    goal_line,
    head,
    percentile,
    read_line,
    sign_in,
    spread,
    wait_http,
    workspace,
    write_site,
)
from robot_fixture import SimulatedRobot

from oht50d.app import rooms as rooms_module
from oht50d.app.house import House
from oht50d.codec.rtu import encode_request
from oht50d.drivers.serial_port import SerialLink, SerialPortConfig, open_serial_port
from oht50d.model.accounts import Role
from oht50d.model.bus import ReadRegisters, WriteRegisters
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import Direction, MachineState, StopPhase
from oht50d.services.ports import Actor, Claim

SECONDS = 12.0 if IS_QUICK else 36.0
"""For each of the three scenarios; a trip takes about half a second."""
BUSY = 0.9
POWER = 0x02
SAFETY_READ = encode_request(ReadRegisters(0x03, 0x0000, 8))
CHAIN_BYTE = 6
STOP_FRAMES = {
    "chain": encode_request(WriteRegisters(0x04, 0x0001, (0, 0, 0))),
    "http": encode_request(WriteRegisters(0x04, 0x0002, (0, 0))),
}
TRANSIENT = frozenset({"no_evidence", "module_missing", "lidar_absent", "sector_unknown", "power_lost", "chain_open"})
ACTOR = Actor("bench", Role.OPERATOR, "bench")


class Stamps:
    """When the bus brought an open chain, and when each stop frame was written; monotonic nanoseconds."""

    def __init__(self) -> None:
        self.opened_ns: int | None = None
        self.written_ns: dict[str, int] = {}
        self._asked = b""

    def clear(self) -> None:
        self.opened_ns = None
        self.written_ns.clear()

    def note_written(self, frame: bytes) -> None:
        self._asked = frame
        for cause, stop_frame in STOP_FRAMES.items():
            if frame == stop_frame:
                self.written_ns.setdefault(cause, time.monotonic_ns())

    def note_read(self, reply: bytes, at_ns: int) -> None:
        if self._asked == SAFETY_READ and len(reply) == 21 and reply[CHAIN_BYTE] and self.opened_ns is None:
            self.opened_ns = at_ns


class WatchedLink:
    """A port whose whole replies and frames are stamped; the simulator hands a reply over in one piece."""

    def __init__(self, link: SerialLink, stamps: Stamps) -> None:
        self._link, self._stamps = link, stamps
        self.drain_input, self.set_dtr, self.close = link.drain_input, link.set_dtr, link.close

    async def send_all(self, octets: bytes) -> None:
        self._stamps.note_written(octets)
        await self._link.send_all(octets)

    async def receive_some(self, max_bytes: int = 4096) -> bytes:
        octets = await self._link.receive_some(max_bytes)
        self._stamps.note_read(octets, time.monotonic_ns())
        return octets


class Client:
    """A thread's worth of HTTP in another process: sends STOP when it is told to, and tells when it did."""

    def __init__(self, port: int) -> None:
        self._port = port

    def run(self) -> None:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b"POST /api/v1/robot/emergency-stop HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"
        for _ in sys.stdin:
            sent_ns = time.monotonic_ns()
            connection.sendall(request)
            if not connection.recv(65_536):
                raise RuntimeError("the daemon has hung up")
            print(json.dumps({"sent_ns": sent_ns}), flush=True)


class Driver:
    """Jogs, brings a cause about, waits for standstill, clears the latch, and again."""

    def __init__(self, house: House, robot_dir: Path, stamps: Stamps, cause: str, *, kills_a_module: bool) -> None:
        assert house.rooms is not None
        self._rooms = house.rooms
        self._port = house.port
        self._control = str(robot_dir / "control.sock")
        self._stamps = stamps
        self._cause = cause
        self._kills_a_module = kills_a_module
        self._random = random.Random(50)
        self.latencies_ms: list[float] = []
        self.missed = 0

    async def ask(self, operation: dict[str, object]) -> dict[str, Any]:
        async with await trio.open_unix_socket(self._control) as connection:
            await connection.send_all(json.dumps(operation).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await connection.receive_some(65_536))
            return answer

    async def run(self) -> None:
        """Trips for SECONDS."""
        with child(__file__, "--client", str(self._port)) as client:
            ends_s = trio.current_time() + SECONDS
            number = 0
            while trio.current_time() < ends_s:
                number += 1
                await self._trip(client, Direction.FORWARD if number % 2 else Direction.REVERSE)

    async def _trip(self, client: Any, direction: Direction) -> None:
        await self._prepare()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, direction)
            with trio.move_on_after(2):
                while not self._rooms.state.inputs(self._rooms.bus.status).is_energised:
                    await trio.sleep(0.005)
            await trio.sleep(self._random.uniform(0.03, 0.13))
            self._stamps.clear()
            if self._kills_a_module:
                await self.ask({"op": "fault", "kind": "silence", "module": POWER})
                await trio.sleep(self._random.uniform(0.0, 0.06))
            await self._bring_about(client)
            nursery.cancel_scope.cancel()
        if self._kills_a_module:
            await self.ask({"op": "clear_faults"})

    async def _bring_about(self, client: Any) -> None:
        if self._cause == "chain":
            await self.ask({"op": "estop", "open": True})
            began_ns = await self._until_stopped()
            await self.ask({"op": "estop", "open": False})
        else:
            client.stdin.write(b"stop\n")
            client.stdin.flush()
            await self._until_stopped()
            began_ns = (await trio.to_thread.run_sync(read_line, client))["sent_ns"]
        written_ns = self._stamps.written_ns.get(self._cause)
        if began_ns is None or written_ns is None:
            self.missed += 1
        else:
            self.latencies_ms.append((written_ns - began_ns) / 1e6)

    async def _until_stopped(self) -> int | None:
        with trio.move_on_after(2):
            while self._cause not in self._stamps.written_ns:
                await trio.sleep(0.005)
        return self._stamps.opened_ns

    async def _hold(self, direction: Direction) -> None:
        """An operator's finger on the button, with an echo of each nonce."""
        commander, kernel = self._rooms.commander, self._rooms.kernel
        claim = Claim(self._rooms.boot_id, kernel.authority.current.epoch)
        commander.arm(ACTOR, claim)
        claim = Claim(self._rooms.boot_id, kernel.authority.current.epoch)
        commander.release_jog(ACTOR)
        nonce = commander.press_jog(ACTOR, claim, direction, None)["nonce"]
        while isinstance(nonce, int):
            try:
                commander.renew_jog(ACTOR, claim, nonce)
            except CommandRejected:
                nonce = kernel.lease.nonce
            await trio.sleep(0.02)
            nonce = kernel.lease.nonce

    async def _prepare(self) -> None:
        """Standstill measured, nothing present that latches, latch cleared."""
        with trio.fail_after(40):
            while True:
                await trio.sleep(0.01)
                report = self._rooms.bus.stop_report
                if report is None or report.phase is not StopPhase.STANDSTILL:
                    continue
                codes = {cause.code.value for cause in self._rooms.snapshots.current().decision.inhibits}
                if codes & TRANSIENT:
                    continue
                kernel = self._rooms.kernel
                if not kernel.latch.is_tripped and kernel.state is MachineState.IDLE:
                    return
                with suppress(CommandRejected):
                    inputs = self._rooms.state.inputs(self._rooms.bus.status)
                    kernel.check_reset(inputs, is_at_vehicle=True)
                    kernel.apply_reset(inputs, is_at_vehicle=True)


def probe(config: Path, robot_dir: Path, cause: str, *, kills_a_module: bool) -> None:
    """The daemon's process: prints the latencies."""
    from house_probe import run_house, scale_rates, set_rates

    stamps = Stamps()

    async def open_watched(port: SerialPortConfig) -> Any:
        link = await open_serial_port(port)
        return WatchedLink(link, stamps) if port.port.endswith("bus") else link

    setattr(rooms_module, "open_serial_port", open_watched)  # noqa: B010 - typed attribute
    scale_rates(BUSY)
    if kills_a_module:
        set_rates({"battery": 30})

    async def drive(house: House) -> None:
        await trio.to_thread.run_sync(wait_http, f"http://127.0.0.1:{house.port}/health/ready")
        driver = Driver(house, robot_dir, stamps, cause, kills_a_module=kills_a_module)
        await driver.run()
        print(json.dumps({"latencies_ms": driver.latencies_ms, "missed": driver.missed}), flush=True)

    run_house(config, drive)


def scenario(directory: Path, name: str, cause: str, *, kills_a_module: bool = False) -> None:
    """One daemon on one robot, with the status requests of a real site beside it."""
    with SimulatedRobot.start(directory, "empty") as robot:
        config = write_site(directory / "daemon", robot)
        arguments = [__file__, "--probe", str(config), str(robot.runtime_dir), cause, str(int(kills_a_module))]
        with child(*arguments) as daemon:
            port = read_line(daemon)["port"]
            token = sign_in(f"http://127.0.0.1:{port}")
            with child(str(BENCH / "load.py"), str(port), token, "600", "--rate", "17"):
                found = read_line(daemon)
    latencies_ms = found["latencies_ms"]
    spread(name, latencies_ms)
    print(f"   trips without both stamps: {found['missed']}")
    if not kills_a_module:
        goal_line(f"p99, {name}", percentile(latencies_ms, 99), 15, "ms")
        goal_line(f"p99.9, {name}", percentile(latencies_ms, 99.9), 50, "ms")


def main() -> None:
    if "--client" in sys.argv:
        Client(int(sys.argv[-1])).run()
        return
    if "--probe" in sys.argv:
        config, robot_dir, cause, kills = sys.argv[-4:]
        probe(Path(config), Path(robot_dir), cause, kills_a_module=kills == "1")
        return
    head("Last byte of the cause read, to first byte of the stop frame written", "trio", "quart-trio", "hypercorn")
    with workspace() as directory:
        scenario(directory / "a", "chain bit, S0, full bus", "chain")
        scenario(directory / "b", "STOP over HTTP, S1, full bus", "http")
        scenario(directory / "c", "chain bit, S0, a module just died", "chain", kills_a_module=True)


if __name__ == "__main__":
    main()
