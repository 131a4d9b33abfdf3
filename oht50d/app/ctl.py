"""`oht50ctl`: asks the running daemon over its local socket and prints the answer (owns nothing; light imports only).

Exit codes (USERS, Conventions): 0 done, 1 refused or failed, 2 done with a warning (a STOP that is not confirmed, a
status that is old), 64 usage, 69 no daemon, 74 the output cannot be written, 77 not permitted.
"""

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TextIO

from oht50d.app.ctl_bus import add_bus_commands, run_bus, seconds
from oht50d.app.ctl_link import DEFAULT_SOCKET, LinkProblem, ask
from oht50d.app.ctl_modules import add_modules_commands, run_modules
from oht50d.app.ctl_reg import add_reg_commands, run_reg
from oht50d.app.ctl_text import TEXTS
from oht50d.app.exit_codes import ExitCode
from oht50d.app.trace_pager import Ask

Tree = Mapping[str, object]

MAX_EVENTS = 500
_STALE_S = 2.0
_TALKS: Mapping[str, Callable[[argparse.Namespace, Ask, TextIO], int]] = {
    "bus": run_bus,
    "modules": run_modules,
    "reg": run_reg,
}
_CONFIRMED = frozenset({"acknowledged", "verified"})


_REFUSALS = {"INSUFFICIENT_PERMISSIONS": ExitCode.PERMISSION, "INVALID_COMMAND": ExitCode.USAGE}


class _Parser(argparse.ArgumentParser):
    """Every command takes `--json`, before or after its words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the answer as JSON")

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, ask, print; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code = _talk(arguments) if arguments.command in _TALKS else _ask_once(arguments)
        print(end="", flush=True)
    except BrokenPipeError:  # `| head` has seen enough
        _give_up_output()
        return ExitCode.OK
    except OSError as problem:
        print(f"oht50ctl: {problem}", file=sys.stderr)
        _give_up_output()
        return ExitCode.IO
    return code


def _give_up_output() -> None:
    """What cannot be written is dropped: Python would complain again when it ends."""
    try:
        print(end="", flush=True)
    except OSError:
        with suppress(OSError):  # an output without a descriptor
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _ask_once(arguments: argparse.Namespace) -> int:
    try:
        request = _request(arguments)
    except ValueError as problem:
        print(f"oht50ctl: {problem}", file=sys.stderr)
        return ExitCode.USAGE
    except EOFError:
        print("oht50ctl: no password: standard input has ended. Use a terminal, or --password-stdin", file=sys.stderr)
        return ExitCode.FAILURE
    except KeyboardInterrupt:
        print("\noht50ctl: interrupted, nothing was done", file=sys.stderr)
        return ExitCode.FAILURE
    try:
        reply = ask(arguments.socket, request)
    except LinkProblem as problem:
        return _unanswered(problem)
    if reply.get("ok") is not True:
        return _refused(reply, as_json=arguments.json)
    found = reply.get("data")
    tree: Tree = found if isinstance(found, dict) else {}
    text = json.dumps(tree, indent=2) if arguments.json else TEXTS[str(request["op"])](tree)
    print(text)
    return _verdict(str(request["op"]), tree)


class _Refused(Exception):
    """The daemon says no; `reply` says why."""

    def __init__(self, reply: Tree) -> None:
        self.reply = reply
        super().__init__()


def _talk(arguments: argparse.Namespace) -> int:
    """A command that may ask more than once."""

    def ask_daemon(request: dict[str, object]) -> Tree:
        reply = ask(arguments.socket, request)
        found = reply.get("data")
        if reply.get("ok") is not True or not isinstance(found, dict):
            raise _Refused(reply)
        return found

    try:
        return _TALKS[arguments.command](arguments, ask_daemon, sys.stdout)
    except LinkProblem as problem:
        return _unanswered(problem)
    except _Refused as refusal:
        return _refused(refusal.reply, as_json=arguments.json)


def _unanswered(problem: LinkProblem) -> int:
    print(f"oht50ctl: {problem}", file=sys.stderr)
    return problem.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="oht50ctl", description="Ask the oht50d daemon on this machine.")
    parser.add_argument(
        "--socket", default=os.environ.get("OHT50_SOCKET", DEFAULT_SOCKET), help="path of the local socket"
    )
    parser.set_defaults(json=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("status", help="state and causes, bus, LiDAR, battery, last stop")
    commands.add_parser("stop", help="STOP the robot now: no login, no question")
    events = commands.add_parser("events", help="the newest events")
    events.add_argument("-n", "--number", type=_whole(1, MAX_EVENTS), default=20, help=f"how many (1 to {MAX_EVENTS})")
    add_modules_commands(commands.add_parser("modules", help="every module; scan for more, accept one"), _whole)
    registers = commands.add_parser("registers", help="every register of one module")
    registers.add_argument("address", type=_whole(1, 247), help="bus address, such as 0x02 or 2 (1 to 247)")
    add_bus_commands(commands.add_parser("bus", help="what the bus is doing: numbers, every frame"), _whole)
    add_reg_commands(commands.add_parser("reg", help="registers by name: list, get, set, watch"), seconds)
    _add_user_commands(commands.add_parser("user", help="accounts (root only)"))
    return parser


def _add_user_commands(user: argparse.ArgumentParser) -> None:
    commands = user.add_subparsers(dest="user_command", required=True, metavar="COMMAND", parser_class=_Parser)
    add = commands.add_parser("add", help="add a user; the password is asked for twice")
    add.add_argument("name")
    add.add_argument("--role", required=True, choices=("viewer", "operator", "supervisor", "admin"))
    add.add_argument("--password-stdin", action="store_true", help="read the password from the first line of stdin")
    commands.add_parser("list", help="every user with role")


def _whole(least: int, most: int) -> Callable[[str], int]:
    """Reads a whole number of a range, decimal or 0x; anything else is a matter of usage."""

    def read(text: str) -> int:
        try:
            number = int(text, 0)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from None
        if not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text} is not within {least} and {most}")
        return number

    return read


def _request(arguments: argparse.Namespace) -> dict[str, object]:
    match arguments.command:
        case "events":
            return {"op": "events", "limit": arguments.number}
        case "registers":
            return {"op": "registers", "address": arguments.address}
        case "user" if arguments.user_command == "list":
            return {"op": "user_list"}
        case "user":
            password = _password(from_stdin=arguments.password_stdin, read_secret=getpass.getpass)
            return {"op": "user_add", "username": arguments.name, "password": password, "role": arguments.role}
        case command:
            return {"op": str(command)}


def _password(*, from_stdin: bool, read_secret: Callable[[str], str]) -> str:
    """Never from the command line: a process list shows that to everybody."""
    if from_stdin:
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")
    password = read_secret("Password: ")
    if read_secret("Password again: ") != password:
        raise ValueError("the two passwords differ")
    return password


def _refused(reply: Tree, *, as_json: bool) -> int:
    found = reply.get("error")
    error: Tree = found if isinstance(found, dict) else {}
    if as_json:
        print(json.dumps({"error": error}, indent=2))
    print(f"oht50ctl: {error.get('message', 'the daemon refused')} ({error.get('code', 'no code')})", file=sys.stderr)
    return _REFUSALS.get(str(error.get("code")), ExitCode.FAILURE)


def _verdict(op: str, tree: Tree) -> int:
    if op == "stop":
        return ExitCode.OK if tree.get("outcome") in _CONFIRMED else ExitCode.WARNINGS
    if op == "status":
        age_s = tree.get("age_s")
        return ExitCode.OK if isinstance(age_s, int | float) and age_s <= _STALE_S else ExitCode.WARNINGS
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
