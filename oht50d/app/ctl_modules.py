"""`oht50ctl modules`: list, search, scan, acceptance; what is asked and how the answer is shown (owns nothing).

A scan runs in the daemon: this program follows it, and cancels it when it is interrupted or told to end.
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from oht50d.app.ctl_link import LinkProblem
from oht50d.app.ctl_tables import Tree, aged, hexadecimal, table, told, tree_of, trees_of
from oht50d.app.exit_codes import ExitCode
from oht50d.app.trace_pager import Ask

_PARITIES = ("none", "even", "odd")
_COMPLETE = "complete"
NOBODY = "Nobody was found."
_LOOK_S = 0.3
_SCAN_LIMIT_S = 660.0
"""A minute more than the daemon gives a scan."""
_SEARCH_LIMIT_S = 15.0


def add_modules_commands(modules: argparse.ArgumentParser, whole: Callable[[int, int], Callable[[str], int]]) -> None:
    """The words after `modules`, of which `list` may be left out; `whole` reads numbers of a range."""
    commands = modules.add_subparsers(dest="modules_command", metavar="COMMAND", parser_class=type(modules))
    commands.add_parser("list", help="every module, and who was found where no map is bound")
    scan = commands.add_parser(
        "scan", help="look for modules; with any option polling pauses and the robot stays locked (root only)"
    )
    scan.add_argument("--all", action="store_true", help="every address, 1 to 247")
    scan.add_argument("--first", type=whole(1, 247), help="first address")
    scan.add_argument("--last", type=whole(1, 247), help="last address")
    scan.add_argument("--baud", type=whole(1, 10_000_000), action="append", help="line speed, may be repeated")
    scan.add_argument("--parity", choices=_PARITIES, action="append", help="parity, may be repeated")
    scan.add_argument("--cancel", action="store_true", help="end the scan that is under way, whoever began it")
    accept = commands.add_parser("accept", help="accept a changed module after checking its set-up (root only)")
    accept.add_argument("address", type=whole(1, 247), help="bus address, such as 0x05")
    accept.add_argument("--serial", required=True, type=_serial, help="the number on the module, or none")


def run_modules(arguments: argparse.Namespace, ask: Ask, out: TextIO) -> int:
    """Carry out `modules ...`; the exit code."""
    try:
        request = modules_request(arguments)
    except ValueError as problem:
        print(f"oht50ctl: {problem}", file=sys.stderr)
        return ExitCode.USAGE
    op, tree = str(request["op"]), ask(request)
    if op == "modules_search" or request.get("action") == "start":
        return _follow(op, tree, arguments, ask, out)
    text = {"modules_accept": accept_text, "modules_scan": cancelled_text}.get(op, modules_text)(tree)
    print(json.dumps(tree, indent=2) if arguments.json else text, file=out)
    return ExitCode.OK


def modules_request(arguments: argparse.Namespace) -> dict[str, object]:
    """The operation that the command line asks for. Raises ValueError for words that do not go together."""
    match arguments.modules_command:
        case "scan" if arguments.cancel:
            if not _is_plain(arguments):
                raise ValueError("--cancel stands alone")
            return {"op": "modules_scan", "action": "cancel"}
        case "scan" if _is_plain(arguments):
            return {"op": "modules_search"}
        case "scan":
            if arguments.all and not (arguments.first is None and arguments.last is None):
                raise ValueError("--all is every address; it does not go together with --first or --last")
            first, last = (1, 247) if arguments.all else (arguments.first or 1, arguments.last or 247)
            if last < first:
                raise ValueError(f"--last {last} is below --first {first}")
            request: dict[str, object] = {"op": "modules_scan", "action": "start", "first": first, "last": last}
            return request | {
                name: given
                for name, given in (("bauds", arguments.baud), ("parities", arguments.parity))
                if given is not None
            }
        case "accept":
            return {"op": "modules_accept", "address": arguments.address, "serial": arguments.serial}
        case _:
            return {"op": "modules"}


def _is_plain(arguments: argparse.Namespace) -> bool:
    given = (arguments.first, arguments.last, arguments.baud, arguments.parity)
    return not arguments.all and all(one is None for one in given)


def _serial(text: str) -> int | None:
    if text == "none":
        return None
    try:
        number = int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a serial number nor none") from None
    if not 1 <= number <= 0xFFFFFFFE:
        raise argparse.ArgumentTypeError(f"{text} is no serial number")
    return number


# -- following what goes on in the daemon


def _follow(op: str, started: Tree, arguments: argparse.Namespace, ask: Ask, out: TextIO) -> int:
    """Wait for the end of a scan or of a round of the search, show it; the exit code."""
    is_scan = op == "modules_scan"
    try:
        with _ended_as_by_ctrl_c():
            tree = _await_scan(ask, started) if is_scan else _await_search(ask, started)
    except KeyboardInterrupt:
        if is_scan:
            ask({"op": "modules_scan", "action": "cancel"})
        with suppress(OSError):  # the terminal may be gone
            print("\noht50ctl: interrupted" + (", the scan is cancelled" if is_scan else ""), file=sys.stderr)
        return ExitCode.WARNINGS if is_scan else ExitCode.FAILURE
    found = tree_of(tree, "scan") if is_scan else {"found": tree.get("found")}
    text = found_text(trees_of(found, "found"), NOBODY if is_scan else nobody_text(tree))
    print(json.dumps(found, indent=2) if arguments.json else text, file=out)
    if not is_scan:
        return ExitCode.OK
    print(f"The scan is {found.get('end')}. The robot is locked: look at it, then reset.", file=sys.stderr)
    return ExitCode.OK if found.get("end") == _COMPLETE else ExitCode.WARNINGS


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt like Ctrl-C; one that is ignored, as by nohup, stays so."""
    wanted = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) is not signal.SIG_IGN]
    before = [(each, signal.signal(each, signal.default_int_handler)) for each in wanted]
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)


def _await_scan(ask: Ask, started: Tree) -> Tree:
    is_shown = sys.stderr.isatty()
    if not is_shown:
        print(f"The scan begins: {started.get('planned')} addresses and settings to ask.", file=sys.stderr, flush=True)

    def is_over(tree: Tree) -> bool:
        scan = tree_of(tree, "scan")
        if is_shown:
            print(f"\r{_progress(scan):<60}", end="", file=sys.stderr, flush=True)
        return not scan.get("is_running")

    tree = _await(ask, is_over, _SCAN_LIMIT_S)
    if is_shown:
        print(file=sys.stderr)
    return tree


def _await_search(ask: Ask, started: Tree) -> Tree:
    wanted = started.get("rounds")

    def is_over(tree: Tree) -> bool:
        rounds = tree_of(tree, "discovery").get("rounds")
        return isinstance(rounds, int) and isinstance(wanted, int) and rounds >= wanted

    return _await(ask, is_over, _SEARCH_LIMIT_S)


def _await(ask: Ask, is_over: Callable[[Tree], bool], limit_s: float) -> Tree:
    ends_s = time.monotonic() + limit_s
    while not is_over(tree := ask({"op": "modules"})):
        if time.monotonic() > ends_s:
            raise LinkProblem("the search does not come to its end; see `oht50ctl status`.", ExitCode.FAILURE)
        time.sleep(_LOOK_S)
    return tree


# -- words


def modules_text(tree: Tree) -> str:
    """The answer to `modules`."""
    rows = [_module_row(module) for module in trees_of(tree, "modules")]
    header = (
        "ADDRESS", "MODULE", "STATE", "LAST HEARD", "REQUESTS", "TIMEOUTS", "EXCEPTIONS", "SERIAL", "FIRMWARE",
        "ACCEPTED", "PROBLEM",
    )  # fmt: skip
    parts = [table(header, rows)]
    found = trees_of(tree, "found")
    if found:
        parts.append("\nFound where no register map is bound (read only):\n" + found_text(found))
    scan = tree_of(tree, "scan")
    if scan.get("is_running"):
        parts.append(f"\nA scan is under way: {_progress(scan)}\n`oht50ctl modules scan --cancel` ends it.")
    if tree.get("registry_problem"):
        parts.append(f"\nThe list of known modules is not on disk: {tree['registry_problem']}")
    return "\n".join(parts)


def accept_text(tree: Tree) -> str:
    """The answer to `modules accept`."""
    return str(tree.get("message"))


def cancelled_text(tree: Tree) -> str:
    """The answer to `modules scan --cancel`."""
    if tree.get("was_running"):
        return "The scan is cancelled. The robot is locked: look at it, then reset."
    return "No scan is under way."


def nobody_text(tree: Tree) -> str:
    """What it means that a search found nobody: it leaves out the bound modules that answer."""
    is_any_online = any(module.get("is_online") for module in trees_of(tree, "modules"))
    return "Nobody was found beyond the bound modules." if is_any_online else NOBODY


def found_text(found: Sequence[Tree], nobody: str = NOBODY) -> str:
    """Who was found by searching; `nobody` if there is none."""
    if not found:
        return nobody
    rows = [
        [
            hexadecimal(one.get("address"), 2),
            str(one.get("state")),
            _type(one),
            told(one.get("tag")),
            told(one.get("serial")),
            told(one.get("firmware")),
            str(one.get("line") or "as always"),
            aged(one.get("age_s")),
            str(one.get("problem") or ""),
        ]
        for one in found
    ]
    return table(
        ("ADDRESS", "STATE", "TYPE", "TAG", "SERIAL", "FIRMWARE", "LINE", "LAST HEARD", "PROBLEM"), rows
    )  # fmt: skip


def _progress(scan: Tree) -> str:
    return f"{scan.get('asked')} of {scan.get('planned')}, {len(trees_of(scan, 'found'))} found  {scan.get('at')}"


def _module_row(module: Tree) -> list[str]:
    return [
        hexadecimal(module.get("address"), 2),
        str(module.get("title")),
        "online" if module.get("is_online") else "OFFLINE",
        aged(module.get("age_s")),
        told(module.get("requests")),
        told(module.get("timeouts")),
        told(module.get("exceptions")),
        told(module.get("serial")),
        told(module.get("firmware")),
        _accepted(module),
        str(module.get("problem") or module.get("note") or ""),
    ]


def _accepted(module: Tree) -> str:
    """What the list of known modules says of it."""
    words: Mapping[object, str] = {"changed": "CHANGED", "unknown": "UNKNOWN", "updated": "updated", "accepted": "yes"}
    return words.get(module.get("trust"), "not read yet")


def _type(found: Tree) -> str:
    code = found.get("type_code")
    if not isinstance(code, int):
        return told(None)
    return f"{found['type']} ({code:#06x})" if found.get("type") else f"{code:#06x}"
