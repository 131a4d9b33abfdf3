"""The failsafe table: what each cause does, whether it latches and how it is cured (SAFETY.md; no state).

Code, documents, page and tests are drawn from this one table.
"""

import enum
from collections.abc import Mapping

from attrs import frozen

from oht50d.model.motion import Cause, CauseCode, StopKind


class Latching(enum.Enum):
    """When a cause trips the latch: always, only while in motion, never."""

    ALWAYS = "always"
    MOVING = "moving"
    NEVER = "never"


@frozen
class Failsafe:
    """One row: `stop` is what happens while moving (None: it only inhibits a start).

    `is_ordinary`: part of everyday work, such as nobody asking for motion; it is no reason for a warning.
    """

    code: CauseCode
    title: str
    stop: StopKind | None
    latching: Latching
    is_person_related: bool
    remedy: str
    is_ordinary: bool = False

    @property
    def is_latching(self) -> bool:
        return self.latching is not Latching.NEVER


_S0, _S1, _S2 = StopKind.S0, StopKind.S1, StopKind.S2
_ALWAYS, _MOVING, _NEVER = Latching.ALWAYS, Latching.MOVING, Latching.NEVER
_C = CauseCode
_AT_VEHICLE = " Then hold the reset button on the vehicle for one second and let go."

# fmt: off
_ROWS: tuple[Failsafe, ...] = (
    Failsafe(_C.CHAIN_OPEN, "The emergency stop chain is open", _S0, _ALWAYS, True,
             "Find out who pressed it and why, release the button." + _AT_VEHICLE),
    Failsafe(_C.SAFETY_LOST, "The safety module does not answer", _S0, _ALWAYS, True,
             "Check the safety module's supply and its RS485 plug." + _AT_VEHICLE),
    Failsafe(_C.SAFETY_ERROR, "The safety module reports an error", _S0, _ALWAYS, True,
             "Read safety_status and safety_error, cure the module." + _AT_VEHICLE),
    Failsafe(_C.OVERSPEED, "Measured speed is above the limit", _S0, _ALWAYS, True,
             "Check drives, load and slope before moving again." + _AT_VEHICLE),
    Failsafe(_C.WRONG_WAY, "The carriage moves against the commanded direction", _S0, _ALWAYS, True,
             "Check motor wiring and the sign of the location sensor." + _AT_VEHICLE),
    Failsafe(_C.DRIVES_DISAGREE, "The two drives disagree", _S0, _ALWAYS, True,
             "Check both drives for slip, blockage and wiring." + _AT_VEHICLE),
    Failsafe(_C.UNCOMMANDED, "A drive is switched on that nobody switched on", _S0, _ALWAYS, True,
             "Look for a second master on the bus or a faulty drive board." + _AT_VEHICLE),
    Failsafe(_C.UNDRIVEN_MOTION, "The carriage moves although nothing drives it", _S0, _ALWAYS, True,
             "Check the brake and the slope of the track; keep people away." + _AT_VEHICLE),
    Failsafe(_C.STOP_UNVERIFIED, "A stop was not confirmed by the drives", _S0, _ALWAYS, True,
             "Press the red button. Check the bus and the drives." + _AT_VEHICLE),
    Failsafe(_C.STOP_LATE, "Standstill was not measured in time", _S0, _ALWAYS, True,
             "Press the red button. Check brake and drives." + _AT_VEHICLE),
    Failsafe(_C.BUS_LOST, "The field bus is closed", _S1, _ALWAYS, False,
             "Check the USB or serial adapter; the port is reopened by itself. Then reset."),
    Failsafe(_C.TRAVEL_LOST, "The travel drives do not answer", _S1, _ALWAYS, False,
             "Check the motor module's supply and its RS485 plug. Then reset."),
    Failsafe(_C.POSITION_LOST, "The location module does not answer", _S1, _ALWAYS, False,
             "Check the dock and location module's supply and its RS485 plug. Then reset."),
    Failsafe(_C.NO_MOTION, "The drives turn and nothing is measured to move", _S1, _ALWAYS, False,
             "Look for slipping wheels or a stuck brake, and check the location sensor. Then reset."),
    Failsafe(_C.POWER_LOST, "The power module does not answer", _S1, _MOVING, False,
             "Check the power module's supply and its RS485 plug."),
    Failsafe(_C.DRIVE_ERROR, "A drive reports an error", _S1, _ALWAYS, False,
             "Read motor error code, cure the drive, then reset."),
    Failsafe(_C.MOTION_UNKNOWN, "A motion command was not answered", _S1, _MOVING, False,
             "Check the bus quality to the motor module. Then reset."),
    Failsafe(_C.PERMIT_EXPIRED, "The permission to move ran out", _S1, _MOVING, False,
             "The control program was too slow or faulty; look at the log. Then reset."),
    Failsafe(_C.LOOP_GAP, "The control program was not running for a moment", _S1, _MOVING, False,
             "Look for load on this computer. Then reset."),
    Failsafe(_C.MODULE_CHANGED, "Another module is in the place of a known one", _S1, _MOVING, False,
             "Check its set-up, then accept it with `oht50ctl modules accept` and its serial number."),
    Failsafe(_C.BUS_SCAN, "A bus scan is under way", _S1, _ALWAYS, False,
             "Wait until it is over, or cancel it. Then look at the robot and reset."),
    Failsafe(_C.BUS_TOO_SLOW, "The bus is too slow for safe motion", _S1, _MOVING, False,
             "Look at `oht50d check` and the modules' reply times: a slow module, adapter or baud rate. Then reset."),
    Failsafe(_C.OPERATOR_STOP, "STOP was pressed", _S1, _ALWAYS, False,
             "Make sure that nobody is in danger, then hold RESET for one second and let go."),
    Failsafe(_C.SHUTDOWN, "The control program is shutting down", _S1, _ALWAYS, False, "Start it again."),
    Failsafe(_C.CRASH, "A part of the control program failed", _S1, _ALWAYS, False,
             "Look at the log, report it. Then reset."),
    Failsafe(_C.BOOT, "The control program has just started", None, _ALWAYS, False,
             "Look at the robot, then hold RESET for one second and let go."),
    Failsafe(_C.ZONE_STOP, "Something is inside the stop zone", _S1, _NEVER, False,
             "Clear the way, or move away from it."),
    Failsafe(_C.SECTOR_UNKNOWN, "The LiDAR does not see part of the way", _S1, _NEVER, False,
             "Clean the window; too few returns count as unknown, not as free."),
    Failsafe(_C.LIDAR_SILENT, "The LiDAR has gone silent", _S1, _NEVER, False,
             "Check the LiDAR's cable and motor."),
    Failsafe(_C.LIDAR_ABSENT, "The LiDAR is not scanning", _S1, _NEVER, False, "See the LiDAR's own cause and remedy."),
    Failsafe(_C.SAFETY_AUTO_RESET, "The safety module may reset itself", _S1, _NEVER, False,
             "Set auto_reset_enable (0x0052) of the safety module to 0 with motor power isolated."),
    Failsafe(_C.NO_EVIDENCE, "Inputs since the last gap are not complete yet", _S1, _NEVER, False,
             "Wait for one LiDAR turn and one answer of the safety module."),
    Failsafe(_C.PAUSED, "Paused", _S2, _NEVER, False, "Press the jog button again.", is_ordinary=True),
    Failsafe(_C.JOG_RELEASED, "The jog button was released or its link was late", _S2, _NEVER, False,
             "Let go of the button and press it again.", is_ordinary=True),
    Failsafe(_C.MODULE_MISSING, "A module was not found yet", None, _NEVER, False,
             "Check its supply, its address and the RS485 plug."),
    Failsafe(_C.LISTEN_ONLY, "This program only listens to the bus", None, _NEVER, False,
             "Set bus.listen_only to false and start it again; see that no other master is on the bus."),
    Failsafe(_C.REGISTER_REFUSED, "A module refuses a register that motion hangs on", None, _NEVER, False,
             "Check the module's firmware against its register map."),
    Failsafe(_C.MIXED_SIMULATION, "Simulated and real devices are mixed", None, _NEVER, False,
             "Simulate everything or nothing."),
    Failsafe(_C.BRAKE_UNKNOWN, "The brake's wiring is not commissioned", None, _NEVER, False,
             "Set safety.brake_wiring after the brake test.", is_ordinary=True),
    Failsafe(_C.STOPPING, "A stop is under way", None, _NEVER, False,
             "Wait until standstill is measured and all outputs are confirmed to be off."),
    Failsafe(_C.RELEASE_FIRST, "The button must be released first", None, _NEVER, False,
             "Let go of the button and press it again.", is_ordinary=True),
    Failsafe(_C.NO_AUTHORITY, "Nobody has taken control", None, _NEVER, False,
             "Sign in and take control.", is_ordinary=True),
    Failsafe(_C.NO_DEMAND, "Nobody asks for motion", None, _NEVER, False, "Hold a jog button.", is_ordinary=True),
)
# fmt: on

FAILSAFES: Mapping[CauseCode, Failsafe] = {row.code: row for row in _ROWS}

_RANK = {row.code: rank for rank, row in enumerate(_ROWS)}


def by_severity(causes: list[Cause]) -> tuple[Cause, ...]:
    """Sorted as the table stands, one cause a code and hit zone: the most severe first."""
    return tuple(sorted(causes, key=lambda cause: (_RANK[cause.code], cause.since_ns)))


def titles(causes: tuple[Cause, ...]) -> str:
    """The causes in words, for records and messages."""
    return "; ".join(FAILSAFES[cause.code].title for cause in causes)


def stop_kind(causes: tuple[Cause, ...]) -> StopKind | None:
    """The most severe stop that any of the causes asks for."""
    kinds = [kind for cause in causes if (kind := FAILSAFES[cause.code].stop) is not None]
    return max(kinds, default=None)
