"""Starts the simulated robot as a process of its own and points the configuration at it (owner: the house).

The daemon cannot tell the difference: it gets two tty paths. Only the site data that a real robot's commissioning
would have written (brake wiring, drive map) comes from the scenario.
"""

import json
import subprocess
import sys
from pathlib import Path

import trio
from attrs import evolve, frozen

from oht50d.app.config import Config
from oht50d.app.config_sources import read_document
from oht50d.app.paths import find_scenario
from oht50d.app.simulation_pace import SimulatorLateness
from oht50d.core.safety_config import BrakeWiring
from oht50d.model.errors import LinkError

READY_WAIT_S = 20.0


@frozen
class SimulatedSite:
    """Where the simulated robot lives."""

    scenario: Path
    directory: Path

    @property
    def bus_port(self) -> str:
        return str(self.directory / "bus")

    @property
    def lidar_port(self) -> str:
        return str(self.directory / "lidar")


def choose_site(config: Config) -> SimulatedSite:
    """The scenario's file and a directory for its ptys; raises ConfigError for an unknown scenario."""
    return SimulatedSite(find_scenario(config.robot.scenario), (config.robot.runtime_dir / "simulator").resolve())


def adapt(config: Config, site: SimulatedSite) -> Config:
    """The configuration with the simulated ports and the simulated site's commissioning data."""
    maps = read_document(site.scenario).tree.get("maps")
    travel = str(maps.get("travel", "travel_motor.toml")) if isinstance(maps, dict) else "travel_motor.toml"
    names = tuple(travel if name.startswith("travel_motor") else name for name in config.bus.maps)
    lock_dir = str(site.directory)
    serial = evolve(config.bus.serial, port=site.bus_port, lock_dir=lock_dir)
    return evolve(
        config,
        bus=evolve(config.bus, serial=serial, maps=names, is_simulated=True),
        lidar=evolve(config.lidar, port=site.lidar_port, is_simulated=True),
        safety=evolve(config.safety, brake_wiring=BrakeWiring.ENERGISE_TO_RELEASE),
    )


async def run_simulator(
    site: SimulatedSite, map_dir: Path, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    """Run it until cancelled; raises LinkError if it ends by itself. A cancellation ends the process."""
    site.directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "oht50d.sim", "--scenario", str(site.scenario), "--watch-stdin"]
    command += ["--runtime-dir", str(site.directory), "--map-dir", str(map_dir)]
    # A session of its own: Ctrl-C in the terminal is for the daemon, which still needs the robot to stop it.
    process = await trio.lowlevel.open_process(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        with trio.fail_after(READY_WAIT_S):
            await _await_ready(process)
        task_status.started()
        code = await process.wait()
        raise LinkError(f"the simulator ended with code {code}", cause="absent", remedy="Look at its output above.")
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 3):
            if process.returncode is None:
                process.terminate()
                await process.wait()


async def ask_lateness(site: SimulatedSite) -> SimulatorLateness | None:
    """What the simulator says of its own lateness; None if it does not answer within half a second."""
    with trio.move_on_after(0.5):
        try:
            async with await trio.open_unix_socket(str(site.directory / "control.sock")) as control:
                await control.send_all(b'{"op": "counters"}\n')
                line = b""
                while not line.endswith(b"\n"):
                    part = await control.receive_some(4096)
                    if not part:
                        return None
                    line += part
            found = json.loads(line)
            return SimulatorLateness(float(found["late_ms"]), float(found["worst_late_ms"]))
        except (OSError, trio.BrokenResourceError, ValueError, KeyError):
            return None
    return None


async def _await_ready(process: trio.Process) -> None:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(4096)
        if not data:
            raise LinkError("the simulator did not start", cause="absent", remedy="Look at its output above.")
        line += data
    if json.loads(line.splitlines()[0]).get("event") != "ready":
        raise LinkError("the simulator did not say ready", cause="absent")
