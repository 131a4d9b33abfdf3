"""The real bus owner on a link of the real world, run again and again, and everything that it publishes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, evolve, field
from bus_fakes import shipped_maps
from core_fixtures import fresh_registry
from truth_words import LEFT_BY_S0, TRUTH

from oht50d.app.rooms import wire_times
from oht50d.clock import now_ns
from oht50d.core.actuators import find_actuators
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.robot_state import RobotState, Simulation
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import WireSchedule
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.bus_transport import OpenPort, opener_of
from oht50d.drivers.field_bus import FieldBus
from oht50d.drivers.serial_port import open_serial_port
from oht50d.drivers.timer import PreciseTimer
from oht50d.model.errors import LinkError
from oht50d.model.registers import BlockReadings
from oht50d.model.snapshot import ModuleStatus

LIMIT_S = 60.0
WORDS = {(unit, row[0]): row[2] for unit, rows in TRUTH.items() for row in rows}
HELD = {place: {word, 0} if place in LEFT_BY_S0 else {word} for place, word in WORDS.items()}
MAPS = shipped_maps()
BLOCKS = {(block.unit, block.first) for module in MAPS for block in plan_blocks(module)}


@define(slots=False)
class Owner:
    """A bus owner that is run again and again, as the supervisor does, and all that it published."""

    config: BusConfig
    bus: FieldBus
    state: RobotState
    problems: list[LinkError] = field(factory=list)
    readings: list[BlockReadings] = field(factory=list)

    @property
    def modules(self) -> tuple[ModuleStatus, ...]:
        return self.state.modules(now_ns())

    def accept(self, readings: BlockReadings) -> bool:
        self.readings.append(readings)
        self.state.apply_block(readings)
        return False

    def untrue(self) -> list[tuple[int, int, int]]:
        """Unit, address and word of everything that was published and is not what the module holds."""
        return [
            (block.block.unit, address, word)
            for block in self.readings
            for address, word in enumerate(block.words, block.block.first)
            if word not in HELD[block.block.unit, address]
        ]

    def blocks_read(self) -> set[tuple[int, int]]:
        return {(block.block.unit, block.block.first) for block in self.readings}

    async def until(self, is_reached: Callable[[], bool], what: str) -> None:
        with trio.move_on_after(LIMIT_S):
            while not is_reached():  # noqa: ASYNC110 - what is waited for is spread over several rooms
                await trio.sleep(0.005)
            return
        raise AssertionError(f"not within {LIMIT_S} s: {what}; {self.bus.status}")

    async def until_online(self) -> None:
        await self.until(lambda: all(module.is_online for module in self.modules), "all modules are online")

    async def run(self) -> None:
        while True:
            try:
                await self.bus.run()
            except LinkError as problem:
                self.problems.append(problem)
                await trio.sleep(0.03)


@asynccontextmanager
async def owner_on(
    config: BusConfig, *, is_patient: bool = True, open_port: OpenPort = open_serial_port
) -> AsyncIterator[Owner]:
    """`is_patient`: a shared machine may let the server's thread wait."""
    times = wire_times(config)
    if is_patient:
        times = evolve(times, safety_ns=500_000_000, other_ns=500_000_000, probe_ns=500_000_000)
    actuators = find_actuators(MAPS, released_word=1)
    schedule = WireSchedule(MAPS, actuators, SafetyConfig(), times)
    state = RobotState(schedule, actuators, Simulation(True, True), sectors=8, registry=fresh_registry(MAPS))
    timer = PreciseTimer()
    owner: Owner

    def accept(readings: BlockReadings) -> bool:
        return owner.accept(readings)

    bus = FieldBus(config, schedule, timer, opener_of(config, open_port), accept, state.apply_stop)
    owner = Owner(config, bus, state)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(owner.run)
            yield owner
            nursery.cancel_scope.cancel()
    finally:
        timer.close()
