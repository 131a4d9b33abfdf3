"""The control ring on memory for the mock clock: the real bus owner, guardian, kernel, commander and recorder.

Doubles stand only where the world begins: the line, the LiDAR's reports and the store of the recorder.
"""

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager

import trio
from attrs import define, field
from bus_fakes import MS, SAFETY, Bench, MockTimer, make_bench
from core_fixtures import fresh_registry
from module_bench import attach_discovery

from oht50d.app.rooms import SnapshotShelf
from oht50d.clock import now_ns
from oht50d.core.history import PurgeReport
from oht50d.core.module_registry import ModuleRegistry
from oht50d.core.robot_state import RobotState, Simulation
from oht50d.core.safety_config import BrakeWiring, SafetyConfig
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.lidar import LidarLinkState, LidarStatus, SectorReport
from oht50d.model.motion import MachineState
from oht50d.model.records import EventRow, Row
from oht50d.services.commander import CommandDesk
from oht50d.services.guardian import Guardian
from oht50d.services.hub import Journal
from oht50d.services.ports import Actor, Claim
from oht50d.services.recorder import Recorder
from oht50d.services.snapshots import Identity, SnapshotMaker

BOOT_ID = "boot-1"
TURN_NS = 100 * MS
CHAIN, RESET_BUTTON = 0x0001, 0x0024
"""Registers of the safety module."""
ANNA = Actor("anna", Role.OPERATOR, "http")
BERT = Actor("bert", Role.SUPERVISOR, "http")
VERA = Actor("vera", Role.VIEWER, "http")


@define(slots=False)
class Store:
    """Where the recorder writes: it works, fails with `problem`, or hangs."""

    rows: list[Row] = field(factory=list)
    problem: str | None = None
    is_hanging: bool = False
    delay_s: float = 0.0
    last_batch: int = 0

    async def append(self, rows: Sequence[Row], *, batch: int | None = None) -> None:
        if self.is_hanging:
            await trio.sleep_forever()
        await trio.sleep(self.delay_s)
        if self.problem is not None:
            raise StoreError(self.problem)
        if batch is not None:
            if batch <= self.last_batch:
                return
            self.last_batch = batch
        self.rows.extend(rows)

    async def purge(self) -> PurgeReport:
        await trio.lowlevel.checkpoint()
        return PurgeReport()

    def events(self, kind: str) -> list[EventRow]:
        return [row for row in self.rows if isinstance(row, EventRow) and row.kind == kind]


@define(slots=False)
class Control:
    """Everything between the line and the people."""

    config: SafetyConfig
    bench: Bench
    kernel: SafetyKernel
    state: RobotState
    guardian: Guardian
    commander: CommandDesk
    snapshots: SnapshotShelf
    recorder: Recorder
    store: Store
    nearest_mm: float = 3000.0
    is_lidar_dead: bool = False

    @property
    def claim(self) -> Claim:
        return Claim(BOOT_ID, self.kernel.authority.current.epoch)

    def codes(self) -> set[str]:
        """What stands against motion in the newest snapshot."""
        return {cause.code.value for cause in self.snapshots.current().decision.inhibits}

    async def turn_lidar(self) -> None:
        """A LiDAR that sees `nearest_mm` all around, every quarter of a turn."""
        while True:
            at_ns = now_ns()
            if not self.is_lidar_dead:
                self.guardian.accept_lidar_status(
                    LidarStatus(LidarLinkState.SCANNING, last_byte_ns=at_ns, last_turn_ns=at_ns, turn_period_ns=TURN_NS)
                )
                self.guardian.accept_sectors(
                    [
                        SectorReport(index, at_ns - 3 * MS, at_ns, 10, 10, 0, self.nearest_mm, ())
                        for index in range(len(self.state.sectors))
                    ]
                )
            await trio.sleep(0.025)

    async def ready_for_reset(self, accepted: Set[str] = frozenset()) -> None:
        """Only the latch and the missing authority stand against motion."""
        harmless = {"boot", "operator_stop", "no_authority"} | accepted
        await self.bench.until(lambda: self.codes() <= harmless and not self.bench.schedule.sequencer.is_active)

    async def reset(self, actor: Actor = ANNA) -> Mapping[str, object]:
        await self.ready_for_reset()
        held = self.commander.hold_reset(actor, self.claim)
        await trio.sleep(1.1)
        return await self.commander.release_reset(actor, self.claim, str(held["hold_id"]))

    async def armed(self, actor: Actor = ANNA) -> None:
        await self.reset(actor)
        self.commander.arm(actor, self.claim)
        assert self.kernel.state is MachineState.IDLE

    def set_safety(self, register: int, word: int) -> None:
        self.bench.modules[SAFETY].image[register] = word


def make_control(
    *,
    is_lidar_simulated: bool = True,
    travel: str = "travel_motor",
    registry: ModuleRegistry | None = None,
    is_searching: bool = False,
) -> Control:
    """Built inside a Trio test; `is_searching` adds the search for modules that nobody has bound."""
    config = SafetyConfig(brake_wiring=BrakeWiring.ENERGISE_TO_RELEASE)
    bench = make_bench(travel=travel, config=config)
    state = RobotState(
        bench.schedule, bench.actuators, Simulation(True, is_lidar_simulated), config.zones.sector_count,
        registry or fresh_registry(bench.maps), attach_discovery(bench) if is_searching else None,
    )  # fmt: skip
    kernel = SafetyKernel(config, BOOT_ID, now_ns())
    snapshots, store = SnapshotShelf(), Store()
    maker = SnapshotMaker(Identity("OHT-50-001", True, False), config, utc_now)
    guardian = Guardian(config, kernel, state, bench.bus, MockTimer(), snapshots.publish, maker.make)
    recorder = Recorder(Journal(), store, snapshots, utc_now=utc_now)
    commander = CommandDesk(config, guardian, bench.bus, snapshots, recorder, utc_now)
    guardian.on_button = commander.press_button
    guardian.on_gap = bench.bus.discard_input
    bench.on_readings, bench.on_report = guardian.accept_block, guardian.accept_stop
    return Control(config, bench, kernel, state, guardian, commander, snapshots, recorder, store)


@asynccontextmanager
async def rejected(code: str, field_name: str | None = None) -> AsyncIterator[CommandRejected]:
    """The block must be refused with this code, and name this field; what comes out is filled in at its end."""
    refusal = CommandRejected("", "")
    try:
        yield refusal
    except CommandRejected as error:
        refusal.code, refusal.message, refusal.details = error.code, error.message, error.details
    assert (refusal.code, refusal.details.get("field")) == (code, field_name), refusal.message


def utc_now() -> str:
    return "2024-05-01T12:00:00.000Z"


@asynccontextmanager
async def running_control(
    control: Control | None = None, *, is_lidar_simulated: bool = True, is_settled: bool = True
) -> AsyncIterator[Control]:
    """All tasks of the ring on a robot that has just been switched on."""
    control = control or make_control(is_lidar_simulated=is_lidar_simulated)
    async with trio.open_nursery() as nursery:
        control.guardian.step(0)
        await nursery.start(control.recorder.run)
        await nursery.start(control.guardian.run)
        nursery.start_soon(control.guardian.beat)
        await nursery.start(control.commander.run)
        await nursery.start(control.bench.bus.run)
        nursery.start_soon(control.turn_lidar)
        if is_settled:
            await control.bench.settle()
        yield control
        nursery.cancel_scope.cancel()
