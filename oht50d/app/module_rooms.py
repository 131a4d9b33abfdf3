"""Builds what knows the modules by name and number: registry, its file, the search (no state)."""

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from oht50d.app.config import Config
from oht50d.core.module_registry import ModuleRegistry
from oht50d.drivers.module_file import ModuleFile
from oht50d.drivers.wall_clock import utc_now
from oht50d.model.registers import ModuleMap
from oht50d.services.registry_keeper import RegistryKeeper

MODULES_FILE = "modules.json"
SIMULATED_MODULES_FILE = "simulation-modules.json"


@frozen
class ModuleRooms:
    """The registry and who keeps it."""

    registry: ModuleRegistry
    keeper: RegistryKeeper


def modules_path(config: Config) -> Path:
    """Simulated modules never get into the list of real ones."""
    return config.robot.state_dir / (SIMULATED_MODULES_FILE if config.bus.is_simulated else MODULES_FILE)


def build_module_rooms(config: Config, maps: Sequence[ModuleMap]) -> ModuleRooms:
    """Reads the list of accepted modules, blocking: before anything runs."""
    file = ModuleFile(modules_path(config))
    registry = ModuleRegistry(zip(config.bus.maps, maps, strict=True), file.load())
    return ModuleRooms(registry, RegistryKeeper(registry, file, utc_now))
