"""Starts the simulated robot as a process of its own and points the configuration at it (owner: the house).

The daemon cannot tell the difference: it gets two tty paths. Only the site data that a real robot's commissioning
would have written (brake wiring, drive map) comes from the scenario.
"""

import json
import os
import secrets
import sys
from pathlib import Path

import trio
from attrs import evolve, frozen

from oht50d.app.config import Config
from oht50d.app.config_sources import read_document
from oht50d.app.early_simulator import EarlySimulator
from oht50d.app.paths import find_scenario
from oht50d.app.simulation_pace import SimulatorLateness
from oht50d.core.safety_config import BrakeWiring
from oht50d.drivers.bus_config import Transport
from oht50d.drivers.serial_settings import SerialPortConfig
from oht50d.drivers.user_store import UserStore
from oht50d.model.accounts import Role
from oht50d.model.errors import LinkError

READY_WAIT_S = 20.0
SIMULATION_USER = "simulation"


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
    # A pseudo-terminal has no direction to turn and no parity.
    serial = SerialPortConfig(port=site.bus_port, baud=config.bus.serial.baud, lock_dir=lock_dir)
    return evolve(
        config,
        bus=evolve(config.bus, transport=Transport.RTU, serial=serial, maps=names, is_simulated=True),
        lidar=evolve(config.lidar, port=site.lidar_port, is_simulated=True),
        safety=evolve(config.safety, brake_wiring=BrakeWiring.ENERGISE_TO_RELEASE),
    )


async def ensure_simulation_user(accounts: UserStore) -> None:
    """The account behind the one-time link: its password is random and nobody is told."""
    if await accounts.get(SIMULATION_USER) is None:
        await accounts.add(SIMULATION_USER, secrets.token_urlsafe(32), Role.OPERATOR)


def show_page(site: SimulatedSite, port: int, token: str) -> None:
    """Tell the user of the terminal where the page is.

    In one write: the thread of the log may write to the same file at any time, and must not come in between.
    """
    address = f"http://127.0.0.1:{port}/"
    hands = f"{sys.executable} -m oht50d.sim.remote {site.directory}"
    sys.stdout.write(
        f"\n  SIMULATED robot, page: {address}\n"
        f"  sign in once with:    {address}#sign-in={token}\n"
        f"  hands at the vehicle: {hands} reset|estop|release|box|clear\n\n"
    )
    sys.stdout.flush()


async def run_simulator(
    simulator: EarlySimulator,
    site: SimulatedSite,
    map_dir: Path,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run it until cancelled; raises LinkError if it ends by itself. A cancellation ends the process."""
    site.directory.mkdir(parents=True, exist_ok=True)
    arguments = ["--scenario", str(site.scenario), "--watch-stdin"]
    arguments += ["--runtime-dir", str(site.directory), "--map-dir", str(map_dir)]
    process = simulator.process
    assert process.stdout is not None
    try:
        async with trio.lowlevel.FdStream(os.dup(process.stdout.fileno())) as output:
            with trio.fail_after(READY_WAIT_S):
                await _begin(simulator, arguments, output)
            task_status.started()
            while await output.receive_some(4096):
                pass  # it says nothing more; its end ends this
        code = await trio.to_thread.run_sync(process.wait)
        raise LinkError(f"the simulator ended with code {code}", cause="absent", remedy="Look at its output above.")
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 3):
            process.terminate()
            await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


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


async def _begin(simulator: EarlySimulator, arguments: list[str], output: trio.lowlevel.FdStream) -> None:
    """Hand over its arguments and wait until it says that it is ready."""
    line = b""
    try:
        simulator.begin(arguments)
        while not line.endswith(b"\n"):
            data = await output.receive_some(4096)
            if not data:
                raise BrokenPipeError
            line += data
    except OSError as error:
        remedy = "Look at its output above."
        raise LinkError("the simulator did not start", cause="absent", remedy=remedy) from error
    if json.loads(line.splitlines()[0]).get("event") != "ready":
        raise LinkError("the simulator did not say ready", cause="absent")
