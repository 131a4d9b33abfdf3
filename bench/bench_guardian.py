"""How late is the guardian's 10 ms tick, idle and under HTTP load, against a 10 ms task in FastAPI on uvicorn?

The daemon runs with its robot (bus and LiDAR) in every measurement; the peer's process has nothing else to do, and the
daemon is stopped (SIGSTOP) while the peer is measured. Loads: 10 connections on /api/v1/robot/status as fast as it
goes; and 17 requests a second with 10 WebSocket clients on all topics. The idle Trio task with a timerfd is the floor.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
from harness import (
    BENCH,
    IS_QUICK,
    alternate,
    child,
    end,
    goal_line,
    head,
    percentile,
    ratio_line,
    read_line,
    run_child,
    sign_in,
    spread,
    wait_http,
    workspace,
    write_site,
)
from robot_fixture import SimulatedRobot

SECONDS = 2.0 if IS_QUICK else 3.5
IDLE_S = 1.5
SETTLE_S = 1.0
LOADS = {
    "idle": [],
    "real load": ["--rate", "17", "--sockets", "10"],
    "saturated": ["--connections", "10"],
}


def timer_task(seconds: float) -> None:
    """An idle Trio task that ticks each 10 ms by timerfd; prints its lateness."""
    import trio

    from oht50d.clock import now_ns
    from oht50d.drivers.timer import PreciseTimer

    late_ns: list[int] = []

    async def main() -> None:
        timer = PreciseTimer()
        due_ns = now_ns() + 10_000_000
        ends_ns = due_ns + round(seconds * 1e9)
        while due_ns < ends_ns:
            await timer.wait_until_ns(due_ns)
            at_ns = now_ns()
            late_ns.append(at_ns - due_ns)
            due_ns = max(due_ns + 10_000_000, at_ns)
        timer.close()

    trio.run(main)
    print(json.dumps({"late_ms": [late / 1e6 for late in late_ns]}))


Window = dict[str, Any]
"""What one load saw, and from when to when it ran."""


def load(port: int, token: str, name: str) -> Window:
    """One load on one server; for `idle` only the times."""
    if not LOADS[name]:
        began_ns = time.monotonic_ns()
        time.sleep(IDLE_S)
        return {"began_ns": began_ns, "ended_ns": time.monotonic_ns(), "requests": 0, "latencies_ms": []}
    return run_child(str(BENCH / "load.py"), str(port), token, str(SECONDS), *LOADS[name])


def late_within(file: Path, window: Window) -> list[float]:
    """Milliseconds of the ticks that ran while the load did."""
    ticks = json.loads(file.read_text(encoding="ascii"))
    pairs = zip(ticks["at_ns"], ticks["late_ns"], strict=True)
    return [late / 1e6 for at, late in pairs if window["began_ns"] <= at <= window["ended_ns"]]


def rounds(
    daemon: "subprocess.Popen[bytes]", mine: Callable[[str], Window], peer: Callable[[str], Window]
) -> dict[str, tuple[list[Window], list[Window]]]:
    """Every load on both, A B A B."""

    def ours() -> dict[str, Window]:
        daemon.send_signal(signal.SIGCONT)
        time.sleep(SETTLE_S)
        return {name: mine(name) for name in LOADS}

    def theirs() -> dict[str, Window]:
        daemon.send_signal(signal.SIGSTOP)
        found = {name: peer(name) for name in LOADS}
        found["timerfd"] = run_child(__file__, "--timer", str(IDLE_S))
        return found

    first, second = alternate(ours, theirs)
    daemon.send_signal(signal.SIGCONT)
    return {name: ([one.get(name, {}) for one in first], [one[name] for one in second]) for name in [*LOADS, "timerfd"]}


def report(name: str, ours: list[list[float]], peer: list[list[float]], floor: list[list[float]]) -> None:
    """Percentiles of all ticks, ratios by pair."""
    mine = [late for one in ours for late in one]
    spread(f"guardian, {name}", mine)
    spread(f"task in FastAPI, {name}", [late for one in peer for late in one])
    if name == "real load":
        goal_line("guardian p99, real load", percentile(mine, 99), 1.2, "ms")
        goal_line("guardian p99.9, real load", percentile(mine, 99.9), 5.0, "ms")
        ratio_line("p99 guardian under real load / idle timerfd task", *_at(99, ours, floor), 4.0)
    if name == "saturated":
        ratio_line("p99 guardian / FastAPI, saturated", *_at(99, ours, peer), 0.4)
        ratio_line("p99.9 guardian / FastAPI, saturated", *_at(99.9, ours, peer), 0.5)


def _at(percent: float, ours: list[list[float]], peer: list[list[float]]) -> tuple[list[float], list[float]]:
    return [percentile(one, percent) for one in ours], [percentile(one, percent) for one in peer]


def report_http(name: str, ours: list[Window], peer: list[Window]) -> None:
    """What the load saw, as a by-product."""
    for title, windows in (("daemon", ours), ("FastAPI", peer)):
        spread(f"answer, {title}, {name}", [latency for window in windows for latency in window["latencies_ms"]])
    if name == "saturated":
        rates = [[w["requests"] / (w["ended_ns"] - w["began_ns"]) * 1e9 for w in side] for side in (ours, peer)]
        spread("requests a second, daemon", rates[0], "a second")
        spread("requests a second, FastAPI", rates[1], "a second")
        ratio_line("requests a second, daemon / FastAPI", rates[0], rates[1], 0.65, is_floor=True)
    else:
        goal_line("status p99 at 17 a second", percentile([x for w in ours for x in w["latencies_ms"]], 99), 6.0, "ms")


def main() -> None:
    if "--timer" in sys.argv:
        timer_task(float(sys.argv[-1]))
        return
    head(
        "Lateness of the guardian's 10 ms tick", "trio", "quart-trio", "hypercorn", "fastapi", "uvicorn", "pyjwt", "h11"
    )
    with workspace() as directory, SimulatedRobot.start(directory, "empty") as robot:
        config = write_site(directory / "daemon", robot)
        mine, theirs, document = directory / "mine.json", directory / "theirs.json", directory / "document.json"
        with child(str(BENCH / "house_probe.py"), "--config", str(config), "--lateness", str(mine)) as daemon:
            port = read_line(daemon)["port"]
            url = f"http://127.0.0.1:{port}"
            wait_http(f"{url}/health/ready")
            token = sign_in(url)
            answer = httpx.get(f"{url}/api/v1/robot/status", headers={"Authorization": f"Bearer {token}"})
            document.write_bytes(answer.content)
            print(f"   status answer {len(answer.content)} bytes")
            with child(str(BENCH / "peer_fastapi.py"), str(document), str(theirs)) as peer:
                place = read_line(peer)
                wait_http(f"http://127.0.0.1:{place['port']}/openapi.json")
                found = rounds(
                    daemon,
                    lambda name: load(port, token, name),
                    lambda name: load(int(place["port"]), place["token"], name),
                )
                end(peer)
            resident_mb = psutil.Process(daemon.pid).memory_info().rss / 1e6
            end(daemon)
        goal_line("resident after the loads", resident_mb, 84.0, "MB")
        floor = [one["late_ms"] for one in found["timerfd"][1]]
        spread("idle Trio task with a timerfd", [late for one in floor for late in one])
        for name in LOADS:
            ours, peers = found[name]
            report(name, [late_within(mine, w) for w in ours], [late_within(theirs, w) for w in peers], floor)
            if name != "idle":
                report_http(name, ours, peers)


if __name__ == "__main__":
    main()
