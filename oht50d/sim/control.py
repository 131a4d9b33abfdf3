"""The control socket: what tests and people ask of the simulated robot, one JSON object a line (no state of its own).

A line of the socket is {"op": ..., ...}; the answer is one line, {"error": why} if the operation could not be done. The
operations are the methods of `Control` named in `operations`; docs/simulator.md lists them.
"""

import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
import trio

from oht50d.model.errors import ConfigError
from oht50d.model.units import Duration
from oht50d.sim.faults import FaultKind, ScriptedFault
from oht50d.sim.plant import entries
from oht50d.sim.robot import Robot
from oht50d.sim.settings import build
from oht50d.sim.world import Obstacle

MAX_LINE_BYTES = 65_536
MAX_CONNECTIONS = 32
TRACE_LIMIT = 2_000
LISTEN_BACKLOG = 16

Request = Mapping[str, object]
Answer = dict[str, object]


@attrs.frozen(kw_only=True)
class FaultOrder:
    """{"op": "fault"}: a fault from now on for `for_s` seconds (None: until cleared)."""

    kind: FaultKind
    for_s: float | None = None
    after_s: float = 0.0
    module: int | None = None
    delay_ms: float = 0.0
    code: int = 1
    register: str | None = None
    ratio: float = 1.0

    def script(self) -> ScriptedFault:
        return ScriptedFault(
            kind=self.kind,
            at=Duration(round(self.after_s * 1e9)),
            for_=None if self.for_s is None else Duration(round(self.for_s * 1e9)),
            module=self.module,
            delay=Duration(round(self.delay_ms * 1e6)),
            code=self.code,
            register=self.register,
            ratio=self.ratio,
        )


@attrs.frozen(kw_only=True)
class ObstacleOrder:
    """{"op": "obstacle"}: a circle in the hall; `ahead_mm` puts its near edge that far in front of the LiDAR."""

    id: str
    x_mm: float | None = None
    y_mm: float = 0.0
    ahead_mm: float | None = None
    radius_mm: float = 200.0
    vx_mm_s: float = 0.0
    vy_mm_s: float = 0.0
    for_s: float | None = None

    def __attrs_post_init__(self) -> None:
        if (self.x_mm is None) == (self.ahead_mm is None):
            raise ValueError("either x_mm or ahead_mm")
        if self.radius_mm <= 0:
            raise ValueError("radius_mm must be above 0")


@attrs.frozen(kw_only=True)
class SwitchOrder:
    """{"op": "estop"} with `open`, {"op": "reset_button"} with `pressed`."""

    open: bool | None = None
    pressed: bool | None = None


@attrs.frozen(kw_only=True)
class NameOrder:
    """{"op": "remove_obstacle"}."""

    id: str


@attrs.frozen(kw_only=True)
class PlaceOrder:
    """{"op": "place"}."""

    x_mm: float


@attrs.frozen(kw_only=True)
class TraceOrder:
    """{"op": "trace"}: frames from number `since` on, at most `limit`."""

    since: int = 0
    limit: int = TRACE_LIMIT


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
        self.operations: Mapping[str, Callable[[Request], Answer]] = {
            "plant": self._plant,
            "fault": self._fault,
            "clear_faults": self._clear_faults,
            "estop": self._estop,
            "reset_button": self._reset_button,
            "obstacle": self._obstacle,
            "remove_obstacle": self._remove_obstacle,
            "place": self._place,
            "trace": self._trace,
            "counters": self._counters,
            "log": self._log,
            "reset_log": self._reset_log,
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

    def _plant(self, request: Request) -> Answer:
        plant = self._robot.plant
        return {
            "monotonic_ns": plant.now_ns,
            "x_mm": plant.x_mm,
            "lidar_x_mm": plant.lidar_x_mm,
            "v_mm_s": plant.v_mm_s,
            "at_rest_since_ns": plant.at_rest_since_ns,
            "brake_engaged": plant.is_brake_engaged,
            "brake_released_command": plant.is_release_energised,
            "drives": [
                {
                    "enable": drive.enable,
                    "setpoint": drive.setpoint,
                    "linear_input": drive.linear_input,
                    "linear_step": drive.linear_step,
                    "direction": drive.direction,
                    "mode": drive.mode,
                    "duty_ratio": drive.duty_ratio,
                    "output_zero_since_ns": drive.output_zero_since_ns,
                    "error_code": drive.error_code,
                    "has_timed_out": drive.has_timed_out,
                }
                for drive in plant.drives
            ],
            "communication_timeout_ms": plant.communication_timeout_ms,
            "soc_percent": plant.soc_percent,
            "battery_voltage_v": plant.battery_voltage_v,
            "battery_current_a": plant.battery_current_a,
            "relays": list(self._robot.safety.relays),
            "chain_open": plant.is_chain_open,
            "reset_pressed": plant.is_reset_pressed,
            "lidar_turning_hz": self._robot.lidar.turning_hz,
            "lidar_scanning": self._robot.lidar.is_scanning,
        }

    def _fault(self, request: Request) -> Answer:
        now_ns = time.monotonic_ns()
        fault = self._robot.faults.add(build(FaultOrder, request).script(), now_ns)
        self._robot.settle(now_ns)
        self._robot.apply_faults()
        return {"begins_ns": fault.begins_ns, "ends_ns": fault.ends_ns}

    def _clear_faults(self, request: Request) -> Answer:
        count = self._robot.faults.clear()
        self._robot.apply_faults()
        return {"cleared": count}

    def _estop(self, request: Request) -> Answer:
        order = build(SwitchOrder, request)
        if order.open is None:
            raise ValueError("open: missing key")
        self._robot.is_chain_held_open = order.open
        self._robot.apply_faults()
        return {"monotonic_ns": self._robot.plant.now_ns}

    def _reset_button(self, request: Request) -> Answer:
        order = build(SwitchOrder, request)
        if order.pressed is None:
            raise ValueError("pressed: missing key")
        self._robot.is_button_held = order.pressed
        self._robot.apply_faults()
        return {"monotonic_ns": self._robot.plant.now_ns}

    def _obstacle(self, request: Request) -> Answer:
        order = build(ObstacleOrder, request)
        now_ns = time.monotonic_ns()
        x_mm = order.x_mm
        if x_mm is None:
            x_mm = self._robot.plant.lidar_x_mm + (order.ahead_mm or 0.0) + order.radius_mm
        obstacle = Obstacle(
            name=order.id,
            x_mm=x_mm,
            y_mm=order.y_mm,
            radius_mm=order.radius_mm,
            vx_mm_s=order.vx_mm_s,
            vy_mm_s=order.vy_mm_s,
            since_ns=self._robot.plant.now_ns,
            stay_ns=None if order.for_s is None else round(order.for_s * 1e9),
        )
        self._robot.world.put(obstacle)
        return {"monotonic_ns": now_ns, "x_mm": x_mm, "y_mm": order.y_mm}

    def _remove_obstacle(self, request: Request) -> Answer:
        name = build(NameOrder, request).id
        if not self._robot.world.remove(name):
            raise ValueError(f"no obstacle {name!r}")
        return {"monotonic_ns": time.monotonic_ns()}

    def _place(self, request: Request) -> Answer:
        self._robot.plant.place(build(PlaceOrder, request).x_mm)
        return {"x_mm": self._robot.plant.x_mm}

    def _trace(self, request: Request) -> Answer:
        order = build(TraceOrder, request)
        trace = self._robot.line.trace
        frames = trace.since(order.since, max(0, min(order.limit, TRACE_LIMIT)))
        following = frames[-1].number + 1 if frames else trace.next_number
        return {"frames": [frame.as_json() for frame in frames], "next": following}

    def _counters(self, request: Request) -> Answer:
        return attrs.asdict(self._robot.line.counters)

    def _log(self, request: Request) -> Answer:
        return {"log": entries(self._robot.plant.log)}

    def _reset_log(self, request: Request) -> Answer:
        self._robot.plant.log.clear()
        return {"monotonic_ns": time.monotonic_ns()}

    def _quit(self, request: Request) -> Answer:
        self._is_quitting = True
        return {"quitting": True}
