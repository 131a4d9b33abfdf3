"""Settings of the safety kernel, the stop sequences and the jog lease (defaults from SAFETY.md; no state)."""

import enum
from typing import Any

from attrs import Attribute, field, frozen, validators

from oht50d.core.zones import ZoneConfig
from oht50d.model.units import Duration, SettingClash, Validator, between, milliseconds

_AT_LEAST_1: Validator = validators.ge(1.0)


class BrakeWiring(enum.Enum):
    """Commissioned polarity of the brake relay; unknown wiring is never driven (SAFETY.md, Stopping)."""

    UNKNOWN = "unknown"
    ENERGISE_TO_RELEASE = "energise_to_release"
    ENERGISE_TO_BRAKE = "energise_to_brake"


class DriveMode(enum.IntEnum):
    """How a drive takes its demand (travel motor register 0x0000)."""

    ON_OFF = 1
    LINEAR = 2


class StopStep(enum.Enum):
    """The steps that a stop sequence is made of."""

    SETPOINT_ZERO = "setpoint_zero"
    AWAIT_STANDSTILL = "await_standstill"
    HOLD = "hold"
    BRAKE_ON = "brake_on"
    DRIVES_OFF = "drives_off"


def _sequence_is_complete(_: object, attribute: "Attribute[Any]", steps: tuple[StopStep, ...]) -> None:
    missing = {StopStep.BRAKE_ON, StopStep.DRIVES_OFF} - set(steps)
    if missing or len(set(steps)) != len(steps):
        raise ValueError(f"{attribute.name} must hold brake_on and drives_off and each step once")


_WAITING = frozenset({StopStep.AWAIT_STANDSTILL, StopStep.HOLD})


def _ramps_first(_: object, attribute: "Attribute[Any]", steps: tuple[StopStep, ...]) -> None:
    if not steps or steps[0] is not StopStep.SETPOINT_ZERO:
        raise ValueError(f"{attribute.name} must begin with setpoint_zero")


def _does_not_hold(_: object, attribute: "Attribute[Any]", steps: tuple[StopStep, ...]) -> None:
    if StopStep.HOLD in steps:
        raise ValueError(f"{attribute.name} may not hold: only s2_steps may")


def _never_waits(_: object, attribute: "Attribute[Any]", steps: tuple[StopStep, ...]) -> None:
    if _WAITING & set(steps):
        raise ValueError(f"{attribute.name} must act at once: it may not wait or hold")


@frozen(kw_only=True)
class StopConfig:
    """The stop sequences as site data: steps, order, hold and limits (SAFETY.md, Stopping)."""

    s0_steps: tuple[StopStep, ...] = field(
        default=(StopStep.DRIVES_OFF, StopStep.BRAKE_ON), validator=(_sequence_is_complete, _never_waits)
    )
    s1_steps: tuple[StopStep, ...] = field(
        default=(StopStep.SETPOINT_ZERO, StopStep.AWAIT_STANDSTILL, StopStep.BRAKE_ON, StopStep.DRIVES_OFF),
        validator=(_sequence_is_complete, _ramps_first, _does_not_hold),
    )
    s2_steps: tuple[StopStep, ...] = field(
        default=(
            StopStep.SETPOINT_ZERO,
            StopStep.AWAIT_STANDSTILL,
            StopStep.HOLD,
            StopStep.BRAKE_ON,
            StopStep.DRIVES_OFF,
        ),
        validator=(_sequence_is_complete, _ramps_first),
    )
    read_back_limit: Duration = field(default=milliseconds(300), validator=between(milliseconds(50), milliseconds(300)))
    not_confirmed_after: Duration = field(
        default=milliseconds(500), validator=between(milliseconds(50), milliseconds(500))
    )
    standstill_limit: Duration = field(
        default=milliseconds(1500), validator=between(milliseconds(100), milliseconds(5000))
    )
    hold: Duration = field(default=milliseconds(2000), validator=between(milliseconds(100), milliseconds(10_000)))
    standstill_mm_s: float = field(default=10.0, validator=(_AT_LEAST_1, validators.le(20.0)))
    standstill_hold: Duration = field(
        default=milliseconds(100), validator=between(milliseconds(100), milliseconds(1000))
    )
    repeat_interval: Duration = field(default=milliseconds(40), validator=between(milliseconds(10), milliseconds(100)))
    assumed_deceleration_mm_s2: float = field(default=200.0, validator=(validators.ge(10.0), validators.le(2000.0)))


@frozen(kw_only=True)
class JogConfig:
    """The hold-to-run lease; its age is server time only (SAFETY.md, Latch, reset, authority)."""

    nonce_interval: Duration = field(default=milliseconds(100), validator=between(milliseconds(20), milliseconds(100)))
    lease: Duration = field(default=milliseconds(180), validator=between(milliseconds(50), milliseconds(180)))
    duty_ratio: float = field(default=0.04, validator=(validators.ge(0.001), validators.le(0.1)))

    def __attrs_post_init__(self) -> None:
        if self.nonce_interval >= self.lease:
            raise SettingClash("nonce_interval", f"below the lease {self.lease}", self.nonce_interval)


@frozen(kw_only=True)
class SafetyConfig:
    """Limits of the safety kernel. A site may make them stricter; none can be switched off by a zero."""

    step: Duration = field(default=milliseconds(10), validator=between(milliseconds(2), milliseconds(50)))
    permit_life: Duration = field(default=milliseconds(150), validator=between(milliseconds(30), milliseconds(150)))
    loop_gap: Duration = field(default=milliseconds(50), validator=between(milliseconds(20), milliseconds(50)))
    moving_loss: Duration = field(default=milliseconds(150), validator=between(milliseconds(50), milliseconds(150)))
    resting_travel_loss: Duration = field(
        default=milliseconds(1000), validator=between(milliseconds(50), milliseconds(1000))
    )
    resting_dock_loss: Duration = field(
        default=milliseconds(10_000), validator=between(milliseconds(50), milliseconds(10_000))
    )
    power_loss: Duration = field(default=milliseconds(5000), validator=between(milliseconds(50), milliseconds(5000)))
    speed_ceiling_mm_s: float = field(default=500.0, validator=(_AT_LEAST_1, validators.le(2000.0)))
    no_timeout_speed_mm_s: float = field(default=300.0, validator=(_AT_LEAST_1, validators.le(300.0)))
    uncommissioned_speed_mm_s: float = field(default=100.0, validator=(_AT_LEAST_1, validators.le(100.0)))
    brake_wiring: BrakeWiring = BrakeWiring.UNKNOWN
    drive_mode: DriveMode = DriveMode.LINEAR
    drive_timeout: Duration = field(default=milliseconds(200), validator=between(milliseconds(50), milliseconds(200)))
    wrong_way_mm_s: float = field(default=30.0, validator=(_AT_LEAST_1, validators.le(100.0)))
    disagreement_ratio: float = field(default=0.25, validator=(validators.ge(0.01), validators.le(0.5)))
    disagreement_time: Duration = field(
        default=milliseconds(300), validator=between(milliseconds(10), milliseconds(1000))
    )
    no_motion_time: Duration = field(
        default=milliseconds(500), validator=between(milliseconds(200), milliseconds(1000))
    )
    reset_hold: Duration = field(default=milliseconds(1000), validator=between(milliseconds(1000), milliseconds(5000)))
    stop: StopConfig = field(factory=StopConfig)
    jog: JogConfig = field(factory=JogConfig)
    zones: ZoneConfig = field(factory=ZoneConfig)

    def __attrs_post_init__(self) -> None:
        # A step that is not repeated within these times would end every permit, or count every step as a gap.
        for name, limit in (("permit_life", self.permit_life), ("loop_gap", self.loop_gap)):
            if self.step.ns * 2 > limit.ns:
                raise SettingClash("step", f"at most half of {name} {limit}", self.step)
