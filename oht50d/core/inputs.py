"""What one safety step judges: every input with its age (no state; built by `core/robot_state.py`)."""

from collections.abc import Mapping

from attrs import frozen

from oht50d.core.role_table import RoleReading
from oht50d.model.lidar import LidarStatus
from oht50d.model.modules import ModuleTrust, Trust
from oht50d.model.motion import StopReport
from oht50d.model.registers import ModuleKind
from oht50d.model.snapshot import WireStatus


@frozen
class DriveFeedback:
    """One drive as read back; a field is None if it was never read."""

    number: int
    enable: RoleReading | None
    direction: RoleReading | None
    actual_speed: RoleReading | None
    error: RoleReading | None


@frozen
class ModuleInput:
    """The link to one module kind; `was_seen` stays True once it was identified in this boot.

    `last_valid_ns` is the age of what the module is there for (chain, drive speeds, velocity, battery), so that a
    module that answers everything but that counts as lost. `ended_silence` is from when to when that was not heard: the
    longest such time that ended since the last step. `error` is the module-wide error code as last read, `trust` the
    registry's word on whether it is the accepted module.
    """

    is_identified: bool
    was_seen: bool
    last_valid_ns: int | None
    problem: str
    error: int = 0
    trust: ModuleTrust = ModuleTrust(Trust.UNSEEN)
    ended_silence: tuple[int, int] | None = None


@frozen(kw_only=True)
class SafetyInputs:
    """One consistent set of inputs; a missing reading is None and counts against motion."""

    wire: WireStatus
    modules: Mapping[ModuleKind, ModuleInput]
    chain: RoleReading | None
    safety_status: RoleReading | None
    safety_error: RoleReading | None
    auto_reset: RoleReading | None
    reset_button: RoleReading | None
    velocity: RoleReading | None
    drives: tuple[DriveFeedback, ...]
    lidar: LidarStatus
    stop: StopReport | None
    is_stop_active: bool
    is_stop_judged: bool
    is_energised: bool
    is_set_up: bool
    has_drive_timeout: bool
    commanded_direction: int
    is_everything_simulated: bool
    is_anything_simulated: bool
    bus_refusal: str = ""
    """Why the bus is too slow for safe motion, with the sum; empty if it is not."""
    refused_needs: tuple[str, ...] = ()
    """Registers that motion hangs on and that their module refuses, in words."""
