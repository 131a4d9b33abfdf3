"""`oht50ctl bus stats` and `bus trace`: what the bus is doing, as text, JSON or a capture file for Wireshark.

Owns the capture file while it is written. Exit codes: 0, or 2 when frames were lost before they could be read, or 74
when they cannot be written.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from attrs import evolve

import oht50d
from oht50d.app.ctl_bus_text import frame_line, stats_text
from oht50d.app.exit_codes import ExitCode
from oht50d.app.trace_pager import Ask, Traced, TracePager, whole
from oht50d.codec.pcap import CapturedFrame, encode_capture
from oht50d.drivers.wall_clock import utc_text

DEFAULT_LAST = 40
MAX_LAST = 60_000
MAX_SECONDS = 3600.0
_STDOUT = Path("-")


def add_bus_commands(bus: argparse.ArgumentParser, within: Callable[[int, int], Callable[[str], int]]) -> None:
    """The words after `bus`; `within` reads numbers of a range."""
    commands = bus.add_subparsers(dest="bus_command", required=True, metavar="COMMAND", parser_class=type(bus))
    commands.add_parser("stats", help="requests, failures, turnaround and use of the wire, module by module")
    trace = commands.add_parser("trace", help="the frames on the bus, decoded")
    trace.add_argument("--follow", action="store_true", help="go on with every new frame until Ctrl-C")
    trace.add_argument("--unit", type=_unit(within(0, 247)), help="only exchanges with this bus address or module")
    trace.add_argument("--function", type=within(1, 127), help="only this function code")
    trace.add_argument("--errors", action="store_true", help="only what went wrong")
    trace.add_argument("--long", action="store_true", help="every value and every byte")
    trace.add_argument(
        "--pcap", type=_capture_path, metavar="FILE",
        help="write a capture that Wireshark reads as Modbus RTU, - to standard output; of all frames that are kept",
    )  # fmt: skip
    span = trace.add_mutually_exclusive_group()
    span.add_argument("--last", type=within(1, MAX_LAST), metavar="N", help=f"the newest N frames ({DEFAULT_LAST})")
    span.add_argument("--seconds", type=seconds, metavar="S", help="the frames of the last S seconds")


def run_bus(arguments: argparse.Namespace, ask: Ask, out: TextIO) -> int:
    """Carry out `bus ...`; the exit code."""
    if arguments.bus_command == "stats":
        tree = ask({"op": "bus_stats"})
        print(json.dumps(tree, indent=2) if arguments.json else stats_text(tree), file=out)
        return ExitCode.OK
    pager = _pager(arguments, ask)
    texts = sys.stderr if arguments.pcap == _STDOUT else out
    with suppress(KeyboardInterrupt):
        if arguments.pcap is None:
            _print(pager, arguments, out)
        else:
            _capture(pager, arguments.pcap, out, texts)
    if pager.lost:
        print(f"-- {pager.lost} frames had fallen out of the ring before they could be read --", file=texts)
    return ExitCode.WARNINGS if pager.lost else ExitCode.OK


def _pager(arguments: argparse.Namespace, ask: Ask) -> TracePager:
    filters: dict[str, object] = {"errors": True} if arguments.errors else {}
    if arguments.unit is not None:
        filters["unit"] = _address(arguments.unit, ask) if isinstance(arguments.unit, str) else arguments.unit
    if arguments.function is not None:
        filters["function"] = arguments.function
    is_whole = arguments.seconds is not None or arguments.pcap is not None
    last = arguments.last or (None if is_whole else DEFAULT_LAST)
    return TracePager(
        ask, filters, last=last, seconds=arguments.seconds, is_raw=arguments.pcap is not None,
        is_endless=arguments.follow,
    )  # fmt: skip


def _address(word: str, ask: Ask) -> int:
    """Of the module that the daemon knows by this kind or tag."""
    found = ask({"op": "reg_list", "module": word}).get("registers")
    return whole(found[0], "unit") if isinstance(found, list) and found else 0


def _print(pager: TracePager, arguments: argparse.Namespace, out: TextIO) -> None:
    is_empty = True
    for utc_ns, frame in pager.frames():
        is_empty = False
        utc = utc_text(utc_ns // 1_000_000)
        told = json.dumps({"utc": utc, **frame}) if arguments.json else frame_line(frame, utc, is_long=arguments.long)
        print(told, file=out, flush=arguments.follow)
    if is_empty:
        print("oht50ctl: no such frame", file=sys.stderr)


def _capture(pager: TracePager, path: Path, out: TextIO, texts: TextIO) -> None:
    """The file grows frame by frame: what was captured is there whatever ends the command."""
    head, count, is_written = pager.head(), 0, True
    program = f"oht50d {oht50d.__version__}"
    frames = captured(pager.frames())
    try:
        with _opened(path, out) as file:
            for block in encode_capture(
                frames, port=str(head.get("port")), program=program, is_tcp=head.get("is_tcp") is True
            ):  # fmt: skip
                file.write(block)
                file.flush()
                count += 1
    except OSError:
        is_written = False
        raise
    finally:
        if is_written:
            place = "standard output" if path == _STDOUT else path
            print(f"{max(0, count - 2)} frames in {place}", file=texts)


def _opened(path: Path, out: TextIO) -> AbstractContextManager[BinaryIO]:
    return nullcontext(out.buffer) if path == _STDOUT else path.open("wb")


def captured(traced: Iterable[Traced]) -> Iterator[CapturedFrame]:
    """The frames that have bytes; a request that nobody answered says so in its comment."""
    held: CapturedFrame | None = None
    for utc_ns, frame in traced:
        octets = b"" if frame.get("way") == "line" else bytes.fromhex(str(frame.get("hex")))
        if held is not None:
            yield held if octets else evolve(held, comment=f"{held.comment}: {frame.get('note')}")
        held = None
        if octets:
            is_from_master = frame.get("way") == "sent" or frame.get("note") == "request"
            held = CapturedFrame(utc_ns, is_from_master, octets, _comment(frame))
    if held is not None:
        yield held


def _comment(frame: Mapping[str, object]) -> str:
    words = (f"#{frame.get('n')}", frame.get("purpose"), frame.get("note"))
    return " ".join(str(word) for word in words if word)


def _capture_path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("a file is needed, or - for standard output")
    return Path(text)


def _unit(address: Callable[[str], int]) -> Callable[[str], int | str]:
    def read(text: str) -> int | str:
        return text if text[:1].isalpha() else address(text)

    return read


def seconds(text: str) -> float:
    """A span of time, above 0 and at most an hour; anything else is a matter of usage."""
    try:
        span_s = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds") from None
    if not 0 < span_s <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most {MAX_SECONDS:g}")
    return span_s
