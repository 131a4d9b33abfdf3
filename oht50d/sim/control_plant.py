"""Operations on the vehicle and its hall: the truth, the hands at it, obstacles, the log (no state of its own)."""

import time
from collections.abc import Mapping

from oht50d.sim.control_orders import NameOrder, ObstacleOrder, PlaceOrder, SwitchOrder
from oht50d.sim.operations import Answer, Operation, Request
from oht50d.sim.plant import entries
from oht50d.sim.robot import Robot
from oht50d.sim.settings import build
from oht50d.sim.world import Obstacle


class PlantDesk:
    """What can be asked of the plant."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self.operations: Mapping[str, Operation] = {
            "plant": self._plant,
            "estop": self._estop,
            "reset_button": self._reset_button,
            "obstacle": self._obstacle,
            "remove_obstacle": self._remove_obstacle,
            "place": self._place,
            "log": self._log,
            "reset_log": self._reset_log,
        }

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

    def _log(self, request: Request) -> Answer:
        return {"log": entries(self._robot.plant.log)}

    def _reset_log(self, request: Request) -> Answer:
        self._robot.plant.log.clear()
        return {"monotonic_ns": time.monotonic_ns()}
