"""The daemon's process for `bench_stop.py`: jogs the robot, brings a cause about, stamps cause and stop frame.

    python bench/stop_probe.py CONFIG ROBOT_DIRECTORY chain|http SECONDS 0|1     1: a module falls silent before

Stamps are taken around the port's own reads and writes, and around the reads of HTTP connections.
"""

import json
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import trio
from harness import BENCH, child, read_line, wait_http
from house_probe import run_house, scale_rates, set_rates

from oht50d.app import rooms as rooms_module
from oht50d.app.house import House
from oht50d.codec.rtu import encode_request
from oht50d.drivers.serial_port import SerialLink, SerialPortConfig, open_serial_port
from oht50d.model.accounts import Role
from oht50d.model.bus import ReadRegisters, WriteRegisters
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import Direction, MachineState, StopPhase
from oht50d.services.ports import Actor, Claim

BUSY = 0.9
"""Poll periods times this: with the frames of motion the wire is full, and nothing starves."""
POWER = 0x02
SAFETY_READ = encode_request(ReadRegisters(0x03, 0x0000, 8))
CHAIN_BYTE = 6
STOP_FRAMES = {
    "chain": encode_request(WriteRegisters(0x04, 0x0001, (0, 0, 0))),
    "http": encode_request(WriteRegisters(0x04, 0x0002, (0, 0))),
}
# A latched cause stands among the inhibits too, until the reset.
TRANSIENT = frozenset({"no_evidence", "module_missing", "lidar_absent", "sector_unknown", "power_lost"})
ACTOR = Actor("bench", Role.OPERATOR, "bench")


class Stamps:
    """When the bus brought an open chain, and when each stop frame was written; monotonic nanoseconds."""

    def __init__(self) -> None:
        self.opened_ns: int | None = None
        self.pressed_ns: int | None = None
        self.written_ns: dict[str, int] = {}
        self._asked = b""

    def clear(self) -> None:
        self.opened_ns = self.pressed_ns = None
        self.written_ns.clear()

    def note_request(self, octets: bytes) -> None:
        if octets.startswith(b"POST /api/v1/robot/emergency-stop"):
            self.pressed_ns = time.monotonic_ns()

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


async def _wait_for(is_so: Callable[[], bool]) -> None:
    """Look each 5 ms, for two seconds at most."""
    for _ in range(400):
        if is_so():
            return
        await trio.sleep(0.005)


class Driver:
    """Jogs, brings a cause about, waits for standstill, clears the latch, and again."""

    def __init__(
        self, house: House, robot_dir: Path, stamps: Stamps, cause: str, seconds: float, *, kills_a_module: bool
    ) -> None:
        assert house.rooms is not None
        self._rooms = house.rooms
        self._port = house.port
        self._control = str(robot_dir / "control.sock")
        self._stamps = stamps
        self._cause = cause
        self._seconds = seconds
        self._kills_a_module = kills_a_module
        self._random = random.Random(50)
        self.latencies_ms: list[float] = []
        self.from_client_ms: list[float] = []
        self.missed = 0

    async def ask(self, operation: dict[str, object]) -> dict[str, Any]:
        async with await trio.open_unix_socket(self._control) as connection:
            await connection.send_all(json.dumps(operation).encode() + b"\n")
            answer: dict[str, Any] = json.loads(await connection.receive_some(65_536))
            return answer

    async def run(self) -> None:
        """Trips until the time is over."""
        with child(str(BENCH / "bench_stop.py"), "--client", str(self._port)) as client:
            ends_s = trio.current_time() + self._seconds
            number = 0
            while trio.current_time() < ends_s:
                number += 1
                await self._trip(client, Direction.FORWARD if number % 2 else Direction.REVERSE)

    async def _trip(self, client: Any, direction: Direction) -> None:
        await self._prepare()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hold, direction)
            await _wait_for(lambda: self._rooms.state.inputs(self._rooms.bus.status).is_energised)
            await trio.sleep(self._random.uniform(0.03, 0.13))
            self._stamps.clear()
            if self._kills_a_module:
                await self.ask({"op": "fault", "kind": "silence", "module": POWER})
                await trio.sleep(self._random.uniform(0.0, 0.15))
            await self._bring_about(client)
            nursery.cancel_scope.cancel()
        if self._kills_a_module:
            await self.ask({"op": "clear_faults"})

    async def _bring_about(self, client: Any) -> None:
        if self._cause == "chain":
            await self.ask({"op": "estop", "open": True})
            await _wait_for(lambda: self._cause in self._stamps.written_ns)
            await self.ask({"op": "estop", "open": False})
            read_ns = self._stamps.opened_ns
        else:
            client.stdin.write(b"stop\n")
            client.stdin.flush()
            await _wait_for(lambda: self._cause in self._stamps.written_ns)
            sent_ns = (await trio.to_thread.run_sync(read_line, client))["sent_ns"]
            read_ns = self._stamps.pressed_ns
            self.from_client_ms.append((self._stamps.written_ns.get(self._cause, sent_ns) - sent_ns) / 1e6)
        written_ns = self._stamps.written_ns.get(self._cause)
        if read_ns is None or written_ns is None:
            self.missed += 1
        else:
            self.latencies_ms.append((written_ns - read_ns) / 1e6)

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
                kernel = self._rooms.kernel
                codes = {cause.code.value for cause in self._rooms.snapshots.current().decision.inhibits}
                if (codes - {cause.code.value for cause in kernel.latch.causes}) & TRANSIENT:
                    continue
                if not kernel.latch.is_tripped and kernel.state is MachineState.IDLE:
                    return
                with suppress(CommandRejected):
                    inputs = self._rooms.state.inputs(self._rooms.bus.status)
                    kernel.check_reset(inputs, is_at_vehicle=True)
                    kernel.apply_reset(inputs, is_at_vehicle=True)


def probe(config: Path, robot_dir: Path, cause: str, seconds: float, *, kills_a_module: bool) -> None:
    """The daemon's process: prints the latencies."""
    stamps = Stamps()

    async def open_watched(port: SerialPortConfig) -> Any:
        link = await open_serial_port(port)
        return WatchedLink(link, stamps) if port.port.endswith("bus") else link

    receive_some = trio.SocketStream.receive_some

    async def receive_watched(stream: trio.SocketStream, max_bytes: int | None = None) -> bytes:
        octets = await receive_some(stream, max_bytes)
        stamps.note_request(octets)
        return octets

    setattr(rooms_module, "open_serial_port", open_watched)  # noqa: B010 - typed attribute
    setattr(trio.SocketStream, "receive_some", receive_watched)  # noqa: B010 - typed attribute
    if kills_a_module:
        set_rates({"battery": 100})
    else:
        scale_rates(BUSY)

    async def drive(house: House) -> None:
        await trio.to_thread.run_sync(wait_http, f"http://127.0.0.1:{house.port}/health/ready")
        driver = Driver(house, robot_dir, stamps, cause, seconds, kills_a_module=kills_a_module)
        await driver.run()
        found = {"latencies_ms": driver.latencies_ms, "from_client_ms": driver.from_client_ms, "missed": driver.missed}
        print(json.dumps(found), flush=True)

    run_house(config, drive)


def main() -> None:
    config, robot_dir, cause, seconds, kills = sys.argv[1:]
    probe(Path(config), Path(robot_dir), cause, float(seconds), kills_a_module=kills == "1")


if __name__ == "__main__":
    main()
