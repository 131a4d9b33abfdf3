"""Builds what knows the modules by name and number: registry, its file, the search, the desk (no state)."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from oht50d.app.config import Config
from oht50d.core.discovery import Discovery, DiscoveryConfig
from oht50d.core.module_registry import ModuleRegistry
from oht50d.core.wire_schedule import Rank, WireSchedule, WireTimes
from oht50d.drivers.module_file import ModuleFile
from oht50d.drivers.serial_settings import BAUD_RATES
from oht50d.drivers.wall_clock import utc_now
from oht50d.model.line import LineSettings
from oht50d.model.registers import ModuleMap
from oht50d.services.module_desk import LineChoices, ModuleDesk
from oht50d.services.registry_keeper import RegistryKeeper

if TYPE_CHECKING:
    from oht50d.app.rooms import Rooms

MODULES_FILE = "modules.json"
SIMULATED_MODULES_FILE = "simulation-modules.json"
NO_SERIAL_LINE = "a scan needs a serial port of this computer; this bus is a TCP connection"


@frozen
class ModuleRooms:
    """The registry, who keeps it, and the search."""

    registry: ModuleRegistry
    keeper: RegistryKeeper
    discovery: Discovery


def modules_path(config: Config) -> Path:
    """Simulated modules never get into the list of real ones."""
    return config.robot.state_dir / (SIMULATED_MODULES_FILE if config.bus.is_simulated else MODULES_FILE)


def build_module_rooms(
    config: Config, maps: Sequence[ModuleMap], schedule: WireSchedule, times: WireTimes
) -> ModuleRooms:  # fmt: skip
    """Reads the list of accepted modules, blocking: before anything runs. The search joins the schedule."""
    file = ModuleFile(modules_path(config))
    registry = ModuleRegistry(zip(config.bus.maps, maps, strict=True), file.load())
    discovery = build_discovery(config.bus.discovery, schedule, times)
    return ModuleRooms(registry, RegistryKeeper(registry, file, utc_now), discovery)


def build_discovery(config: DiscoveryConfig, schedule: WireSchedule, times: WireTimes) -> Discovery:
    """The search beside polling, joined to the schedule."""
    discovery = Discovery(
        config,
        schedule.links,
        schedule.probe_budget,
        times.probe_wait_ns,
        lambda: schedule.may_search,
    )
    schedule.attach(discovery, Rank.BACKGROUND)
    schedule.on_open = discovery.reopen
    schedule.on_unexpected = discovery.note_unexpected
    return discovery


def build_module_desk(rooms: "Rooms") -> ModuleDesk:
    """The desk of the local socket."""
    serial = rooms.config.bus.serial
    return ModuleDesk(
        snapshots=rooms.snapshots,
        guardian=rooms.guardian,
        keeper=rooms.modules.keeper,
        scanner=rooms.bus,
        searcher=rooms.modules.discovery,
        lines=LineChoices(
            own=LineSettings(serial.baud, serial.parity, serial.stop_bits),
            speeds=BAUD_RATES,
            refusal=NO_SERIAL_LINE if rooms.config.bus.transport.uses_tcp else "",
        ),
        standstill_mm_s=rooms.config.safety.stop.standstill_mm_s,
        records=rooms.recorder,
        utc_now=utc_now,
    )
