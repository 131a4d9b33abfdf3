"""The control socket: what tests and people ask of the simulated robot, one JSON object a line (no state of its own).

A line of the socket is {"op": ..., ...}; the answer is one line, {"error": why} if the operation could not be done. The
operations are those of `PlantDesk` and `BusDesk`, and `quit`; docs/simulator.md lists them.
"""

import json
import socket
import time
from collections.abc import Mapping
from pathlib import Path

import trio

from oht50d.model.errors import ConfigError
from oht50d.sim.control_bus import BusDesk
from oht50d.sim.control_plant import PlantDesk
from oht50d.sim.operations import Answer, Operation, Request
from oht50d.sim.robot import Robot

MAX_LINE_BYTES = 65_536
MAX_CONNECTIONS = 32
LISTEN_BACKLOG = 16


def open_listener(path: Path) -> trio.SocketListener:
    """A listening socket at `path` for its owner only; one left there by a dead simulator is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(LISTEN_BACKLOG)
    return trio.SocketListener(trio.socket.from_stdlib_socket(listener))


class Control:
    """Answers operations on one robot; `quit` cancels `scope` once it is answered."""

    def __init__(self, robot: Robot, scope: trio.CancelScope) -> None:
        self._robot = robot
        self._scope = scope
        self._is_quitting = False
        self._connections = trio.CapacityLimiter(MAX_CONNECTIONS)
        self.operations: Mapping[str, Operation] = {
            **PlantDesk(robot).operations,
            **BusDesk(robot).operations,
            "quit": self._quit,
        }

    async def serve(self, listener: trio.SocketListener) -> None:
        """Serve until cancelled; closes the listener."""
        await trio.serve_listeners(self._converse, [listener])

    async def _converse(self, stream: trio.SocketStream) -> None:
        """One client; it is let go when it hangs up, or sends a line longer than MAX_LINE_BYTES."""
        async with self._connections, stream:
            buffer = bytearray()
            try:
                while received := await stream.receive_some(4096):
                    buffer += received
                    while (end := buffer.find(b"\n")) >= 0:
                        line = bytes(buffer[:end])
                        del buffer[: end + 1]
                        await stream.send_all(json.dumps(self.answer(line)).encode() + b"\n")
                        if self._is_quitting:
                            self._scope.cancel()
                    if len(buffer) > MAX_LINE_BYTES:
                        return
            except trio.BrokenResourceError:
                return

    def answer(self, line: bytes) -> Answer:
        """The answer to one line; never raises for what a client can send."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("a JSON object is expected")
            operation = self.operations.get(str(request.pop("op", None)))
            if operation is None:
                raise ValueError(f"op must be one of {', '.join(self.operations)}")
            self._robot.settle(time.monotonic_ns())
            return operation(request)
        except (ValueError, ConfigError, RecursionError) as error:
            return {"error": str(error)}

    def _quit(self, request: Request) -> Answer:
        self._is_quitting = True
        return {"quitting": True}
