"""The hands at the simulated vehicle: `python -m oht50d.sim.remote DIRECTORY ACTION` (no state).

A cause that concerns people is reset at the vehicle only; a simulated vehicle has its buttons here.
"""

import argparse
import json
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

EXIT_FAILURE = 1
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69
HOLD_S = 1.5
SETTLE_S = 0.5

_STEPS: Mapping[str, tuple[dict[str, object] | float, ...]] = {
    "reset": (
        {"op": "reset_button", "pressed": False}, SETTLE_S, {"op": "reset_button", "pressed": True}, HOLD_S,
        {"op": "reset_button", "pressed": False},
    ),
    "estop": ({"op": "estop", "open": True},),
    "release": ({"op": "estop", "open": False},),
    "box": ({"op": "obstacle", "id": "box", "ahead_mm": 420, "y_mm": 0, "radius_mm": 100},),
    "clear": ({"op": "remove_obstacle", "id": "box"},),
    "plant": ({"op": "plant"},),
}  # fmt: skip
"""What each action sends; a number is a pause in seconds."""


def ask(control: Path, operation: Mapping[str, object]) -> str:
    """One operation of the control socket; its reply as text. Raises OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(control))
        connection.sendall(json.dumps(operation).encode() + b"\n")
        with connection.makefile("r") as lines:
            return lines.readline().strip()


class _Parser(argparse.ArgumentParser):
    """argparse with the exit code of sysexits.h."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Do what hands would do; prints the last reply. The first refusal ends it with 1."""
    parser = _Parser(prog="python -m oht50d.sim.remote", description=__doc__)
    parser.add_argument("directory", type=Path, help="the simulator's runtime directory")
    parser.add_argument("action", choices=sorted(_STEPS))
    arguments = parser.parse_args(argv)
    reply = ""
    try:
        for step in _STEPS[arguments.action]:
            if isinstance(step, dict):
                reply = ask(arguments.directory / "control.sock", step)
                if _is_refusal(reply):
                    print(reply, file=sys.stderr)
                    return EXIT_FAILURE
            else:
                time.sleep(step)
    except OSError as problem:
        print(f"no simulated robot at {arguments.directory}: {problem}", file=sys.stderr)
        return EXIT_UNAVAILABLE
    print(reply)
    return 0


def _is_refusal(reply: str) -> bool:
    """True for `{"error": why}`, and for no answer at all."""
    try:
        answer = json.loads(reply)
    except ValueError:
        return True
    return isinstance(answer, dict) and "error" in answer


if __name__ == "__main__":
    sys.exit(main())
