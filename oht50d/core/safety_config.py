"""Settings of the safety kernel, the stop sequences and the jog lease (defaults from SAFETY.md; no state)."""

import enum
from collections.abc import Callable
from typing import Any

from attrs import Attribute, field, frozen, validators

from oht50d.core.zones import ZoneConfig
from oht50d.model.units import Duration

_Validator = Callable[[Any, "Attribute[Any]", Any], Any]
_POSITIVE: _Validator = validators.gt(0)


def _ms(milliseconds: float) -> Duration:
    return Duration(round(milliseconds * 1_000_000))


def _positive_duration(_: object, attribute: "Attribute[Any]", duration: Duration) -> None:
    if duration.ns <= 0:
        raise ValueError(f"{attribute.name} must be longer than zero")


def _at_most(limit: Duration) -> _Validator:
    def check(_: object, attribute: "Attribute[Any]", duration: Duration) -> None:
        if not 0 < duration.ns <= limit.ns:
            raise ValueError(f"{attribute.name} must be above zero and at most {limit}")

    return check


def _between(low: Duration, high: Duration) -> _Validator:
    def check(_: object, attribute: "Attribute[Any]", duration: Duration) -> None:
        if not low.ns <= duration.ns <= high.ns:
            raise ValueError(f"{attribute.name} must lie within {low} and {high}")

    return check


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


def _begins_with_a_frame(_: object, attribute: "Attribute[Any]", steps: tuple[StopStep, ...]) -> None:
    if not steps or steps[0] in _WAITING:
        raise ValueError(f"{attribute.name} must begin with a step that sends a frame")


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
        validator=(_sequence_is_complete, _begins_with_a_frame),
    )
    s2_steps: tuple[StopStep, ...] = field(
        default=(
            StopStep.SETPOINT_ZERO,
            StopStep.AWAIT_STANDSTILL,
            StopStep.HOLD,
            StopStep.BRAKE_ON,
            StopStep.DRIVES_OFF,
        ),
        validator=(_sequence_is_complete, _begins_with_a_frame),
    )
    read_back_limit: Duration = field(default=_ms(300), validator=_at_most(_ms(300)))
    not_confirmed_after: Duration = field(default=_ms(500), validator=_at_most(_ms(500)))
    standstill_limit: Duration = field(default=_ms(1500), validator=_at_most(_ms(20_000)))
    hold: Duration = field(default=_ms(2000), validator=_at_most(_ms(30_000)))
    standstill_mm_s: float = field(default=10.0, validator=(_POSITIVE, validators.le(20.0)))
    standstill_hold: Duration = field(default=_ms(100), validator=_between(_ms(100), _ms(1000)))
    repeat_interval: Duration = field(default=_ms(40), validator=_between(_ms(10), _ms(100)))
    assumed_deceleration_mm_s2: float = field(default=200.0, validator=_POSITIVE)
    assumed_brake_delay: Duration = field(default=_ms(150), validator=_positive_duration)


@frozen(kw_only=True)
class JogConfig:
    """The hold-to-run lease; its age is server time only (SAFETY.md, Latch, reset, authority)."""

    nonce_interval: Duration = field(default=_ms(100), validator=_at_most(_ms(100)))
    lease: Duration = field(default=_ms(180), validator=_at_most(_ms(180)))
    duty_ratio: float = field(default=0.04, validator=(_POSITIVE, validators.le(0.1)))


@frozen(kw_only=True)
class SafetyConfig:
    """Limits of the safety kernel. A site may make them stricter; none can be switched off by a zero."""

    step: Duration = field(default=_ms(10), validator=_at_most(_ms(50)))
    permit_life: Duration = field(default=_ms(150), validator=_at_most(_ms(150)))
    loop_gap: Duration = field(default=_ms(50), validator=_at_most(_ms(50)))
    moving_loss: Duration = field(default=_ms(150), validator=_at_most(_ms(150)))
    resting_travel_loss: Duration = field(default=_ms(1000), validator=_at_most(_ms(1000)))
    resting_dock_loss: Duration = field(default=_ms(10_000), validator=_at_most(_ms(10_000)))
    power_loss: Duration = field(default=_ms(5000), validator=_at_most(_ms(5000)))
    speed_ceiling_mm_s: float = field(default=500.0, validator=(_POSITIVE, validators.le(2000.0)))
    no_timeout_speed_mm_s: float = field(default=300.0, validator=(_POSITIVE, validators.le(300.0)))
    uncommissioned_speed_mm_s: float = field(default=100.0, validator=(_POSITIVE, validators.le(100.0)))
    brake_wiring: BrakeWiring = BrakeWiring.UNKNOWN
    drive_mode: DriveMode = DriveMode.LINEAR
    drive_timeout: Duration = field(default=_ms(200), validator=_between(_ms(50), _ms(200)))
    wrong_way_mm_s: float = field(default=30.0, validator=(_POSITIVE, validators.le(100.0)))
    disagreement_ratio: float = field(default=0.25, validator=(_POSITIVE, validators.le(0.5)))
    disagreement_time: Duration = field(default=_ms(300), validator=_at_most(_ms(1000)))
    reset_hold: Duration = field(default=_ms(1000), validator=_between(_ms(1000), _ms(5000)))
    stop: StopConfig = field(factory=StopConfig)
    jog: JogConfig = field(factory=JogConfig)
    zones: ZoneConfig = field(factory=ZoneConfig)
