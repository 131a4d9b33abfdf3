"""The reaction sum: how long and how far until standstill, cause by cause (SAFETY.md, Speed; pure).

Every stage is a worst case taken from settings or from the length of frames; `oht50d check` prints the sums and the
acceptance tests hold the simulated plant to them.
"""

from collections.abc import Sequence

from attrs import frozen

from oht50d.codec.rtu import silence_ns
from oht50d.core.poll_plan import PollPlan, transaction_ns, worst_block_ns
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import WireTimes

BEGIN_LIMIT_NS = 10_000_000
TURNAROUND_NS = 3_000_000
"""Assumed worst turnaround of a healthy module."""
SAFETY_PERIOD_NS = 50_000_000
LIDAR_LAG_NS = 30_000_000
"""A capsule is decoded when the next one is complete, and a sector when the beam has left it."""
SCHEDULING_NS = 15_000_000
"""Wake-ups of this process between two stages, by the goal for the stop latency (DECISIONS, stop timing)."""
_FC16_REQUEST, _FC16_REPLY = 15, 8


@frozen
class Stage:
    """One part of a reaction."""

    name: str
    ns: int


@frozen
class ReactionSum:
    """Stages from the moment something happens to standstill; distance at a constant speed, then ramp."""

    cause: str
    stages: tuple[Stage, ...]
    speed_mm_s: float
    deceleration_mm_s2: float

    @property
    def until_output_zero_ns(self) -> int:
        return sum(stage.ns for stage in self.stages)

    @property
    def ramp_ns(self) -> int:
        return round(self.speed_mm_s / self.deceleration_mm_s2 * 1e9)

    @property
    def total_ms(self) -> float:
        return (self.until_output_zero_ns + self.ramp_ns) / 1e6

    @property
    def distance_mm(self) -> float:
        travel_s = self.until_output_zero_ns / 1e9
        return self.speed_mm_s * travel_s + self.speed_mm_s**2 / (2 * self.deceleration_mm_s2)

    def lines(self) -> list[str]:
        """The sum as printed by `oht50d check`."""
        parts = [f"  {stage.name:<46} {stage.ns / 1e6:8.1f} ms" for stage in self.stages]
        ramp = f"  {'ramp at ' + format(self.deceleration_mm_s2, '.0f') + ' mm/s2':<46} {self.ramp_ns / 1e6:8.1f} ms"
        total = f"  {'at rest after':<46} {self.total_ms:8.1f} ms, {self.distance_mm:.0f} mm"
        return [f"{self.cause} (at {self.speed_mm_s:.0f} mm/s)", *parts, ramp, total]


@frozen(kw_only=True)
class ReactionModel:
    """What the sums are made from."""

    config: SafetyConfig
    plan: PollPlan
    times: WireTimes
    baud: int
    drives: int
    has_drive_timeout: bool
    speed_mm_s: float
    safety_gap_ns: int = SAFETY_PERIOD_NS
    """The longest time between two readings of the safety module while moving (`admission.py`)."""

    def sums(self) -> tuple[ReactionSum, ...]:
        """One sum per cause."""
        step = Stage("guardian step", self.config.step.ns)
        bus = self._bus()
        safety_read = Stage("safety poll: gap, exchange, one retry", self.safety_gap_ns + 2 * self._longest_ns())
        loss = Stage("silence until lost", self.config.moving_loss.ns)
        zones = self.config.zones
        turns = f"LiDAR: {zones.sector_age_turns:g} of its slowest turns, decoding"
        lidar = Stage(turns, round(zones.maximum_turn.ns * zones.sector_age_turns) + LIDAR_LAG_NS)
        silence = Stage("LiDAR link silence", self.config.zones.link_silence.ns)
        rows: list[tuple[str, tuple[Stage, ...]]] = [
            ("STOP or SIGTERM", bus),
            ("obstacle in the stop zone", (lidar, step, *bus)),
            ("LiDAR silent", (silence, step, *bus)),
            ("safety bit", (safety_read, step, *bus)),
            ("module lost", (loss, step, *bus, Stage("time-outs of a silent module", 2 * self.times.other_ns))),
            ("jog lease lost", (Stage("lease", self.config.jog.lease.ns), step, *bus)),
        ]
        if self.has_drive_timeout:
            rows.append(("bus closed, drives time out", (Stage("drive time-out", self.config.drive_timeout.ns),)))
        return tuple(self._sum(cause, stages) for cause, stages in rows)

    def after_detection(self) -> ReactionSum:
        """From the detection of any cause to standstill."""
        return self._sum("after detection", (Stage("guardian step", self.config.step.ns), *self._bus()))

    def _sum(self, cause: str, stages: Sequence[Stage]) -> ReactionSum:
        return ReactionSum(cause, tuple(stages), self.speed_mm_s, self.config.stop.assumed_deceleration_mm_s2)

    def _longest_ns(self) -> int:
        return worst_block_ns(self.plan.blocks, self.baud, TURNAROUND_NS)

    def _bus(self) -> tuple[Stage, ...]:
        write_ns = transaction_ns(self.baud, _FC16_REQUEST, _FC16_REPLY, TURNAROUND_NS)
        return (
            Stage("scheduling of this process", SCHEDULING_NS),
            Stage("exchange under way, finished or abandoned", max(self._longest_ns(), BEGIN_LIMIT_NS + write_ns)),
            Stage("noise on the line, three silences a frame", self.drives * 3 * silence_ns(self.baud)),
            Stage(f"stop frames of {self.drives} drives", self.drives * write_ns),
        )
