"""How often each poll class is read, in which order classes give way, and which are read more often when something
happens (no state).

Source of the rates and of the first two steps of the order: DECISIONS, "poll rates". The rest of the order is ours
(ADR 0015): what a person looks at gives way before what is judged, and nothing gives way to a class below it.
"""

from collections.abc import Mapping

from attrs import frozen

from oht50d.model.registers import PollClass
from oht50d.model.units import Duration


@frozen
class Rate:
    """The shortest period of a poll class at standstill and while moving."""

    rest: Duration
    moving: Duration

    def period_ns(self, *, is_moving: bool) -> int:
        return self.moving.ns if is_moving else self.rest.ns


def _rate(rest: str, moving: str | None = None) -> Rate:
    return Rate(Duration.parse(rest), Duration.parse(moving or rest))


RATES: Mapping[PollClass, Rate] = {
    PollClass.SAFETY: _rate("50ms"),
    PollClass.MOTOR: _rate("50ms"),
    PollClass.POSITION: _rate("100ms", "50ms"),
    PollClass.DOCK: _rate("100ms"),
    PollClass.IMU: _rate("100ms"),
    PollClass.INPUTS: _rate("200ms"),
    PollClass.BATTERY: _rate("1s"),
    PollClass.AUXILIARY: _rate("1s"),
    PollClass.SLOW: _rate("5s"),
    PollClass.STATIC: _rate("30s"),
}
RANKS: Mapping[PollClass, int] = {poll: rank for rank, poll in enumerate(RATES)}
"""Of equal deadlines the lower rank goes first."""
VITAL = frozenset({PollClass.SAFETY, PollClass.MOTOR, PollClass.POSITION})
"""Classes whose silence stops a moving robot: once due they go before everything but stops, and never give way."""

Periods = Mapping[PollClass, int]
"""Nanoseconds by class."""


@frozen
class YieldStep:
    """One step of giving way: this class is read no more often than each `period`.

    `is_moving_only`: the reset button is held at standstill, so the inputs keep their rate there.
    """

    poll: PollClass
    period: Duration
    is_moving_only: bool = False


YIELDS: tuple[YieldStep, ...] = (
    YieldStep(PollClass.IMU, Duration.parse("500ms")),
    YieldStep(PollClass.DOCK, Duration.parse("200ms")),
    YieldStep(PollClass.INPUTS, Duration.parse("1s"), is_moving_only=True),
    YieldStep(PollClass.AUXILIARY, Duration.parse("5s")),
    YieldStep(PollClass.SLOW, Duration.parse("15s")),
    YieldStep(PollClass.STATIC, Duration.parse("1min")),
    YieldStep(PollClass.BATTERY, Duration.parse("2s")),
)
"""In this order. The battery goes last and not below 2 s: it is lost after 5 s, and two readings must fit into that."""


def periods(level: int, *, is_moving: bool) -> dict[PollClass, int]:
    """The periods when the first `level` steps have given way."""
    found = {poll: rate.period_ns(is_moving=is_moving) for poll, rate in RATES.items()}
    for step in YIELDS[:level]:
        if is_moving or not step.is_moving_only:
            found[step.poll] = max(found[step.poll], step.period.ns)
    return found


@frozen
class Rise:
    """A class that is read each `period` for `hold` after a code in it changed, or while it reports a fault."""

    period: Duration
    hold: Duration


def _rise(period: str, hold: str) -> Rise:
    return Rise(Duration.parse(period), Duration.parse(hold))


RISES: Mapping[PollClass, Rise] = {
    PollClass.INPUTS: _rise("100ms", "2s"),
    PollClass.BATTERY: _rise("500ms", "10s"),
    PollClass.AUXILIARY: _rise("250ms", "5s"),
    PollClass.SLOW: _rise("1s", "15s"),
}
"""Only from what the wire has left, and never for a class that has given way."""
CODE_UNITS = frozenset({"bool", "enum", "bitmap", "code"})
"""Units whose every change means something; other numbers have noise and raise nothing."""
FAULT_ROLES = frozenset({"module.error"})
FAULT_UNITS = frozenset({"code"})
"""A word that is not 0 in one of these is a fault for as long as it stands."""
