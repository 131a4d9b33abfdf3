"""`python -m oht50d.sim`: a complete simulated robot on two pseudo-terminals and a control socket (owns the process).

Exit codes: 0 after SIGTERM, SIGINT, `quit` or, with --watch-stdin, the end of standard input; 78 (EX_CONFIG of
sysexits.h) for a scenario or map that cannot be used; 73 (EX_CANTCREAT) for a runtime directory that cannot.
"""

import argparse
import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

from oht50d.model.errors import ConfigError
from oht50d.sim.control import Control, open_listener
from oht50d.sim.robot import Robot, load_maps
from oht50d.sim.scenario import Scenario

FROM_STDIN = "--arguments-from-stdin"
EXIT_CONFIG = 78
EXIT_CANNOT_CREATE = 73


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m oht50d.sim", description="A simulated OHT-50 made of bytes.")
    parser.add_argument("--scenario", type=Path, required=True, help="scenario file (config/scenarios/*.toml)")
    parser.add_argument("--runtime-dir", type=Path, required=True, help="where bus, lidar and control.sock are made")
    parser.add_argument("--map-dir", type=Path, default=Path("config/modules"), help="register maps")
    parser.add_argument("--seed", type=int, default=None, help="instead of the scenario's seed")
    parser.add_argument("--trace-file", type=Path, default=None, help="write every bus frame here, as JSON lines")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input ends")
    return parser.parse_args(argv)


def _claim_hardware_time() -> None:
    """Modules are boards of their own: a busy computer must not make them late. Best effort, needs privilege."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


async def _watch_signals(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()


async def _watch_stdin(scope: trio.CancelScope) -> None:
    """Standard input may be a pipe, a socket or a terminal; it is not read, only waited for its end."""
    async with trio.lowlevel.FdStream(sys.stdin.fileno()) as stream:
        while await stream.receive_some(4096):
            pass
    scope.cancel()


async def _live(robot: Robot, socket_path: Path, *, is_watching_stdin: bool) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            control = Control(robot, nursery.cancel_scope)
            nursery.start_soon(_watch_signals, signals, nursery.cancel_scope)
            nursery.start_soon(control.serve, open_listener(socket_path))
            nursery.start_soon(robot.run)
            if is_watching_stdin:
                nursery.start_soon(_watch_stdin, nursery.cancel_scope)
            ready = {
                "event": "ready",
                "bus": str(socket_path.with_name("bus")),
                "lidar": str(socket_path.with_name("lidar")),
                "control": str(socket_path),
                "scenario": robot.scenario.title,
            }
            print(json.dumps(ready), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to end; see the module's docstring for the exit codes."""
    given = sys.argv[1:] if argv is None else list(argv)
    if given == [FROM_STDIN]:
        # A parent starts this process early and says later, or never, what to simulate.
        line = sys.stdin.readline()
        if not line:
            return 0
        given = json.loads(line)
    arguments = _arguments(given)
    try:
        scenario = Scenario.load(arguments.scenario)
        maps = load_maps(scenario, arguments.map_dir)
    except ConfigError as error:
        print(f"oht50d.sim: {error}", file=sys.stderr)
        return EXIT_CONFIG
    runtime_dir = arguments.runtime_dir.absolute()
    socket_path = runtime_dir / "control.sock"
    seed = scenario.seed if arguments.seed is None else arguments.seed
    robot = Robot(scenario, maps, runtime_dir, seed)
    try:
        runtime_dir.mkdir(parents=True, exist_ok=True)
        if arguments.trace_file is not None:
            robot.line.trace.open_file(arguments.trace_file)
        robot.open()
        gc.freeze()
        _claim_hardware_time()
        trio.run(lambda: _live(robot, socket_path, is_watching_stdin=arguments.watch_stdin))
    except OSError as error:
        print(f"oht50d.sim: {error}", file=sys.stderr)
        return EXIT_CANNOT_CREATE
    finally:
        robot.close()
        with contextlib.suppress(OSError):
            socket_path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
