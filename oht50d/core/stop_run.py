"""What a stop knows about itself and about the measured world (owner of a `StopRun`: the stop sequencer)."""

from attrs import define, field, frozen

from oht50d.core.safety_config import StopStep
from oht50d.core.stop_frames import StopItem
from oht50d.model.motion import Cause, StopKind


@frozen
class MotionFeedback:
    """What the sequence needs of the measured world; `velocity_requested_ns` is when the reading was asked for.

    `demand_requested_ns` is when the newest reading was asked for that shows a demand other than zero; None: none does.
    """

    velocity_mm_s: float | None
    velocity_requested_ns: int | None
    are_outputs_still: bool | None
    demand_requested_ns: int | None = None


@define
class StopRun:
    """One stop from its trip to measured standstill.

    `started_ns` is its (re)start, `evidence_from_ns` its first frame since then: only what was asked for after that
    frame can show standstill. `limits_from_ns` is what the time limits count from. `output_zero_ns` is when all demands
    were first read back as zero, `confirmed_ns` when they were since the frames were asked for last (`asked_ns`).
    """

    number: int
    kind: StopKind
    causes: tuple[Cause, ...]
    detected_ns: int
    steps: tuple[StopStep, ...]
    items: list[StopItem]
    predicted_ms: float | None
    started_ns: int
    limits_from_ns: int
    asked_ns: int
    is_judged: bool = True
    position: int = 0
    step_entered_ns: int | None = None
    first_frame_ns: int | None = None
    evidence_from_ns: int | None = None
    output_zero_ns: int | None = None
    confirmed_ns: int | None = None
    still_since_ns: int | None = None
    still_requested_ns: int = 0
    standstill_ns: int | None = None
    is_not_confirmed: bool = False
    is_done: bool = False
    extra_causes: list[Cause] = field(factory=list)

    @property
    def has_silent_drive(self) -> bool:
        """True if a drive has left the last attempt of a frame unanswered."""
        return any(item.drive is not None and item.silences > 0 and not item.is_echoed for item in self.items)
