"""The roles that motion hangs on: what happens if their register cannot be read (no state; SAFETY.md, Inputs).

True: the value is judged at the rate of its poll class. False: it is set or proved once and looked at now and then.
"""

import re
from collections.abc import Mapping

_DRIVE = re.compile(r"drive\.[1-9]\.")

NEEDED_ROLES: Mapping[str, bool] = {
    "chain.open": True,
    "safety.status": True,
    "safety.error": True,
    "velocity.x": True,
    "drive.N.enable": True,
    "drive.N.setpoint": True,
    "drive.N.linear_input": True,
    "drive.N.direction": True,
    "drive.N.actual_speed": True,
    "drive.N.error": True,
    "drive.N.mode": False,
    "drive.communication_timeout": False,
    "brake.release": False,
    "safety.auto_reset": False,
    "module.error": False,
    "battery.soc": False,
    "identity.type": False,
}


def is_needed(role: str | None) -> bool:
    """True if motion must not begin while the register with this role is refused."""
    return role is not None and _DRIVE.sub("drive.N.", role) in NEEDED_ROLES


def is_judged(role: str | None) -> bool:
    """True if every reading of this role is judged, so that it may not be read less often."""
    return role is not None and NEEDED_ROLES.get(_DRIVE.sub("drive.N.", role), False)
