"""How long from the last byte of a cause to the first byte of the stop frame, while the robot moves?

The daemon runs as it is on the simulated robot, with a full wire; beside it run 17 status requests a second. Causes:
the chain bit in a reply of the safety module (S0), and STOP over HTTP (S1), both from the read that brought them; and
STOP again while a module that was just polled is dead, so that the bus owner waits for a reply that will not come.
Between two trips the latch is cleared in memory instead of by a held button.
"""

import json
import socket
import sys
import time
from pathlib import Path

from harness import (
    BENCH,
    IS_QUICK,
    child,
    goal_line,
    head,
    percentile,
    read_line,
    sign_in,
    spread,
    workspace,
    write_site,
)
from robot_fixture import SimulatedRobot

SECONDS = 10.0 if IS_QUICK else 34.0
"""For each of the three scenarios; two to three trips a second."""


def press_stop(port: int) -> None:
    """STOP over HTTP for each line of standard input, each on a connection of its own; prints when it was sent."""
    request = b"POST /api/v1/robot/emergency-stop HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"
    for _ in sys.stdin:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sent_ns = time.monotonic_ns()
            connection.sendall(request)
            if not connection.recv(65_536):
                raise RuntimeError("the daemon has hung up")
        print(json.dumps({"sent_ns": sent_ns}), flush=True)


def scenario(directory: Path, name: str, cause: str, *, kills_a_module: bool = False) -> None:
    """One daemon on one robot, with the status requests of a real site beside it."""
    with SimulatedRobot.start(directory, "empty") as robot:
        config = write_site(directory / "daemon", robot)
        arguments = [str(config), str(robot.runtime_dir), cause, str(SECONDS), str(int(kills_a_module))]
        with child(str(BENCH / "stop_probe.py"), *arguments) as daemon:
            port = read_line(daemon)["port"]
            token = sign_in(f"http://127.0.0.1:{port}")
            with child(str(BENCH / "load.py"), str(port), token, "600", "--rate", "17"):
                found = read_line(daemon)
    latencies_ms = found["latencies_ms"]
    spread(name, latencies_ms)
    if found["from_client_ms"]:
        spread("the same, from before the client sends", found["from_client_ms"])
    print(f"   trips without both stamps: {found['missed']}")
    if not kills_a_module:
        goal_line(f"p99, {name}", percentile(latencies_ms, 99), 15, "ms")
        goal_line(f"p99.9, {name}", percentile(latencies_ms, 99.9), 50, "ms")


def main() -> None:
    if "--client" in sys.argv:
        press_stop(int(sys.argv[-1]))
        return
    head("Last byte of the cause read, to first byte of the stop frame written", "trio", "quart-trio", "hypercorn")
    with workspace() as directory:
        scenario(directory / "a", "chain bit, S0, full bus", "chain")
        scenario(directory / "b", "STOP over HTTP, S1, full bus", "http")
        scenario(directory / "c", "STOP over HTTP, S1, a module just died", "http", kills_a_module=True)


if __name__ == "__main__":
    main()
