"""Judgements of motion that need more than one reading (owner of these memories: safety kernel; pure).

Source: SAFETY.md, Stopping (S0 causes) and Inputs; one reading alone is noise, two that agree are evidence.
"""

from collections.abc import Iterator

from oht50d.core.inputs import DriveFeedback, SafetyInputs
from oht50d.core.safety_checks import SPEED_NOISE, do_drives_disagree, is_uncommanded, is_wrong_way
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.stop_sequence import MOVING_AGAIN
from oht50d.model.motion import Cause, CauseCode

SETTLE_NS = 300_000_000
"""Readings asked for within this time after the drives were let go may still show them switched on."""
NEEDED_READINGS = 2
"""How many readings must agree before a velocity speaks against somebody."""


class MotionWatch:
    """Compares what is commanded with what is measured. `observe` comes first in every step, then the questions."""

    def __init__(self, config: SafetyConfig, now_ns: int) -> None:
        self._config = config
        self._rolling_mm_s = MOVING_AGAIN * config.stop.standstill_mm_s
        self._unenergised_since_ns = now_ns
        self._disagreeing_since_ns: int | None = None
        self._motionless_since_ns: int | None = None
        self._direction = 0
        self._wrong_way_seen: set[int] = set()
        self._undriven_seen: set[int] = set()

    def observe(self, inputs: SafetyInputs, now_ns: int) -> None:
        """Take the present inputs."""
        velocity = inputs.velocity
        if inputs.is_energised or inputs.is_stop_active:
            self._unenergised_since_ns = now_ns
        is_undriven = self._is_rolling(inputs) and not inputs.is_energised and not inputs.is_stop_active
        _collect(self._undriven_seen, velocity.received_ns if velocity is not None and is_undriven else None)
        self._direction = self._driven_direction(inputs)
        is_wrong = is_wrong_way(inputs, self._direction, self._config.wrong_way_mm_s)
        _collect(self._wrong_way_seen, velocity.received_ns if velocity is not None and is_wrong else None)

    def is_in_motion(self, inputs: SafetyInputs) -> bool:
        """Energised, stopping, or measured to move. An S2 at standstill holds enabled drives and a released brake, so
        a stop counts until all its frames are read back."""
        if inputs.is_energised or inputs.is_stop_judged:
            return True
        return self._is_rolling(inputs) and (inputs.is_stop_active or self._is_undriven)

    def evaluate(self, inputs: SafetyInputs, now_ns: int, *, is_active: bool) -> Iterator[Cause]:
        """What the drives and the location source say against each other or against the command."""
        if self._is_uncommanded(inputs):
            yield Cause(CauseCode.UNCOMMANDED, now_ns, "a drive reports that it is switched on")
        if self._is_undriven and inputs.velocity is not None:
            yield Cause(CauseCode.UNDRIVEN_MOTION, now_ns, f"{inputs.velocity.value} mm/s measured")
        if len(self._wrong_way_seen) >= NEEDED_READINGS and inputs.velocity is not None:
            yield Cause(CauseCode.WRONG_WAY, now_ns, f"{inputs.velocity.value} mm/s measured")
        is_disagreeing = is_active and do_drives_disagree(inputs.drives, self._config.disagreement_ratio)
        self._disagreeing_since_ns = (self._disagreeing_since_ns or now_ns) if is_disagreeing else None
        if _lasts(self._disagreeing_since_ns, now_ns, self._config.disagreement_time.ns):
            yield Cause(CauseCode.DRIVES_DISAGREE, now_ns, _speeds(inputs.drives))
        self._motionless_since_ns = (self._motionless_since_ns or now_ns) if self._is_motionless(inputs) else None
        if _lasts(self._motionless_since_ns, now_ns, self._config.no_motion_time.ns):
            yield Cause(CauseCode.NO_MOTION, now_ns, f"{_speeds(inputs.drives)}, but no velocity is measured")

    def _driven_direction(self, inputs: SafetyInputs) -> int:
        """Where the drives were sent: kept while a stop brings the carriage to rest, for it must not roll back."""
        if inputs.is_energised:
            return inputs.commanded_direction
        is_stopping = inputs.is_stop_active and inputs.stop is not None and inputs.stop.standstill_ns is None
        return self._direction if is_stopping else 0

    @property
    def _is_undriven(self) -> bool:
        return len(self._undriven_seen) >= NEEDED_READINGS

    def _is_uncommanded(self, inputs: SafetyInputs) -> bool:
        is_let_go = not inputs.is_energised and not inputs.is_stop_active
        return is_let_go and is_uncommanded(inputs.drives, self._unenergised_since_ns + SETTLE_NS)

    def _is_rolling(self, inputs: SafetyInputs) -> bool:
        return inputs.velocity is not None and abs(float(inputs.velocity.value)) > self._rolling_mm_s

    def _is_motionless(self, inputs: SafetyInputs) -> bool:
        """Every drive turns and the location source says standstill: the overspeed guard would be blind."""
        speeds = [drive.actual_speed for drive in inputs.drives]
        is_turning = bool(speeds) and all(speed is not None and speed.raw > SPEED_NOISE for speed in speeds)
        velocity = inputs.velocity
        is_still = velocity is not None and abs(float(velocity.value)) <= self._config.stop.standstill_mm_s
        return inputs.is_energised and is_turning and is_still


def _collect(seen: set[int], moment_ns: int | None) -> None:
    """One more reading that speaks against it, or none: then all are forgotten. Bounded: two are enough."""
    if moment_ns is None:
        seen.clear()
    elif len(seen) < NEEDED_READINGS:
        seen.add(moment_ns)


def _lasts(since_ns: int | None, now_ns: int, limit_ns: int) -> bool:
    return since_ns is not None and now_ns - since_ns > limit_ns


def _speeds(drives: tuple[DriveFeedback, ...]) -> str:
    return ", ".join(f"drive {d.number}: {d.actual_speed.raw}" for d in drives if d.actual_speed is not None)
