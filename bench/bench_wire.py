"""How much of the RS485 wire does the whole daemon use, and does it ever send before 3.5 characters of silence?

The simulator paces 115200 baud and judges from outside: its trace gives the time of every frame, its counters the early
ones. Share = sum of the formula times of 1,000 consecutive transactions / the time that they took. The formula is the
one of docs/performance.md: request + t3.5 + turnaround 1.0 ms + reply + t3.5.
"""

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

from harness import BENCH, IS_QUICK, ROOT, child, end, goal_line, head, read_line, spread, wait_http, workspace, write_site
from robot_fixture import SimulatedRobot

CHARACTER_NS = 10 * 1_000_000_000 / 115_200
SILENCE_NS = 1_750_000
TURNAROUND_NS = 1_000_000
TRANSACTIONS = 300 if IS_QUICK else 1000
GOAL, FLOOR = 97.0, 94.0
REGISTERS_40 = 0x0200


def maps_with_40_registers(directory: Path) -> Path:
    """The shipped maps, and 40 more registers in the power module: one block of the greatest length."""
    directory.mkdir()
    for source in (ROOT / "config" / "modules").glob("*.toml"):
        text = source.read_text(encoding="utf-8")
        text = text.replace('poll = "inputs"', 'poll = "slow"')
        if source.name == "power.toml":
            registers, end_of_array, pairs = text.partition("\n]\n")
            rows = [
                f'  {{ address = {REGISTERS_40 + n:#06x}, name = "bench_{n}", type = "{kind}", scale = 0.1, unit = "V", '
                f'access = "ro", poll = "inputs", description = "bench" }},'
                for n in range(40)
                for kind in [("uint16", "int16", "uint16")[n % 3]]
            ]
            text = registers + "\n" + "\n".join(rows) + end_of_array + pairs
        (directory / source.name).write_text(text, encoding="utf-8")
    return directory


def exchanges(frames: list[dict[str, Any]]) -> list[tuple[int, int, int, int, bool]]:
    """(request time, reply time, request bytes, reply bytes, was 40 registers) of each answered request."""
    found = []
    for request, reply in zip(frames, frames[1:], strict=False):
        if request["way"] == "request" and reply["way"] == "reply":
            asked = bytes.fromhex(request["hex"])
            is_40 = asked[1] == 3 and int.from_bytes(asked[4:6], "big") == 40
            found.append(
                (request["monotonic_ns"], reply["monotonic_ns"], len(asked), len(reply["hex"]) // 2, is_40)
            )
    return found


def report(name: str, frames: list[dict[str, Any]], early: int) -> float:
    """Print the share and where the rest goes; returns the share in percent."""
    found = exchanges(frames)
    requests = sum(frame["way"] == "request" for frame in frames)
    found = found[-TRANSACTIONS - 1 :]
    formula_ns = [(sent + got) * CHARACTER_NS + 2 * SILENCE_NS + TURNAROUND_NS for _, _, sent, got, _ in found[:-1]]
    elapsed_ns = found[-1][0] - found[0][0]
    share = 100 * sum(formula_ns) / elapsed_ns
    answer_ms = [
        (reply - request - (sent + got) * CHARACTER_NS - SILENCE_NS - TURNAROUND_NS) / 1e6
        for request, reply, sent, got, _ in found
    ]
    gaps_ms = [(after[0] - before[1] - SILENCE_NS) / 1e6 for before, after in zip(found, found[1:], strict=False)]
    rate = len(formula_ns) / (elapsed_ns / 1e9)
    print(f"   {name}: {len(formula_ns)} transactions, {sum(is_40 for *_, is_40 in found[:-1])} of 40 registers, "
          f"{rate:.1f} a second, formula {statistics.mean(formula_ns) / 1e6:.3f} ms each, "
          f"{requests - len(exchanges(frames))} unanswered")  # fmt: skip
    spread("reply to next request, beyond t3.5 (daemon)", gaps_ms)
    spread("request to reply, beyond formula (simulator)", answer_ms)
    goal_line(f"share of the wire, {name}", share, GOAL, "%", is_floor=True)
    goal_line(f"early frames counted by the simulator, {name}", early, 0, "frames")
    if share < FLOOR:
        print(f"   BELOW THE FLOOR of {FLOOR} %")
    return share


def run(name: str, directory: Path, periods: str, *, maps: Path | None, has_lidar: bool) -> float:
    """One daemon on one robot until TRANSACTIONS are done."""
    options = [] if maps is None else ["--map-dir", str(maps)]
    with SimulatedRobot.start(directory, "empty", arguments=options) as robot:
        config = write_site(directory / "daemon", robot, lidar_port=None if has_lidar else str(directory / "absent"))
        arguments = [str(BENCH / "house_probe.py"), "--config", str(config), "--periods-ms", periods]
        arguments += [] if maps is None else ["--maps", str(maps)]
        with child(*arguments) as daemon:
            port = read_line(daemon)["port"]
            wait_http(f"http://127.0.0.1:{port}/health/{'ready' if has_lidar else 'live'}")
            time.sleep(2.0)
            began = robot.control({"op": "trace", "since": 0, "limit": 0})
            early = robot.control({"op": "counters"})["early_frames"]
            since = began["next"]
            while robot.control({"op": "trace", "since": since, "limit": 0})["next"] - since < 2 * TRANSACTIONS + 10:
                time.sleep(0.5)
            frames = robot.frames(since)
            early = robot.control({"op": "counters"})["early_frames"] - early
            end(daemon)
    return report(name, frames, early)


def main() -> None:
    head("Share of a 115200 baud wire through the whole daemon (bus, decode, guardian, history)", "trio", "pyserial")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with workspace() as directory:
        maps = maps_with_40_registers(directory / "maps")
        only_40 = '{"inputs": 11, "safety": 140, "motor": 140, "position": 140, "*": 20000}'
        # All blocks ask for about 1.3 times what the wire carries; those that judge motion for 0.9 of it.
        mixture = '{"safety": 31, "motor": 31, "position": 31, "*": 100}'
        run("40-register reads", directory / "a", only_40, maps=maps, has_lidar=False)
        run("40-register reads, LiDAR turning", directory / "b", only_40, maps=maps, has_lidar=True)
        run("the shipped maps, every block always due", directory / "c", mixture, maps=None, has_lidar=True)
    print(f"   load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
