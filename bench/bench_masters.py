"""Who uses the wire best? Our daemon and our bus owner alone, libmodbus, pymodbus (async and sync), minimalmodbus, each
reading 40 registers at 115200 baud from the same kind of slave, in turn (A B C ... A B C ...), in one run.

The slave (`paced_slave.py`) counts the early frames and measures the gaps; CPU time and voluntary context switches of
the master's process come from /proc. Share of the wire = formula / (formula + gaps): what the master leaves unused; the
formula is request + t3.5 + 1.0 ms + reply + t3.5. A master that sends early can have more than 100 %: that is against
the protocol (serial line V1.02, section 2.5.1.1), not speed.
"""

import json
import os
import signal
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from attrs import define, field
from bench_wire import maps_with_40_registers
from harness import BENCH, IS_QUICK, child, goal_line, head, percentile, ratio_line, read_line, workspace, write_site
from masters import ONLY_LONG, libmodbus_version

ROUNDS = 2 if IS_QUICK else 5
TRANSACTIONS = 100 if IS_QUICK else 200
"""In each round; five rounds make the thousand of the goal."""
SETTLE_S = 0.7
SHARE_GOAL = 97.0
CPU_GOAL = 5.0
UART_PIECE = 8
"""Bytes that come at once where a UART's buffer hands them over."""


@define
class Master:
    """One master on a pty and a slave of its own; stopped (SIGSTOP) while the others are measured."""

    name: str
    process: "subprocess.Popen[bytes]"
    slave: "subprocess.Popen[bytes]"
    stretches: list[dict[str, Any]] = field(factory=list)

    def measure(self) -> None:
        """One stretch, kept."""
        assert self.slave.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        time.sleep(SETTLE_S)
        self.slave.stdin.write(json.dumps({"pid": self.process.pid, "count": TRANSACTIONS}).encode() + b"\n")
        self.slave.stdin.flush()
        self.stretches.append(read_line(self.slave))
        self.process.send_signal(signal.SIGSTOP)

    @property
    def shares(self) -> list[float]:
        """Per cent of the wire, a stretch each."""
        return [100 / (1 + sum(one["gaps_ns"]) / sum(one["formula_ns"])) for one in self.stretches]

    @property
    def gaps_ms(self) -> list[float]:
        """Beyond t3.5, of all stretches."""
        return [gap_ns / 1e6 for stretch in self.stretches for gap_ns in stretch["gaps_ns"]]

    @property
    def early(self) -> int:
        return sum(one["early"] for one in self.stretches)

    @property
    def left_out(self) -> int:
        return sum(one["left_out"] for one in self.stretches)

    @property
    def count(self) -> int:
        return len(self.gaps_ms)

    def rate(self, key: str) -> float:
        """`key` a transaction, the median of the stretches."""
        return statistics.median(one[key] / (len(one["gaps_ns"]) + one["left_out"]) for one in self.stretches)

    @property
    def core_percent(self) -> float:
        return 100 * statistics.median(one["spent_ns"] / one["elapsed_ns"] for one in self.stretches)


def start_peer(stack: ExitStack, name: str, maps: Path, piece: int = 0, *options: str) -> Master:
    slave = stack.enter_context(child(str(BENCH / "paced_slave.py"), str(maps), str(piece)))
    port = read_line(slave)["port"]
    process = stack.enter_context(child(str(BENCH / "masters.py"), name, port, str(maps), *options))
    time.sleep(1.0)
    process.send_signal(signal.SIGSTOP)
    return Master(name, process, slave)


def start_daemon(stack: ExitStack, directory: Path, maps: Path, piece: int = 0) -> Master:
    """The whole daemon without a LiDAR."""
    slave = stack.enter_context(child(str(BENCH / "paced_slave.py"), str(maps), str(piece)))
    place = SimpleNamespace(bus_path=read_line(slave)["port"], lidar_path=directory / "absent")
    config = write_site(directory, place)
    arguments = ["--config", str(config), "--maps", str(maps), "--periods-ms", json.dumps(ONLY_LONG)]
    process = stack.enter_context(child(str(BENCH / "house_probe.py"), *arguments))
    read_line(process)
    time.sleep(3.0)
    process.send_signal(signal.SIGSTOP)
    return Master("daemon", process, slave)


def print_table(masters: list[Master]) -> None:
    print(f"   {sum(one.left_out for one in masters)} gaps are left out because the slave itself was late")
    print(f"   {'master':<24}{'share of the wire':>22}{'early':>14}{'CPU us':>9}{'core %':>8}{'wake-ups':>10}"
          f"{'gap p50':>9}{'p99':>8}{'max ms':>9}")  # fmt: skip
    for one in masters:
        shares = f"{statistics.median(one.shares):.2f} % ({min(one.shares):.1f}..{max(one.shares):.1f})"
        early = f"{one.early} of {one.count}"
        print(f"   {one.name:<24}{shares:>22}{early:>14}{one.rate('spent_ns') / 1e3:>9.0f}{one.core_percent:>8.2f}"
              f"{one.rate('switches'):>10.2f}{percentile(one.gaps_ms, 50):>9.3f}{percentile(one.gaps_ms, 99):>8.3f}"
              f"{max(one.gaps_ms):>9.3f}", flush=True)  # fmt: skip


def judge(daemon: Master, bare: Master, bus: Master) -> None:
    goal_line("share of the wire, whole daemon", statistics.median(daemon.shares), SHARE_GOAL, "%", is_floor=True)
    ratio_line("daemon / bare loop, share of the wire", daemon.shares, bare.shares, 0.99, is_floor=True)
    goal_line("early frames of the daemon, counted by the slave", daemon.early, 0, "frames")
    goal_line("CPU of the bus owner alone at full bus", bus.core_percent, CPU_GOAL, "% of a core")
    goal_line("CPU of the whole daemon at full bus", daemon.core_percent, CPU_GOAL, "% of a core")


def main() -> None:
    head("Masters on a 115200 baud wire, 40 and 39 registers in turn", "trio", "pymodbus", "minimalmodbus", "pyserial")
    found = libmodbus_version()
    print(f"   libmodbus {found or 'is not installed (./dev bench does it): its two rows are missing'}")
    print("   a transaction: CPU time and voluntary context switches of the whole process; gap: beyond t3.5")
    names = ["bare", "field-bus", "libmodbus", "libmodbus-gap", "minimalmodbus", "pymodbus-sync", "pymodbus-async"]
    with workspace() as directory, ExitStack() as stack:
        maps = maps_with_40_registers(directory / "maps")
        masters = [start_daemon(stack, directory / "daemon", maps)]
        masters += [start_peer(stack, name, maps) for name in names if found or not name.startswith("libmodbus")]
        pieces = [start_peer(stack, name, maps, UART_PIECE) for name in ("field-bus", "pymodbus-async")]
        pieces.append(start_daemon(stack, directory / "daemon-pieces", maps, UART_PIECE))
        for one in pieces:
            one.name += f", {UART_PIECE} B pieces"
        for _ in range(ROUNDS):
            for one in masters + pieces:
                one.measure()
        for one in masters + pieces:
            one.process.send_signal(signal.SIGCONT)
        print_table(masters + pieces)
    judge(masters[0], masters[1], masters[2])
    print(f"   load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
