"""Builds every room from the configuration, without starting anything (state: the built objects)."""

import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from attrs import evolve, frozen

from oht50d.app.bus_room import build_sight
from oht50d.app.config import Config
from oht50d.app.config_sources import read_text
from oht50d.app.module_rooms import ModuleRooms, build_module_rooms
from oht50d.app.no_memory import NoMemory
from oht50d.app.paths import find_config_file
from oht50d.app.preparation import signing_key
from oht50d.clock import now_ns
from oht50d.codec.registers import load_module_map
from oht50d.core.actuators import Actuators, find_actuators
from oht50d.core.admission import Load, admit
from oht50d.core.bus_sight import Sight
from oht50d.core.drive_line import refresh_ns
from oht50d.core.exchange_times import LineSpeed
from oht50d.core.map_set import check_map_set
from oht50d.core.motion_gate import MotionGate
from oht50d.core.poll_plan import PollPlan
from oht50d.core.reaction import BEGIN_LIMIT_NS, ReactionModel
from oht50d.core.robot_state import RobotState, Simulation
from oht50d.core.safety_config import BrakeWiring
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.core.unit_plan import plan_unit
from oht50d.core.wire_load import LoadMaker
from oht50d.core.wire_schedule import WireSchedule, WireTimes
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.bus_transport import has_numbered_replies, line_times, opener_of
from oht50d.drivers.field_bus import FieldBus
from oht50d.drivers.lidar_link import LidarLink
from oht50d.drivers.serial_port import SerialPortConfig, open_serial_port
from oht50d.drivers.spool import Spool, SpoolConfig
from oht50d.drivers.timer import PreciseTimer
from oht50d.drivers.user_store import UserStore
from oht50d.drivers.wall_clock import utc_now
from oht50d.metrics import Metrics
from oht50d.model.lidar import LidarScan
from oht50d.model.motion import StopReport
from oht50d.model.registers import BlockReadings, ModuleMap, RegisterBlock
from oht50d.model.snapshot import Snapshot
from oht50d.services.commander import CommandDesk
from oht50d.services.guardian import Guardian
from oht50d.services.hub import Journal, Latest
from oht50d.services.recorder import Recorder, RecorderConfig
from oht50d.services.snapshots import Identity, SnapshotMaker
from oht50d.web.one_time import OneTimeSignIn
from oht50d.web.tokens import TokenService
from oht50d.web.web_ports import HealthView, WebPorts

UNCLEAN_END = "the last run ended badly, without a clean shutdown"
"""Detail of the latched cause `boot`; a reset asks for nothing more because of it."""


def load_maps(config: BusConfig) -> tuple[ModuleMap, ...]:
    """The register maps that the configuration names; raises ConfigError."""
    maps = []
    for name in config.maps:
        path = find_config_file(f"modules/{name}")
        maps.append((str(path), load_module_map(read_text(path), file=str(path))))
    check_map_set(maps)
    return tuple(module for _, module in maps)


def released_word(wiring: BrakeWiring) -> int | None:
    """The relay word that releases the brake."""
    return {BrakeWiring.UNKNOWN: None, BrakeWiring.ENERGISE_TO_RELEASE: 1, BrakeWiring.ENERGISE_TO_BRAKE: 0}[wiring]


def wire_times(config: BusConfig) -> WireTimes:
    return WireTimes(
        stop_ns=line_times(config).silence_ns + BEGIN_LIMIT_NS,
        safety_ns=config.safety_timeout.ns,
        other_ns=config.reply_timeout.ns,
        probe_ns=config.probe_timeout.ns,
        has_numbered_replies=has_numbered_replies(config),
        turnaround_ns=config.assumed_turnaround.ns,
        speed=LineSpeed(line_times(config).character_ns, line_times(config).silence_ns),
    )


def plan_load(config: Config, actuators: Actuators, blocks: tuple[RegisterBlock, ...]) -> Load:
    """What wants the wire, with the turnaround that is assumed of everybody."""
    has_timeout = actuators.timeout_register is not None
    make = LoadMaker(
        actuators, config.safety, wire_times(config.bus), refresh_ns(config.safety, has_timeout=has_timeout)
    )
    return make(blocks, {})


def reaction_model(config: Config, maps: Sequence[ModuleMap], actuators: Actuators) -> ReactionModel:
    """What `check` prints and the stop reports carry."""
    blocks = tuple(block for module in maps for block in plan_unit(module).blocks)
    gaps = admit(plan_load(config, actuators, blocks), is_moving=True).gaps
    return ReactionModel(
        config=config.safety,
        plan=PollPlan(blocks),
        safety_gap_ns=max(gap.gap_ns for gap in gaps),
        times=wire_times(config.bus),
        baud=config.bus.serial.baud,
        drives=len(actuators.drives),
        has_drive_timeout=actuators.timeout_register is not None,
        speed_mm_s=config.safety.uncommissioned_speed_mm_s,
    )


class ScanShelf:
    """The newest whole turn."""

    def __init__(self) -> None:
        self._latest: Latest[LidarScan | None] = Latest(None)

    def current_scan(self) -> LidarScan | None:
        return self._latest.current()

    def publish(self, scan: LidarScan) -> None:
        self._latest.publish(scan)


class SnapshotShelf:
    """The newest snapshot; there is always one once the guardian has stepped."""

    def __init__(self) -> None:
        self._latest: Latest[Snapshot | None] = Latest(None, version_of=lambda s: 0 if s is None else s.version)

    def current(self) -> Snapshot:
        """Only called once the guardian has made its first step, which happens before anybody is served."""
        snapshot = self._latest.current()
        assert snapshot is not None
        return snapshot

    async def newer_than(self, version: int) -> Snapshot:
        snapshot = await self._latest.newer_than(version)
        assert snapshot is not None
        return snapshot

    def publish(self, snapshot: Snapshot) -> None:
        self._latest.publish(snapshot)


@frozen(kw_only=True)
class Rooms:
    """Everything that the house joins; built inside Trio, before any task runs."""

    config: Config
    boot_id: str
    maps: tuple[ModuleMap, ...]
    kernel: SafetyKernel
    state: RobotState
    bus: FieldBus
    timers: tuple[PreciseTimer, PreciseTimer]
    lidar: LidarLink
    guardian: Guardian
    commander: CommandDesk
    snapshots: SnapshotShelf
    scans: ScanShelf
    journal: Journal
    recorder: Recorder
    modules: ModuleRooms
    spool: Spool | NoMemory
    accounts: UserStore
    one_time: OneTimeSignIn
    metrics: Metrics
    sight: Sight
    gate: MotionGate

    def web_ports(self, health: Callable[[], HealthView]) -> WebPorts:
        """The web's share; reads or makes the signing key. Raises ConfigError."""
        return WebPorts(
            snapshots=self.snapshots,
            scans=self.scans,
            commander=self.commander,
            history=self.spool,
            accounts=self.accounts,
            tokens=TokenService(
                signing_key(self.config), self.boot_id, self.config.auth, now_ns=now_ns, wall_s=time.time
            ),
            one_time=self.one_time,
            health=health,
            metrics=self.metrics,
            module_maps={module.address: module for module in self.maps},
            config=self.config.web,
            zones=self.config.safety.zones,
        )


def spool_config(config: Config) -> SpoolConfig:
    """The spool stands in the state directory unless its path was set."""
    default = SpoolConfig()
    if config.spool.path != default.path:
        return config.spool
    return evolve(config.spool, path=str(config.robot.state_dir / "spool.db"))


def build_rooms(config: Config, spool: Spool | NoMemory, metrics: Metrics, boot_id: str, *, users_file: str) -> Rooms:
    """Join drivers, core and services. Raises ConfigError for maps that do not fit."""
    maps = load_maps(config.bus)
    actuators = find_actuators(maps, released_word=released_word(config.safety.brake_wiring))
    snapshots, scans = SnapshotShelf(), ScanShelf()
    simulation = Simulation(config.bus.is_simulated, config.lidar.is_simulated)
    predicted_ms = reaction_model(config, maps, actuators).after_detection().total_ms
    times = wire_times(config.bus)
    schedule = WireSchedule(maps, actuators, config.safety, times, predicted_ms)
    modules = build_module_rooms(config, maps, schedule, times)
    state = RobotState(
        schedule, actuators, simulation, config.safety.zones.sector_count, modules.registry, modules.discovery
    )  # fmt: skip
    kernel = SafetyKernel(config.safety, boot_id, now_ns(), "" if spool.was_clean else UNCLEAN_END)
    has_timeout = actuators.timeout_register is not None
    identity = Identity(config.robot.robot_id, config.is_simulated, has_timeout)
    maker = SnapshotMaker(identity, config.safety, utc_now)
    bus_timer, step_timer = timers = PreciseTimer(), PreciseTimer()
    late = _LateGuardian()
    sight = build_sight(config.bus, schedule, wire_times(config.bus), maps)
    bus = FieldBus(
        config.bus, schedule, bus_timer, opener_of(config.bus, open_serial_port),
        publish=late.accept_block, publish_stop=late.accept_stop,
        observe=sight.trace.add, record=sight.stats.record,
    )  # fmt: skip
    guardian = late.guardian = Guardian(config.safety, kernel, state, bus, step_timer, snapshots.publish, maker.make)
    journal = Journal()
    recorder = Recorder(journal, spool, snapshots, utc_now=utc_now, config=_recorder_config(config))
    commander = CommandDesk(config.safety, guardian, bus, snapshots, recorder, utc_now)
    guardian.on_button = commander.press_button
    return Rooms(
        config=config, boot_id=boot_id, maps=maps, kernel=kernel, state=state, bus=bus, timers=timers,
        lidar=_build_lidar(config, guardian, scans), guardian=guardian, commander=commander, snapshots=snapshots,
        scans=scans, journal=journal, recorder=recorder, modules=modules, spool=spool,
        accounts=UserStore(config.robot.state_dir / users_file), one_time=OneTimeSignIn(now_ns), metrics=metrics,
        sight=sight, gate=schedule.gate,
    )  # fmt: skip


class _LateGuardian:
    """The bus needs the guardian and the guardian the bus: this one is known a little later."""

    guardian: Guardian

    def accept_block(self, readings: BlockReadings) -> bool:
        return self.guardian.accept_block(readings)

    def accept_stop(self, report: StopReport) -> None:
        self.guardian.accept_stop(report)


def _recorder_config(config: Config) -> RecorderConfig:
    return RecorderConfig(batch_rows=config.spool.batch_rows, batch_wait=config.spool.batch_wait)


def _build_lidar(config: Config, guardian: Guardian, scans: ScanShelf) -> LidarLink:
    port = SerialPortConfig(
        port=config.lidar.port, baud=config.lidar.baud, lock_dir=config.bus.serial.lock_dir
    )  # fmt: skip
    return LidarLink(
        config.lidar,
        open_port=partial(open_serial_port, port),
        publish_sectors=guardian.accept_sectors,
        publish_scan=scans.publish,
        publish_status=guardian.accept_lidar_status,
        clock=now_ns,
        sector_count=config.safety.zones.sector_count,
        # Points beyond this never reach the zones, so it covers the widest of them.
        near_limit_mm=max(2500.0, config.safety.zones.watch_mm),
    )


def new_boot_id() -> str:
    """A fresh identity for this run of the process; monotonic times mean nothing without it."""
    return uuid.uuid4().hex
