"""The command line `oht50d`: run, check, safe-stop, version (no state; heavy modules are imported when needed)."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import oht50d
from oht50d.app.early_simulator import EarlySimulator
from oht50d.app.exit_codes import ExitCode
from oht50d.model.errors import ConfigError, LinkError, Oht50Error, StoreError

if TYPE_CHECKING:
    from oht50d.app.config import LoadedConfig
    from oht50d.app.reload import ReloadReport


class Parser(argparse.ArgumentParser):
    """argparse with the exit code of sysexits.h."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def _assignment(text: str) -> str:
    """Only the form is a matter of usage; what is set is judged with the other settings (78)."""
    key, equals, _ = text.partition("=")
    if not equals or not all(key.split(".")):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as web.port=8001")
    return text


def make_parser() -> Parser:
    """All commands and their options."""
    parser = Parser(prog="oht50d", description="The daemon of the OHT-50 overhead hoist transport robot.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    settings = Parser(add_help=False)
    settings.add_argument("--config", type=Path, metavar="FILE", help="instead of /etc/oht50d/oht50d.toml")
    settings.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        type=_assignment,
        help="one setting, repeatable",
    )
    robot = Parser(add_help=False)
    robot.add_argument("--simulate", action="store_true", help="on a simulated robot that the daemon starts itself")
    robot.add_argument("--scenario", metavar="NAME", help="what happens to the simulated robot")
    commands.add_parser("run", parents=[settings, robot], help="run the daemon")
    commands.add_parser(
        "check", parents=[settings, robot], help="check the configuration; say where each value came from"
    )
    commands.add_parser("safe-stop", parents=[settings], help="send the stop to every drive, then end")
    commands.add_parser("version", help="print the version")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; the exit code is one of `ExitCode`."""
    arguments = make_parser().parse_args(argv)
    if arguments.command == "version":
        print(f"oht50d {oht50d.__version__}")
        return ExitCode.OK
    simulator = EarlySimulator() if arguments.command == "run" and arguments.simulate else None
    try:
        return _with_configuration(arguments, simulator)
    except Oht50Error as error:
        print(f"oht50d: {error}{_remedy(error)}", file=sys.stderr)
        return exit_code_of(error)
    except BrokenPipeError:
        return ExitCode.IO
    except KeyboardInterrupt:
        if arguments.command != "run":
            raise
        return ExitCode.OK  # before a port was ever open; later the house has its own handlers
    finally:
        if simulator is not None:
            simulator.dismiss()


def _remedy(error: Oht50Error) -> str:
    return f". {error.remedy}" if isinstance(error, LinkError) and error.remedy else ""


def exit_code_of(error: Oht50Error) -> ExitCode:
    """The exit code of an error that reached the command line."""
    match error:
        case ConfigError():
            return ExitCode.CONFIGURATION
        case LinkError():
            return ExitCode.PERMISSION if error.cause == "permission" else ExitCode.UNAVAILABLE
        case StoreError():
            return ExitCode.IO
        case _:
            return ExitCode.SOFTWARE


def _with_configuration(arguments: argparse.Namespace, simulator: EarlySimulator | None) -> int:
    from oht50d.app.config import load_config

    assignments = list(arguments.assignments)
    scenario, is_simulation = getattr(arguments, "scenario", None), getattr(arguments, "simulate", False)
    if scenario is not None:
        assignments.append(f"robot.scenario={json.dumps(scenario)}")

    def load() -> "LoadedConfig":
        return load_config(arguments.config, assignments=assignments, is_simulation=is_simulation)

    loaded = load()
    try:
        return _obey(arguments, loaded, load, simulator)
    except ConfigError as error:
        raise loaded.located(error) from error


def _obey(
    arguments: argparse.Namespace,
    loaded: "LoadedConfig",
    load: "Callable[[], LoadedConfig]",
    simulator: EarlySimulator | None,
) -> int:
    match arguments.command:
        case "check":
            return _check(loaded, is_simulation=arguments.simulate)
        case "safe-stop":
            from oht50d.app import safe_stop

            return safe_stop.main(loaded.config)
        case _:
            return _run(loaded, load, simulator)


def _check(loaded: "LoadedConfig", *, is_simulation: bool) -> int:
    from functools import partial

    from oht50d.app.check import SECTIONS, run_check
    from oht50d.app.check_bus import report_bus, report_simulated_bus
    from oht50d.app.check_plan import report_plan
    from oht50d.app.check_safety import report_motion, report_reaction
    from oht50d.app.check_start import report_start

    judged = (report_plan, report_reaction, report_start, report_motion)
    if not is_simulation:
        return run_check(loaded, (*SECTIONS, report_bus, *judged))
    from attrs import evolve

    from oht50d.app.simulated_robot import adapt, choose_site

    simulated = evolve(loaded, config=adapt(loaded.config, choose_site(loaded.config)))
    on_it = [partial(lambda report, _: report(simulated), report) for report in judged]
    return run_check(loaded, (*SECTIONS, report_simulated_bus, *on_it))


def _run(loaded: "LoadedConfig", load_again: "Callable[[], LoadedConfig]", simulator: EarlySimulator | None) -> int:
    from oht50d.app.open_files import raise_file_limit
    from oht50d.app.preparation import prepared
    from oht50d.app.reload import Reloader

    raise_file_limit()
    with prepared(loaded) as writer:
        reloader = Reloader(loaded, load_again, writer)
        return _run_house(loaded, reloader.reload, simulator)


def _run_house(loaded: "LoadedConfig", reload: "Callable[[], ReloadReport]", simulator: EarlySimulator | None) -> int:
    import logging

    from oht50d.app import house

    log = logging.getLogger(__name__)
    for note in loaded.notes:
        log.info(note, extra={"event": "config.note"})
    for warning in loaded.warnings:
        log.warning(warning, extra={"event": "config.warning"})
    try:
        return house.main(loaded.config, simulator=simulator, reload=reload)
    except Oht50Error:
        raise
    except Exception:  # the last door: a defect is logged with its traceback and gets its own exit code
        log.critical("the daemon ended by a defect", exc_info=True, extra={"event": "daemon.defect"})
        return ExitCode.SOFTWARE
