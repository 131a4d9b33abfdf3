"""How much of the RS485 wire does the whole daemon use, and does it ever send before 3.5 characters of silence?

The simulator paces 115200 baud and judges from outside: its trace gives the time of every frame, its counters the early
ones. Share = sum of the formula times of 1,000 consecutive transactions / the time that they took. The formula is the
one of docs/performance.md: request + t3.5 + turnaround 1.0 ms + reply + t3.5.
"""

import json
import os
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from attrs import frozen
from harness import (
    BENCH,
    PAIRS,
    ROOT,
    alternate,
    child,
    end,
    goal_line,
    head,
    ratio_line,
    read_line,
    run_child,
    spread,
    wait_http,
    workspace,
    write_site,
)
from robot_fixture import SimulatedRobot

from oht50d.codec.rtu import encode_request
from oht50d.model.bus import ReadRegisters

CHARACTER_NS = 10 * 1_000_000_000 / 115_200
SILENCE_NS = 1_750_000
TURNAROUND_NS = 1_000_000
TRANSACTIONS = 200
"""In each of the stretches that alternate; five of them make the thousand."""
GOAL = 97.0
POWER = 0x02
REGISTERS_40 = 0x0200
REGISTERS_39 = 0x0240
REPLY_40_BYTES = 85
LONG_REPLIES = (REPLY_40_BYTES, REPLY_40_BYTES - 2)


@frozen(kw_only=True)
class Stretch:
    """Consecutive transactions as the simulator saw them."""

    formula_ns: float
    elapsed_ns: int
    count: int
    of_40: int
    unanswered: int
    gaps_ms: list[float]
    answers_ms: list[float]

    @property
    def share(self) -> float:
        return self.formula_ns / self.elapsed_ns


def maps_with_40_registers(directory: Path) -> Path:
    """The shipped maps, and blocks of 40 and of 39 registers more in the power module.

    Two lengths, because two reads of one shape never follow each other: a probe would come in between.
    """
    directory.mkdir()
    for source in (ROOT / "config" / "modules").glob("*.toml"):
        text = source.read_text(encoding="utf-8")
        text = text.replace('poll = "inputs"', 'poll = "slow"')
        if source.name == "power.toml":
            registers, end_of_array, pairs = text.partition("\n]\n")
            rows = [
                f'  {{ address = {first + n:#06x}, name = "bench_{first + n}", type = "{("uint16", "int16")[n % 2]}", '
                'scale = 0.1, unit = "V", access = "ro", poll = "inputs", description = "bench" },'
                for first, count in ((REGISTERS_40, 40), (REGISTERS_39, 39))
                for n in range(count)
            ]
            text = registers + "\n" + "\n".join(rows) + end_of_array + pairs
        (directory / source.name).write_text(text, encoding="utf-8")
    return directory


def measure(frames: list[dict[str, Any]]) -> Stretch:
    """Formula and elapsed time of the answered exchanges in a stretch of the simulator's trace."""
    found = []
    for request, reply in pairwise(frames):
        if request["way"] == "request" and reply["way"] == "reply":
            sent, got = len(request["hex"]) // 2, len(reply["hex"]) // 2
            found.append((request["monotonic_ns"], reply["monotonic_ns"], sent + got, got in LONG_REPLIES))
    answered_ns = [characters * CHARACTER_NS + SILENCE_NS + TURNAROUND_NS for *_, characters, _ in found]
    return Stretch(
        formula_ns=sum(answered_ns[:-1]) + SILENCE_NS * (len(found) - 1),
        elapsed_ns=found[-1][0] - found[0][0],
        count=len(found) - 1,
        of_40=sum(is_40 for *_, is_40 in found[:-1]),
        unanswered=sum(frame["way"] == "request" for frame in frames[:-1]) - len(found),
        gaps_ms=[(after[0] - one[1] - SILENCE_NS) / 1e6 for one, after in pairwise(found)],
        answers_ms=[(one[1] - one[0] - due_ns) / 1e6 for one, due_ns in zip(found, answered_ns, strict=True)],
    )


def report(name: str, stretches: list[Stretch]) -> float:
    """Print the share of all stretches together and where the rest goes; returns the share in percent."""
    count, elapsed_ns = sum(one.count for one in stretches), sum(one.elapsed_ns for one in stretches)
    formula_ns = sum(one.formula_ns for one in stretches)
    share = 100 * formula_ns / elapsed_ns
    print(f"   {name}: {share:.2f} % of the wire, {count} transactions ({sum(one.of_40 for one in stretches)} of 40 "
          f"registers), {count / elapsed_ns * 1e9:.1f} a second of {count / formula_ns * 1e9:.1f} by the formula, "
          f"{sum(one.unanswered for one in stretches)} unanswered")  # fmt: skip
    spread("reply to next request, beyond t3.5", [gap for one in stretches for gap in one.gaps_ms])
    spread("request to reply, beyond formula (simulator)", [late for one in stretches for late in one.answers_ms])
    return share


def bare_master(port: str, count: int) -> None:
    """40-register reads by blocking system calls, the silence by spinning: what this machine lets a master reach."""
    request = encode_request(ReadRegisters(POWER, REGISTERS_40, 40))
    descriptor = os.open(port, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    time.sleep(0.1)
    termios.tcflush(descriptor, termios.TCIFLUSH)
    for _ in range(count + 1):
        free_ns = time.monotonic_ns() + SILENCE_NS
        while time.monotonic_ns() < free_ns:
            pass
        os.write(descriptor, request)
        got = 0
        while got < REPLY_40_BYTES:
            got += len(os.read(descriptor, 256))
    print(json.dumps({"done": count}), flush=True)


def _discard(_answer: object) -> None:
    """The trace tells what happened."""


def stretch_of(robot: SimulatedRobot, wait: Callable[[int], None]) -> Stretch:
    """What the trace shows of the time in which `wait`, given the first frame's number, waits."""
    since = robot.control({"op": "trace", "since": 0, "limit": 0})["next"]
    wait(since)
    return measure(robot.frames(since)[: 2 * TRANSACTIONS + 2])


def run(name: str, directory: Path, periods: str, maps: Path | None, *, has_peer: bool) -> None:
    """One daemon on one robot, stopped by SIGSTOP while the bare master has the line."""
    options = [] if maps is None else ["--map-dir", str(maps)]
    with SimulatedRobot.start(directory, "empty", arguments=options) as robot:
        config = write_site(directory / "daemon", robot, lidar_port=str(directory / "absent") if has_peer else None)
        arguments = [str(BENCH / "house_probe.py"), "--config", str(config), "--periods-ms", periods]
        arguments += [] if maps is None else ["--maps", str(maps)]
        with child(*arguments) as daemon:
            wait_http(f"http://127.0.0.1:{read_line(daemon)['port']}/health/{'live' if has_peer else 'ready'}")
            time.sleep(2.0)
            early = [0]

            def enough(since: int) -> None:
                while robot.control({"op": "trace", "since": since, "limit": 0})["next"] - since < 2 * TRANSACTIONS + 2:
                    time.sleep(0.25)

            def ours() -> Stretch:
                daemon.send_signal(signal.SIGCONT)
                time.sleep(0.5 if has_peer else 0.0)
                before = robot.control({"op": "counters"})["early_frames"]
                found = stretch_of(robot, enough)
                early[0] += robot.control({"op": "counters"})["early_frames"] - before
                return found

            def peer() -> Stretch:
                daemon.send_signal(signal.SIGSTOP)
                time.sleep(0.1)
                bare = [str(Path(__file__)), "--bare", str(robot.bus_path), str(TRANSACTIONS)]
                return stretch_of(robot, lambda _since: _discard(run_child(*bare)))

            if has_peer:
                daemons, bares = alternate(ours, peer)
                daemon.send_signal(signal.SIGCONT)
            else:
                daemons, bares = [ours() for _ in range(PAIRS)], []
            end(daemon)
    share = report(name, daemons)
    goal_line(f"share of the wire, {name}", share, GOAL, "%", is_floor=True)
    goal_line(f"early frames counted by the simulator, {name}", early[0], 0, "frames")
    if bares:
        report("a bare loop of system calls, spinning", bares)
        ratio_line("daemon / bare loop, share of the wire", [s.share for s in daemons], [s.share for s in bares], 0.97,
                   is_floor=True)  # fmt: skip


def main() -> None:
    if "--bare" in sys.argv:
        place = sys.argv.index("--bare")
        bare_master(sys.argv[place + 1], int(sys.argv[place + 2]))
        return
    head("Share of a 115200 baud wire through the whole daemon (bus, decode, guardian, history)", "trio", "pyserial")
    with workspace() as directory:
        maps = maps_with_40_registers(directory / "maps")
        # The greatest block always due; what judges motion as seldom as its loss limit allows, the rest hardly ever.
        only_40 = {"inputs": 11, "safety": 140, "motor": 140, "position": 140, "*": 20_000}
        # All blocks ask for about 1.3 times what the wire carries; those that judge motion for 0.9 of it.
        mixture = {"safety": 31, "motor": 31, "position": 31, "*": 100}
        run("40-register reads", directory / "a", json.dumps(only_40), maps, has_peer=True)
        run("shipped maps, every block due, LiDAR turning", directory / "b", json.dumps(mixture), None, has_peer=False)
    print(f"   load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
