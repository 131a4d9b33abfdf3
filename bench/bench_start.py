"""How soon after the start of the process is the bus alive, does HTTP answer, is the daemon ready; how large is it?

The bus counts from the first reply of the safety module on the wire (by the simulator's clock), HTTP from the first 200
of /health, ready from /health/ready: four modules online and a LiDAR turn. All are second starts: caches are warm, the
state directory exists. `oht50d run --simulate` is what `./dev run` starts: its robot starts first.

The backend that this replaces took 2.2 s on a machine where importing Quart-Trio and Hypercorn took 0.37 s; it is not
here to be measured in pairs, so that import is: each start is divided by the import measured just before it.
"""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from harness import IS_QUICK, ROOT, goal_line, head, percentile, ratio_line, spread, wait_http, workspace, write_site
from robot_fixture import SimulatedRobot

RUNS = 2 if IS_QUICK else 5
PEER_S, PEER_MB, PEER_IMPORT_S = 2.2, 120.0, 0.37
IDLE_S = 4.0
SLOWEST_IMPORTS = 12
# A user's second start finds compiled modules, whatever this shell says.
ENVIRON = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def import_floor() -> float:
    """Seconds of a process that imports the web server's libraries and ends."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "import quart_trio, hypercorn.trio"], cwd=ROOT, check=True, env=ENVIRON)
    return time.monotonic() - began


def first_reply(robot: SimulatedRobot, since: int, limit_s: float = 20.0) -> float:
    """Monotonic seconds of the first read of the safety module that was answered."""
    ends = time.monotonic() + limit_s
    while time.monotonic() < ends:
        replies = [f for f in robot.frames(since) if f["way"] == "reply" and f["hex"].startswith("0303")]
        if replies:
            return float(replies[0]["monotonic_ns"]) / 1e9
        time.sleep(0.02)
    raise TimeoutError("the safety module was not asked")


def daemon_start(robot: SimulatedRobot, config: Path, port: int) -> tuple[float, float, float, float, float]:
    """Seconds to bus, HTTP and ready; megabytes after a while of idling; the import before it."""
    floor = import_floor()
    since = robot.control({"op": "trace", "since": 0, "limit": 0})["next"]
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "oht50d", "run", "--config", str(config)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRON,
    )  # fmt: skip
    try:
        http = wait_http(f"http://127.0.0.1:{port}/health") - began
        ready = wait_http(f"http://127.0.0.1:{port}/health/ready") - began
        bus = first_reply(robot, since) - began
        time.sleep(IDLE_S)
        resident = psutil.Process(process.pid).memory_info().rss / 1e6
    finally:
        process.terminate()
        process.wait(20)
    return bus, http, ready, resident, floor


def simulated_start(directory: Path) -> tuple[float, float, float]:
    """Seconds of `oht50d run --simulate` to HTTP and ready; the import before it."""
    floor = import_floor()
    port = free_port()
    settings = [f'robot.state_dir="{directory}/state"', f'robot.runtime_dir="{directory}/run"', f"web.port={port}"]
    settings.append(f'spool.path="{directory}/state/spool.db"')
    config = str(ROOT / "config" / "development.toml")
    command = [sys.executable, "-m", "oht50d", "run", "--config", config, "--simulate"]
    for setting in settings:
        command += ["--set", setting]
    began = time.monotonic()
    process = subprocess.Popen(
        command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRON
    )
    try:
        http = wait_http(f"http://127.0.0.1:{port}/health") - began
        ready = wait_http(f"http://127.0.0.1:{port}/health/ready") - began
    finally:
        process.terminate()
        process.wait(20)
    return http, ready, floor


def show_imports() -> None:
    """What importing the house costs, by package (each with what only it brings in)."""
    command = [sys.executable, "-X", "importtime", "-c", "import oht50d.app.house"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=ENVIRON).stderr
    own: dict[str, int] = {}
    total = 0
    for line in text.splitlines():
        found = re.match(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", line)
        if found:
            spent, package = int(found[1]), found[2].split(".")[0]
            own[package] = own.get(package, 0) + spent
            total += spent
    slowest = sorted(own.items(), key=lambda item: -item[1])[:SLOWEST_IMPORTS]
    print(f"   imports: {total / 1000:.0f} ms in all (traced); " + ", ".join(f"{n} {t / 1000:.0f}" for n, t in slowest))


def main() -> None:
    head("Start and size of the daemon", "trio", "quart-trio", "hypercorn", "numpy", "psutil")
    with workspace() as directory, SimulatedRobot.start(directory, "empty") as robot:
        port = free_port()
        config = write_site(directory / "daemon", robot)
        config.write_text(config.read_text(encoding="utf-8").replace("port = 0", f"port = {port}"), encoding="utf-8")
        daemon_start(robot, config, port)
        runs = [daemon_start(robot, config, port) for _ in range(RUNS)]
        (directory / "simulated").mkdir()
        simulated_start(directory / "simulated")
        simulated = [simulated_start(directory / "simulated") for _ in range(RUNS)]
    bus, http, ready, resident, floor = ([run[place] for run in runs] for place in range(5))
    spread("import of Quart-Trio and Hypercorn", floor, "s")
    spread("start to the safety module's first reply", bus, "s")
    spread("start to HTTP 200", http, "s")
    spread("start to ready", ready, "s")
    spread("run --simulate: start to HTTP 200", [run[0] for run in simulated], "s")
    spread("run --simulate: start to ready", [run[1] for run in simulated], "s")
    spread(f"resident after {IDLE_S:.0f} s", resident, "MB")
    goal_line("bus, median", percentile(bus, 50), 0.25 * PEER_S, "s")
    goal_line("HTTP, median", percentile(http, 50), round(0.4 * PEER_S, 2), "s")
    goal_line("run --simulate ready, median", percentile([run[1] for run in simulated], 50), 2.0, "s")
    peer = [one * PEER_S / PEER_IMPORT_S for one in floor]
    ratio_line("bus / the old backend's start, scaled", bus, peer, 0.25)
    ratio_line("HTTP / the old backend's start, scaled", http, peer, 0.4)
    limit = [run[2] * 2.0 / PEER_IMPORT_S for run in simulated]
    ratio_line("run --simulate ready / 2 s, scaled", [run[1] for run in simulated], limit, 1.0)
    goal_line("resident, median", percentile(resident, 50), 0.7 * PEER_MB, "MB")
    show_imports()
    print(f"   load average at the end {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
