"""Causes, permits, decisions, stops and command outcomes (no state; the rules are in SAFETY.md and `core/`)."""

import enum

from attrs import field, frozen

from oht50d.model.lidar import LidarPoint


class MachineState(enum.Enum):
    """The firmware's eleven states (DOMAIN 5.1); the value is the firmware's number."""

    INIT = 0
    IDLE = 1
    MOVE = 2
    DOCK = 3
    FAULT = 4
    ESTOP = 5
    SHUTDOWN = 6
    BOOT = 7
    PAUSED = 8
    CONFIG = 9
    SAFE = 10


class StopKind(enum.IntEnum):
    """Ascending severity, so that `max` escalates: monitored standstill, controlled, uncontrolled."""

    S2 = 2
    S1 = 11
    S0 = 20

    @property
    def label(self) -> str:
        return self.name


class Direction(enum.Enum):
    """Direction of travel along the track; the value is the drive's code (travel motor register 0x0007)."""

    FORWARD = 1
    REVERSE = 2


class CauseCode(enum.Enum):
    """Every reason why the robot stops or may not move; its row is in `core/failsafes.py`."""

    BOOT = "boot"
    OPERATOR_STOP = "operator_stop"
    SHUTDOWN = "shutdown"
    CRASH = "crash"
    CHAIN_OPEN = "chain_open"
    SAFETY_LOST = "safety_lost"
    SAFETY_ERROR = "safety_error"
    SAFETY_AUTO_RESET = "safety_auto_reset"
    TRAVEL_LOST = "travel_lost"
    POSITION_LOST = "position_lost"
    POWER_LOST = "power_lost"
    BUS_LOST = "bus_lost"
    DRIVE_ERROR = "drive_error"
    DRIVES_DISAGREE = "drives_disagree"
    OVERSPEED = "overspeed"
    WRONG_WAY = "wrong_way"
    STOP_UNVERIFIED = "stop_unverified"
    STOP_LATE = "stop_late"
    ZONE_STOP = "zone_stop"
    SECTOR_UNKNOWN = "sector_unknown"
    LIDAR_SILENT = "lidar_silent"
    LIDAR_ABSENT = "lidar_absent"
    LOOP_GAP = "loop_gap"
    PERMIT_EXPIRED = "permit_expired"
    JOG_RELEASED = "jog_released"
    MIXED_SIMULATION = "mixed_simulation"
    BRAKE_UNKNOWN = "brake_unknown"
    NO_AUTHORITY = "no_authority"
    NO_DEMAND = "no_demand"
    PAUSED = "paused"
    RELEASE_FIRST = "release_first"
    MOTION_UNKNOWN = "motion_unknown"
    UNCOMMANDED = "uncommanded"
    UNDRIVEN_MOTION = "undriven_motion"
    NO_MOTION = "no_motion"
    BUS_TOO_SLOW = "bus_too_slow"
    REGISTER_REFUSED = "register_refused"
    MODULE_MISSING = "module_missing"
    NO_EVIDENCE = "no_evidence"
    STOPPING = "stopping"
    MODULE_CHANGED = "module_changed"
    BUS_SCAN = "bus_scan"
    LISTEN_ONLY = "listen_only"


@frozen
class ZoneHit:
    """A zone that is violated: which one, in which sector, by which points, how old."""

    zone: str
    limit_mm: float
    sector: int
    nearest_mm: float
    points: tuple[LidarPoint, ...]
    seen_ns: int


@frozen
class Cause:
    """One reason, with the time since when it holds and what showed it.

    `place` tells causes of one code apart that hold side by side: the module or drive; empty where there is only one.
    """

    code: CauseCode
    since_ns: int
    detail: str = ""
    hit: ZoneHit | None = None
    place: str = ""


@frozen
class MotionDemand:
    """What a holder of authority asks for: duty 0..1 of full output in one direction."""

    direction: Direction
    duty_ratio: float


@frozen
class Permit:
    """A speed limit with an expiry; motion frames need one that is valid when they are encoded."""

    sequence: int
    granted_ns: int
    expires_ns: int
    direction: Direction
    speed_limit_mm_s: float
    duty_limit_ratio: float

    def is_valid(self, now_ns: int) -> bool:
        return self.granted_ns <= now_ns < self.expires_ns


@frozen
class Decision:
    """The outcome of one safety step: a permit with a demand, or a stop, or neither (standing still).

    `stop_causes` are the reasons to stop now, `inhibits` the reasons why motion may not start; both are sorted
    by severity. `hits` is the evidence of every violated zone, in the direction of travel or not.
    """

    sequence: int
    decided_ns: int
    permit: Permit | None
    demand: MotionDemand | None
    stop: StopKind | None
    stop_causes: tuple[Cause, ...]
    inhibits: tuple[Cause, ...]
    hits: tuple[ZoneHit, ...] = ()


class CommandOutcome(enum.Enum):
    """How far a command got; for a stop `verified` means standstill measured."""

    REJECTED = "rejected"
    SENT = "sent"
    ACKNOWLEDGED = "acknowledged"
    VERIFIED = "verified"
    UNKNOWN = "unknown"


class StopPhase(enum.Enum):
    """Where a stop stands, in the words of the page."""

    IDLE = "idle"
    SENDING = "sending"
    STOPPING = "stopping"
    STANDSTILL = "standstill"
    NOT_CONFIRMED = "not_confirmed"


@frozen
class StopReport:
    """One stop with the four times that are always told: detected, first frame, output zero, standstill.

    Times are Trio-clock nanoseconds; None is not reached (yet). `predicted_ms` is the reaction sum's bound from
    detection to standstill.
    """

    number: int
    kind: StopKind
    causes: tuple[Cause, ...]
    phase: StopPhase
    detected_ns: int
    first_frame_ns: int | None = None
    output_zero_ns: int | None = None
    standstill_ns: int | None = None
    predicted_ms: float | None = None
    residual: str = ""
    unconfirmed_units: tuple[int, ...] = field(default=())

    @property
    def outcome(self) -> CommandOutcome:
        match self.phase:
            case StopPhase.STANDSTILL:
                return CommandOutcome.VERIFIED
            case StopPhase.STOPPING:
                return CommandOutcome.ACKNOWLEDGED
            case StopPhase.NOT_CONFIRMED | StopPhase.IDLE:
                return CommandOutcome.UNKNOWN
            case StopPhase.SENDING:
                return CommandOutcome.SENT
