"""The whole simulated robot: plant, hall, modules on one pty, LiDAR on another, faults, control (the object owns them).

Time is CLOCK_MONOTONIC in nanoseconds throughout, so that other processes can compare.
"""

import random
import time
from pathlib import Path

import trio

from oht50d.codec.registers import load_module_map
from oht50d.model.errors import ConfigError
from oht50d.model.registers import ModuleMap
from oht50d.sim.bindings import SafetyBoard, build_module, build_spare
from oht50d.sim.bus_line import BusLine
from oht50d.sim.fault_kinds import FaultKind
from oht50d.sim.faults import FaultBoard, ScriptedFault
from oht50d.sim.lidar_device import LidarDevice
from oht50d.sim.plant import Plant
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.scenario import ModuleSettings, Scenario

TICK_S = 0.02


def load_maps(scenario: Scenario, map_dir: Path) -> tuple[ModuleMap, ...]:
    """The scenario's register maps; raises ConfigError, also for a file that cannot be read."""
    maps = []
    for name in scenario.maps.names:
        path = map_dir / name
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError("maps", f"cannot be read: {error}", file=str(path)) from error
        maps.append(load_module_map(text, file=str(path)))
    has_timeout = any("drive.communication_timeout" in found.by_role for found in maps)
    if scenario.communication_timeout.ns and not has_timeout:
        raise ConfigError("communication_timeout", "no register map of the scenario has such a register")
    known = {found.address for found in maps}
    for index, settings in enumerate(scenario.module):
        if settings.address not in known and settings.type is None:
            raise ConfigError(f"module[{index}].type", "missing key: no register map has this address")
        known.add(settings.address)
    return tuple(maps)


class Robot:
    """Everything of one robot; `bus` and `lidar` are symlinks to be made in `runtime_dir`."""

    def __init__(self, scenario: Scenario, maps: tuple[ModuleMap, ...], runtime_dir: Path, seed: int) -> None:
        now_ns = time.monotonic_ns()
        self.scenario = scenario
        self.start_ns = now_ns
        self.faults = FaultBoard(random.Random(seed))
        hall = scenario.hall
        self.plant = Plant(scenario.plant, hall.buffer_mm, hall.length_mm - hall.buffer_mm, now_ns)
        self.plant.communication_timeout_ms = scenario.communication_timeout.ns // 1_000_000
        self.world = scenario.world(now_ns)
        self.safety = SafetyBoard()
        self.is_chain_held_open = False
        self.is_button_held = False
        for script in scenario.fault:
            self.faults.add(script, now_ns)
        self._last_replug: ScriptedFault | None = None
        noise = random.Random(seed + 1)
        self.line = BusLine(
            PseudoTerminal(runtime_dir / "bus", scenario.bus.baud),
            [build_module(found, plant=self.plant, world=self.world, board=self.safety, noise=noise) for found in maps],
            settings=scenario.bus,
            plant=self.plant,
            faults=self.faults,
            settle=self.settle,
        )
        self._neighbour = maps[0]
        for settings in scenario.module:
            self.set_up(settings)
        self.lidar = LidarDevice(
            PseudoTerminal(runtime_dir / "lidar"),
            settings=scenario.lidar,
            plant=self.plant,
            world=self.world,
            faults=self.faults,
            counters=self.line.counters,
            settle=self.settle,
            seed=seed + 2,
        )

    def set_up(self, settings: ModuleSettings) -> None:
        """Change how a module is set, or add one; raises ValueError where a new one has no type."""
        module = self.line.modules.get(settings.address)
        if module is None:
            if settings.type is None:
                raise ValueError("a new module needs a type")
            serial = settings.serial
            module = build_spare(
                self._neighbour, address=settings.address, type_code=settings.type, tag=settings.tag, serial=serial
            )
            self.line.add(module)
        module.become(serial=settings.serial, firmware=settings.firmware, type_code=settings.type)
        if settings.turnaround is not None:
            module.turnaround_ns = settings.turnaround.ns
        if settings.baud is not None or settings.parity is not None:
            module.line = self.line.settings_of(module).changed(settings.baud, settings.parity)

    def open(self) -> None:
        """Make both ptys and their symlinks."""
        self.line.terminal.open()
        self.lidar.terminal.open()

    def close(self) -> None:
        """Close and remove them (idempotent)."""
        self.line.terminal.close()
        self.lidar.terminal.close()
        self.line.trace.close()

    async def run(self) -> None:
        """Live until cancelled; the ptys stay open."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.line.run_receiver)
            nursery.start_soon(self.line.run_deliveries)
            nursery.start_soon(self.lidar.run_receiver)
            nursery.start_soon(self.lidar.run_measurement)
            while True:
                now_ns = time.monotonic_ns()
                self.settle(now_ns)
                self.line.terminal.settle_link()
                await trio.sleep(TICK_S)
                self.line.counters.note_lateness(time.monotonic_ns() - now_ns - round(TICK_S * 1e9))

    def settle(self, now_ns: int) -> None:
        """Bring the plant to `now_ns`, the edges of faults on the way taken at their own times."""
        while True:
            edge_ns = self.faults.next_edge_ns(self.plant.now_ns)
            if edge_ns is None or edge_ns > now_ns:
                break
            self.plant.advance(edge_ns)
            self.plant.now_ns = max(self.plant.now_ns, edge_ns)
            self.apply_faults()
        self.plant.advance(now_ns)

    def apply_faults(self) -> None:
        """Hold the plant's inputs and both adapters as the faults in force want them."""
        now_ns, first = self.plant.now_ns, self.faults.first
        self.plant.open_chain(self.is_chain_held_open or first(FaultKind.ESTOP, now_ns) is not None)
        self.plant.is_reset_pressed = self.is_button_held or first(FaultKind.RESET_BUTTON, now_ns) is not None
        safety_error = first(FaultKind.SAFETY_ERROR, now_ns)
        if safety_error:
            self.safety.error_code = safety_error.code or 0
        zone = first(FaultKind.SAFETY_ZONE, now_ns)
        self.safety.zone_bits = (zone.code or 0) & 0x0F if zone else 0
        drive_error = first(FaultKind.DRIVE_ERROR, now_ns)
        if drive_error:
            for drive in self.plant.drives:
                drive.error_code = drive_error.code or 0
        self.line.apply_faults(now_ns)
        self._hold_bus_adapter(now_ns)
        self._hold_lidar_adapter(first(FaultKind.LIDAR_HANGUP, now_ns) is not None)

    def _hold_bus_adapter(self, now_ns: int) -> None:
        """One that is plugged in elsewhere comes back under another name, one that only hung up under its own."""
        replug = self.faults.first(FaultKind.REPLUG, now_ns)
        is_gone = replug is not None or self.faults.first(FaultKind.HANGUP, now_ns) is not None
        terminal = self.line.terminal
        if is_gone and terminal.is_open:
            self._last_replug = replug
            self.line.hang_up(is_link_kept=replug is not None)
        elif not is_gone and not terminal.is_open:
            if self._last_replug is None:
                terminal.open()
            else:
                terminal.open_elsewhere(self._last_replug.delay.ns)
            self.line.apply_faults(now_ns)

    def _hold_lidar_adapter(self, is_gone: bool) -> None:
        if is_gone and self.lidar.terminal.is_open:
            self.lidar.hang_up()
        elif not is_gone and not self.lidar.terminal.is_open:
            self.lidar.terminal.open()

    def clear_faults(self) -> int:
        """Forget all faults, scripted ones too; tells how many there were."""
        count = self.faults.clear()
        self.line.clear_faults()
        self.apply_faults()
        return count
