"""The one table of register roles: the core knows these words and never a register's address (no state).

A role is written in a module map as `role = "..."`; `N` stands for a drive's number, 1 to 9. The motion set is that of
SAFETY.md, "Permits and what they do not cover".
"""

import re
from collections.abc import Mapping

from attrs import frozen

_DRIVE = re.compile(r"drive\.[1-9]\.")


@frozen
class RoleMeaning:
    """What a role means, whether the robot must be able to write it, and whether a write can cause motion."""

    meaning: str
    is_written: bool = False
    is_motion: bool = False


def _motion(meaning: str) -> RoleMeaning:
    return RoleMeaning(meaning, is_written=True, is_motion=True)


ROLES: Mapping[str, RoleMeaning] = {
    "drive.N.enable": _motion("power stage of the drive; 0 lets it coast"),
    "drive.N.setpoint": _motion("demanded duty; zero is the demand of a stop"),
    "drive.N.direction": _motion("direction code 0 idle, 1 forward, 2 reverse"),
    "drive.N.mode": _motion("drive law 1 on-off, 2 linear ramp, 3 PID"),
    "drive.N.linear_input": _motion("demand in linear mode; a stop zeroes it too"),
    "drive.N.linear_step": _motion("ramp step in linear mode"),
    "drive.N.linear_state": RoleMeaning("ramp going down or up"),
    "drive.N.actual_speed": RoleMeaning("measured speed, unsigned"),
    "drive.N.status": RoleMeaning("status bits of the drive"),
    "drive.N.error": RoleMeaning("error code of the drive; not 0 is a fault"),
    "drive.N.pid_kp": _motion("proportional gain"),
    "drive.N.pid_ki": _motion("integral gain"),
    "drive.N.pid_kd": _motion("derivative gain"),
    "drive.communication_timeout": _motion("silence after which the drive stops by itself; 0 switches that off"),
    "brake.release": _motion("energised means the brake is released"),
    "beacon": _motion("warning light"),
    "horn": _motion("warning sound"),
    "chain.open": RoleMeaning("1 while the E-stop chain is open"),
    "safety.status": RoleMeaning("overall state of the safety module"),
    "safety.error": RoleMeaning("error code of the safety module"),
    "safety.zone": RoleMeaning("violated zones of the module's own distance sensors, one bit each"),
    "safety.proximity": RoleMeaning("proximity alarms, one bit each"),
    "safety.auto_reset": _motion("whether the module clears trips by itself; must read back 0"),
    "reset.button": RoleMeaning("physical reset button at the vehicle"),
    "module.error": RoleMeaning("module-wide error code; not 0 is an error"),
    "module.reset_error": _motion("1 clears latched module errors"),
    "position.x": RoleMeaning("position along the track"),
    "velocity.x": RoleMeaning("signed speed along the track"),
    "battery.voltage": RoleMeaning("pack voltage"),
    "battery.current": RoleMeaning("pack current, signed"),
    "battery.soc": RoleMeaning("state of charge"),
    "battery.temperature": RoleMeaning("mean pack temperature"),
    "docking.status": RoleMeaning("progress of docking"),
    "identity.device_id": RoleMeaning("bus address as the module sees it"),
    "identity.type": RoleMeaning("class code of the module; must equal the map's type_code"),
    "identity.firmware": RoleMeaning("firmware revision"),
    "identity.hardware": RoleMeaning("hardware revision"),
    "identity.serial_low": RoleMeaning("serial number, bits 0 to 15"),
    "identity.serial_high": RoleMeaning("serial number, bits 16 to 31"),
    "identity.tag_low": RoleMeaning("first two letters of the module's tag"),
    "identity.tag_high": RoleMeaning("last two letters of the module's tag"),
}


def find_role(role: str) -> RoleMeaning | None:
    """The table's row for a role as written in a map, such as `drive.2.enable`; None if there is none."""
    return None if ".N." in role else ROLES.get(_DRIVE.sub("drive.N.", role))


def role_words() -> tuple[str, ...]:
    """Every role as it may be written, with drives 1 and 2 spelled out (for suggestions)."""
    return tuple(
        word
        for pattern in ROLES
        for word in ([pattern.replace("N", number) for number in "12"] if ".N." in pattern else [pattern])
    )
