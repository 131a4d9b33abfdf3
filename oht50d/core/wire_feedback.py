"""What the bus owner's own readings say about motion: for judging standstill, and in words (pure, no state)."""

from oht50d.core.actuators import Actuators
from oht50d.core.drive_line import DriveLine
from oht50d.core.role_table import RoleTable
from oht50d.core.stop_run import MotionFeedback
from oht50d.model.units import Duration

STILL_OUTPUT = 2
"""Reported drive speed (0..255) up to which an output counts as still."""


def motion_feedback(roles: RoleTable, actuators: Actuators, now_ns: int, limit_ns: int) -> MotionFeedback:
    """Velocity and outputs if all of them are usable and not older than `limit_ns`; otherwise unknown."""
    velocity = roles.get("velocity.x")
    outputs = [roles.get(f"drive.{drive.number}.actual_speed") for drive in actuators.drives]
    fresh = [
        reading
        for reading in (velocity, *outputs)
        if reading is not None and reading.is_usable and reading.age_ns(now_ns) <= limit_ns
    ]
    demand_ns = _demand_requested_ns(roles, actuators)
    if velocity is None or len(fresh) != len(outputs) + 1:
        return MotionFeedback(None, None, None, demand_ns)
    return MotionFeedback(
        velocity_mm_s=float(velocity.value),
        velocity_requested_ns=min(reading.requested_ns for reading in fresh),
        are_outputs_still=all(reading.raw <= STILL_OUTPUT for reading in fresh[1:]),
        demand_requested_ns=demand_ns,
    )


def _demand_requested_ns(roles: RoleTable, actuators: Actuators) -> int | None:
    """When the newest reading was asked for that shows a setpoint or linear input above zero; None without one."""
    names = [f"drive.{drive.number}.{name}" for drive in actuators.drives for name in ("setpoint", "linear_input")]
    shown = [reading.requested_ns for name in names if (reading := roles.get(name)) is not None and reading.raw != 0]
    return max(shown, default=None)


def are_drives_prepared(roles: RoleTable, actuators: Actuators, line: DriveLine, mode: int, direction: int) -> bool:
    """True if every drive has read back its mode and direction since they were written (SAFETY.md, Stopping: S1)."""
    for drive in actuators.drives:
        for name, address, wanted in (("mode", drive.mode, mode), ("direction", drive.direction, direction)):
            reading = roles.get(f"drive.{drive.number}.{name}")
            written_ns = line.acknowledged_ns(drive.unit, address)
            if reading is None or written_ns is None or reading.requested_ns < written_ns or reading.raw != wanted:
                return False
    return True


def residual_words(roles: RoleTable, actuators: Actuators, timeout: Duration) -> str:
    """What keeps moving when no frame can be sent."""
    velocity = roles.get("velocity.x")
    speed = "unknown speed" if velocity is None else f"{velocity.value} mm/s when last measured"
    if actuators.timeout_register is not None:
        return f"No frame can be sent. The drives stop by their own time-out of {timeout}; {speed}."
    return (
        f"No frame can be sent. These drives have no time-out and keep their last command: {speed}. "
        "Press the red button."
    )
