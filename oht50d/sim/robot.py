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
from oht50d.sim.bindings import SafetyBoard, build_module
from oht50d.sim.bus_line import BusLine
from oht50d.sim.faults import FaultBoard, FaultKind
from oht50d.sim.lidar_device import LidarDevice
from oht50d.sim.plant import Plant
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.scenario import Scenario

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
        noise = random.Random(seed + 1)
        self.line = BusLine(
            PseudoTerminal(runtime_dir / "bus"),
            [build_module(found, plant=self.plant, world=self.world, board=self.safety, noise=noise) for found in maps],
            settings=scenario.bus,
            plant=self.plant,
            faults=self.faults,
            settle=self.settle,
        )
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
            self.safety.error_code = safety_error.code
        zone = first(FaultKind.SAFETY_ZONE, now_ns)
        self.safety.zone_bits = zone.code & 0x0F if zone else 0
        drive_error = first(FaultKind.DRIVE_ERROR, now_ns)
        if drive_error:
            for drive in self.plant.drives:
                drive.error_code = drive_error.code
        self._hold_adapter(self.line, first(FaultKind.HANGUP, now_ns) is not None)
        self._hold_adapter(self.lidar, first(FaultKind.LIDAR_HANGUP, now_ns) is not None)

    def _hold_adapter(self, device: BusLine | LidarDevice, is_gone: bool) -> None:
        if is_gone and device.terminal.is_open:
            device.hang_up()
        elif not is_gone and not device.terminal.is_open:
            device.terminal.open()
