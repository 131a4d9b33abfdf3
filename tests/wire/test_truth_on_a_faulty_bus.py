"""The bus owner on a bus with faults: nothing that it publishes is untrue, and its counters say what went wrong.

The reference is the simulated plant: what every register holds at rest, and where the carriage stands. It is put
somewhere else all the time, so that a reply that is late or was meant for another request shows. The faults come live.
"""

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field
from raw_master import Master
from robot_fixture import SimulatedRobot

from oht50d.clock import now_ns
from oht50d.codec.registers import load_module_map
from oht50d.core.actuators import find_actuators
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import WireSchedule
from oht50d.core.wire_slots import WireTimes
from oht50d.drivers.field_bus import BusConfig, FieldBus
from oht50d.drivers.serial_port import SerialPortConfig, open_serial_port
from oht50d.drivers.timer import PreciseTimer
from oht50d.model.registers import BlockReadings, ModuleMap

MAP_DIR = Path(__file__).resolve().parents[2] / "config" / "modules"
MAP_NAMES = ("power", "safety", "travel_motor", "dock")
LIMIT_S = 60.0
FAULT_S = float(os.environ.get("OHT50_FAULT_SECONDS", "0.8"))
STEP_S = 0.05
TIMES = WireTimes(safety_ns=25_000_000, other_ns=50_000_000, probe_ns=25_000_000)
UNSTEADY = {"accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z", "battery_soc", "residual_capacity",
            "battery_voltage", "battery_current", "distance_1", "distance_2", "position_x"}  # fmt: skip
"""Noise, what changes with time, and what changes with the place (`position_x` is judged by itself)."""


@define
class Place:
    """Where the carriage was put: ordered at `began_ns`, there at `moved_ns` at the latest (None: not yet told)."""

    x_mm: int
    began_ns: int
    moved_ns: int | None = None


@define
class Truth:
    """What each register holds, and where the carriage stood when."""

    words: dict[tuple[int, int], int]
    places: list[Place] = field(factory=list)
    wrong: list[str] = field(factory=list)
    count: int = 0

    def judge(self, readings: BlockReadings) -> bool:
        """Keep what is untrue; the times of a reading are those of the Trio clock, like the places here."""
        self.count += 1
        for spec, word in zip(readings.block.specs, readings.words, strict=True):
            if spec.name == "position_x":
                possible = self.possible(readings.requested_ns, readings.received_ns)
            elif spec.name in UNSTEADY:
                continue
            else:
                possible = {self.words[readings.block.unit, spec.address]}
            if word not in possible:
                self.wrong.append(f"{readings.block.unit:#04x} {spec.name}: {word:#06x} instead of {possible}")
        return False

    def possible(self, from_ns: int, to_ns: int) -> set[int]:
        """Where the carriage stood at some time between the two: from the order to move until it had moved on."""
        left_ns = [to_ns if after.moved_ns is None else after.moved_ns for after in self.places[1:]] + [to_ns]
        return {
            place.x_mm
            for place, left in zip(self.places, left_ns, strict=True)
            if place.began_ns <= to_ns and left >= from_ns
        }


def shipped_maps() -> tuple[ModuleMap, ...]:
    return tuple(load_module_map((MAP_DIR / f"{name}.toml").read_text(), file=name) for name in MAP_NAMES)


def read_truth(robot: SimulatedRobot, maps: tuple[ModuleMap, ...]) -> dict[tuple[int, int], int]:
    master = Master(robot)
    found = {}
    for module in maps:
        for block in plan_blocks(module):
            words = master.words(module.address, block.first, block.count)
            found |= {(module.address, block.first + at): word for at, word in enumerate(words)}
    master.close()
    return found


@pytest.fixture(scope="module")
def robot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path_factory.mktemp("truth"), "empty") as found:
        yield found


@define
class Bench:
    """A bus owner at work; `total` sums a counter of its links over the modules."""

    robot: SimulatedRobot
    schedule: WireSchedule
    bus: FieldBus
    truth: Truth
    turn: int = 0

    def total(self, name: str) -> int:
        return sum(getattr(link.counters, name) for link in self.schedule.links.values())

    def told(self) -> Mapping[str, int]:
        names = ("timeouts", "noise", "exceptions")
        return {name: self.total(name) for name in names} | {"unexpected": self.bus.status.unexpected_bytes}

    async def move(self) -> None:
        """Put the carriage somewhere else; it is at either place while that is under way."""
        self.turn += 1
        place = Place(1000 + 7 * (self.turn % 1000), now_ns())
        self.truth.places.append(place)
        await self.robot.ask({"op": "place", "x_mm": place.x_mm})
        place.moved_ns = now_ns()

    async def play(self, seconds: float) -> None:
        """A move is never cut short: it would be carried out, and nobody would know when."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await self.move()
            await trio.sleep(STEP_S)

    async def settle(self) -> None:
        """Until every module has been heard a while ago at most, and no late reply can come any more."""
        with trio.fail_after(LIMIT_S):
            while not all(link.is_identified for link in self.schedule.links.values()):
                await self.play(STEP_S)


@asynccontextmanager
async def running(robot: SimulatedRobot, lock_dir: Path) -> AsyncIterator[Bench]:
    maps = shipped_maps()
    truth = Truth(read_truth(robot, maps))
    actuators = find_actuators(maps, released_word=1)
    schedule = WireSchedule(maps, actuators, SafetyConfig(), TIMES)
    config = BusConfig(serial=SerialPortConfig(port=str(robot.bus_path), lock_dir=str(lock_dir)))
    timer = PreciseTimer()
    bus = FieldBus(config, schedule, timer, open_serial_port, truth.judge, lambda _report: None)
    bench = Bench(robot, schedule, bus, truth)
    try:
        async with trio.open_nursery() as nursery:
            await bench.move()
            nursery.start_soon(bus.run)
            await bench.settle()
            yield bench
            nursery.cancel_scope.cancel()
    finally:
        timer.close()


FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("silence", {"ratio": 0.3}, "timeouts"),
    ("lost_reply", {"ratio": 0.3}, "timeouts"),
    ("delay", {"ratio": 0.3, "delay_ms": 20, "delay_most_ms": 120}, "timeouts"),
    ("wrong_unit", {"ratio": 0.3}, "noise"),
    ("wrong_function", {"ratio": 0.3}, "noise"),
    ("crc", {"ratio": 0.3}, "noise"),
    ("bit_error", {"ratio": 0.3}, "noise"),
    ("truncated", {"ratio": 0.3}, "timeouts"),
    ("extra_bytes", {"ratio": 0.3}, "noise"),
    ("exception", {"ratio": 0.3, "code": 4}, "exceptions"),
    ("busy", {"ratio": 0.3, "delay_ms": 30}, "exceptions"),
    ("bias_noise", {"ratio": 0.3}, "unexpected"),
    ("duplicate_address", {"ratio": 0.3}, "noise"),
    ("duplicate_address", {"ratio": 0.3, "delay_ms": 9}, "unexpected"),
    ("copy", {"ratio": 0.3, "delay_ms": 1, "delay_most_ms": 4}, "unexpected"),
    ("babble", {"ratio": 0.2}, "unexpected"),
    ("echo", {"ratio": 0.3}, "unexpected"),
    ("second_master", {"period_ms": 20, "address": 0x106}, "unexpected"),
]
"""A fault of every kind that touches replies, and the counter of the daemon that tells about it."""

UNKNOWABLE = "duplicate_address {'ratio': 0.3, 'delay_ms': 9}"
"""Whole replies of a second module at the address of the first must be told; whose words they are nobody can know."""


async def test_nothing_untrue_is_published_whatever_happens_to_the_bytes(robot: SimulatedRobot, tmp_path: Path) -> None:
    wrong: dict[str, list[str]] = {}
    silent: list[str] = []
    async with running(robot, tmp_path) as bench:
        for kind, parameters, counter in FAULTS:
            name, before, known = f"{kind} {parameters}", bench.told(), len(bench.truth.wrong)
            began_s = time.monotonic()
            await robot.ask({"op": "fault", "kind": kind, **parameters})
            await bench.play(FAULT_S)
            await robot.ask({"op": "clear_faults"})
            await bench.settle()
            grown = {key: bench.told()[key] - before[key] for key in before}
            print(f"{name}: {grown}, {time.monotonic() - began_s:.1f} s")
            if len(bench.truth.wrong) > known and name != UNKNOWABLE:
                wrong[name] = bench.truth.wrong[known:]
            if not grown[counter]:
                silent.append(name)
        print(f"{bench.truth.count} blocks published, {len(bench.truth.wrong)} words untrue")
        assert bench.truth.count > 500
    assert wrong == {}
    assert silent == []


async def test_the_judge_sees_a_register_that_lies(robot: SimulatedRobot, tmp_path: Path) -> None:
    """A module that itself tells an old position cannot be seen through; here it shows that the reference works."""
    async with running(robot, tmp_path) as bench:
        assert bench.truth.wrong == []
        await robot.ask({"op": "fault", "kind": "stuck_register", "module": 5, "register": "position.x"})
        await bench.play(1.0)
        assert bench.truth.wrong
        assert {line.split(":")[0] for line in bench.truth.wrong} == {"0x05 position_x"}
        await robot.ask({"op": "clear_faults"})


@pytest.mark.parametrize(
    ("kind", "parameters", "words"),
    [
        ("echo", {}, "the adapter hears what it sends"),
        ("bias_noise", {"place": "reply"}, "check bias resistors and termination"),
        ("crc", {}, "check A/B wiring, shield, and for two of one address"),
    ],
)
async def test_the_problem_names_the_likely_cause(
    kind: str, parameters: dict[str, Any], words: str, robot: SimulatedRobot, tmp_path: Path
) -> None:
    async with running(robot, tmp_path) as bench:
        links = bench.schedule.links.values()
        await robot.ask({"op": "fault", "kind": kind, **parameters})
        with trio.fail_after(LIMIT_S):
            while not all(link.is_dead and words in link.problem for link in links):
                await bench.play(STEP_S)
        await robot.ask({"op": "clear_faults"})
        await bench.settle()
