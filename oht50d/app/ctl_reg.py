"""`oht50ctl reg list | get | set | watch`: registers by name, role or number (owns nothing).

Exit codes: 0 done (a write: verified); 1 refused, failed, or another value was read back; 2 done with a warning: a
value that is not good, a write that could not be read back; 64 a number or a value that is out of range.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from oht50d.app.ctl_bus_text import PLAIN_UNITS
from oht50d.app.ctl_tables import UNKNOWN, aged, table, told
from oht50d.app.exit_codes import ExitCode

Tree = Mapping[str, object]
Ask = Callable[[dict[str, object]], Tree]

_WRITE_CODES = {"verified": ExitCode.OK, "unknown": ExitCode.WARNINGS, "dry_run": ExitCode.OK}


def add_reg_commands(reg: argparse.ArgumentParser, seconds: Callable[[str], float]) -> None:
    """The words after `reg`."""
    commands = reg.add_subparsers(dest="reg_command", required=True, metavar="COMMAND", parser_class=type(reg))
    listing = commands.add_parser("list", help="every register of every module, or of one")
    listing.add_argument("module", nargs="?", help="kind, tag or address, such as dock or 0x05")
    get = commands.add_parser("get", help="read registers now")
    get.add_argument("names", nargs="+", metavar="NAME", help="dock.velocity_x, a role such as velocity.x, 0x05:0x33:4")
    spaces = get.add_mutually_exclusive_group()
    for space in ("input", "coil", "discrete"):
        words = f"numbers mean {space} registers" if space == "input" else f"numbers mean {space}s"
        spaces.add_argument(
            f"--{space}", dest="space", action="store_const", const=space, default="holding", help=words
        )
    put = commands.add_parser("set", help="write one register, read it back (root only; never a motion register)")
    put.add_argument("name", metavar="NAME")
    put.add_argument("value", metavar="VALUE", help="with its scale; of a register by number: the raw word")
    put.add_argument("--dry-run", action="store_true", help="judge it and show the frame, send nothing")
    watch = commands.add_parser("watch", help="registers again and again until Ctrl-C")
    watch.add_argument("names", nargs="+", metavar="NAME")
    watch.add_argument("--every", type=seconds, default=0.5, metavar="S", help="seconds between two looks (0.5)")
    watch.add_argument("--changes", action="store_true", help="only what has changed")


def run_reg(arguments: argparse.Namespace, ask: Ask, out: TextIO) -> int:
    """Carry out `reg ...`; the exit code."""
    problem = _out_of_range(arguments)
    if problem:
        print(f"oht50ctl: {problem}", file=sys.stderr)
        return ExitCode.USAGE
    match arguments.reg_command:
        case "list":
            tree = ask({"op": "reg_list"} | ({"module": arguments.module} if arguments.module else {}))
            print(json.dumps(tree, indent=2) if arguments.json else list_text(tree), file=out)
            return ExitCode.OK
        case "get":
            tree = ask({"op": "reg_get", "names": arguments.names, "space": arguments.space})
            print(json.dumps(tree, indent=2) if arguments.json else get_text(tree), file=out)
            return get_verdict(tree)
        case "set":
            wanted = {"name": arguments.name, "value": arguments.value}
            tree = ask({"op": "reg_dry_run" if arguments.dry_run else "reg_set"} | wanted)
            print(json.dumps(tree, indent=2) if arguments.json else set_text(tree), file=out)
            return _WRITE_CODES.get(str(tree.get("outcome")), ExitCode.FAILURE)
    return _watch(arguments, ask, out)


def _out_of_range(arguments: argparse.Namespace) -> str:
    """What is wrong with a place by number, empty for nothing; names are the daemon's to judge."""
    from oht50d.core.register_names import UnknownName, raw_place

    names = [arguments.name] if arguments.reg_command == "set" else getattr(arguments, "names", ())
    try:
        for name in names:
            raw_place(name)
    except UnknownName as unknown:
        return str(unknown)
    return ""


def _watch(arguments: argparse.Namespace, ask: Ask, out: TextIO) -> int:
    """A polled value stands for a reading that is no older than the pace of the watch."""
    wanted = {"op": "reg_get", "names": arguments.names, "max_age_s": arguments.every}
    code, before = int(ExitCode.OK), list[object]()
    try:
        while True:
            tree = ask(dict(wanted))
            code = max(code, get_verdict(tree))
            seen = [[value.get("raw") for value in _trees(one, "values")] for one in _trees(tree, "registers")]
            if not arguments.changes or seen != before:
                print(json.dumps(tree) if arguments.json else _watch_line(tree), file=out, flush=True)
            before = list(seen)
            time.sleep(arguments.every)
    except KeyboardInterrupt:
        return code


def list_text(tree: Tree) -> str:
    """The answer to `reg list`."""
    rows = [
        [
            f"{_hex(one.get('unit'), 2)}:{_hex(one.get('address'), 4)}",
            str(one.get("name")),
            str(one.get("access")) + (" MOTION" if one.get("is_motion") else ""),
            _shown(one, one.get("unit_of_value")),
            aged(one.get("age_s")) if one.get("quality") else "never read",
            str(one.get("role") or ""),
            str(one.get("takes") or ""),
        ]
        for one in _trees(tree, "registers")
    ]
    return table(("PLACE", "REGISTER", "ACCESS", "VALUE", "AGE", "ROLE", "TAKES"), rows)


def get_text(tree: Tree) -> str:
    """The answer to `reg get`."""
    rows: list[Sequence[str]] = []
    for one in _trees(tree, "registers"):
        if one.get("outcome") != "read":
            rows.append((str(one.get("name")), f"FAILED: {one.get('reason')}", "", "", ""))
        for value in _trees(one, "values"):
            name = _called(one, value)
            quality = str(value.get("quality") or "no map")
            shown = _shown(value, value.get("unit"))
            rows.append((str(name), shown, _hex(value.get("raw"), 4), quality, aged(value.get("age_s"))))
        if "number" in one:
            rows.append((str(one.get("name")), str(one.get("number")), "", "both halves", ""))
    return table(("REGISTER", "VALUE", "RAW", "QUALITY", "AGE"), rows)


def _called(one: Tree, value: Tree) -> str:
    """As it was asked for; of several the place and, where a map has it, the name."""
    if one.get("count") == 1:
        return str(one.get("name"))
    return f"{_hex(one.get('unit'), 2)}:{_hex(value.get('address'), 4)} {value.get('name') or ''}".strip()


def get_verdict(tree: Tree) -> int:
    """1 for anything that was not read, 2 for a value that is not good."""
    registers = _trees(tree, "registers")
    if any(one.get("outcome") != "read" for one in registers):
        return ExitCode.FAILURE
    qualities = [value.get("quality") for one in registers for value in _trees(one, "values")]
    return ExitCode.OK if {*qualities} <= {"good", None} else ExitCode.WARNINGS


def set_text(tree: Tree) -> str:
    """The answer to `reg set`, and to its dry run."""
    place = f"{_hex(tree.get('unit'), 2)}:{_hex(tree.get('address'), 4)}"
    lines = [("register", f"{tree.get('register')} at {place}, takes {tree.get('takes')}")]
    if tree.get("is_dry_run"):
        age = tree.get("before_age_s")
        before = f"{_wording(tree, 'before')}, {aged(age)}" if age is not None else UNKNOWN
        lines += [("now", before), ("would be", _wording(tree, "wanted")), ("frame", str(tree.get("frame")))]
        lines.append(("outcome", "dry run: nothing was sent, nothing speaks against it"))
    else:
        lines += [(word, _wording(tree, word)) for word in ("before", "wanted", "after")]
        reason = f": {tree.get('reason')}" if tree.get("reason") else ""
        lines.append(("outcome", f"{str(tree.get('outcome')).upper()}{reason}"))
    return "\n".join(f"{name:<10} {text}" for name, text in lines)


def _watch_line(tree: Tree) -> str:
    parts = []
    for one in _trees(tree, "registers"):
        values = [f"{_shown(value, value.get('unit'))} ({aged(value.get('age_s'))})" for value in _trees(one, "values")]
        parts.append(f"{one.get('name')} {', '.join(values) or 'FAILED: ' + str(one.get('reason'))}")
    return "  ".join(parts)


def _wording(tree: Tree, key: str) -> str:
    found = tree.get(key)
    worded: Tree = found if isinstance(found, dict) else {}
    raw = worded.get("raw")
    return UNKNOWN if raw is None else f"{_shown(worded, None)} ({_hex(raw, 4)})"


def _shown(value: Tree, unit: object) -> str:
    """The value with its unit; one that is not good as its raw word with the reason."""
    raw, quality = value.get("raw"), value.get("quality")
    if raw is None:
        return UNKNOWN
    if quality is None:
        return str(raw)
    return (
        told(value.get("value"), "" if unit is None or unit in PLAIN_UNITS else unit)
        if quality == "good"
        else f"{raw} ({quality})"
    )


def _hex(number: object, digits: int) -> str:
    return f"0x{number:0{digits}X}" if isinstance(number, int) else UNKNOWN


def _trees(tree: Tree, key: str) -> list[Tree]:
    found = tree.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
