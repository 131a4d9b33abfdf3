"""What of a robot's life becomes a telemetry row, how often, and how a history is thinned and bounded (pure).

State: a `TelemetrySampler` belongs to the recorder. Sources: the record's fields follow DOMAIN 10.1 and 10.2 in SI
units; the rates stay below DOMAIN 10.3, because a history is not a control loop; the age limits follow DOMAIN 3 and
DECISIONS, poll rates: a value older than that is unknown.
"""

import math
from collections.abc import Callable, Mapping

from attrs import frozen

from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import MachineState, StopPhase
from oht50d.model.records import TelemetryRow
from oht50d.model.registers import Quality, RegisterValue
from oht50d.model.snapshot import Snapshot
from oht50d.model.units import Duration

Cell = float | int | str | bool | None

REST_PERIOD = Duration.parse("5s")
MOVING_PERIOD = Duration.parse("200ms")
STANDSTILL_MM_S = 5.0
"""Below this a measured velocity counts as rest: the dock module's resolution is 1 mm/s and it is noisy."""

MAX_HISTORY_ROWS = 10_000
MAX_EVENT_ROWS = 1_000

_DRIVE_AGE = Duration.parse("1s")
_BATTERY_AGE = Duration.parse("5s")
_LIDAR_AGE = Duration.parse("1s")

_MOVING_STATES = frozenset({MachineState.MOVE, MachineState.DOCK})
_MOVING_PHASES = frozenset({StopPhase.SENDING, StopPhase.STOPPING, StopPhase.NOT_CONFIRMED})


@frozen
class TelemetryField:
    """One column of the history: its name (unit last) and where it comes from; None is unknown or stale."""

    name: str
    read: Callable[[Snapshot], Cell]


@frozen
class PurgeReport:
    """What one purge removed, by age and because of the size limit, and how large the store is now in bytes."""

    telemetry_aged: int = 0
    telemetry_squeezed: int = 0
    events_aged: int = 0
    events_squeezed: int = 0
    size_bytes: int = 0

    @property
    def is_squeezed(self) -> bool:
        """True when rows had to go before their time."""
        return self.telemetry_squeezed + self.events_squeezed > 0


def finite(cell: RegisterValue | None) -> Cell:
    """The cell as JSON can hold it: NaN and infinities are unknown."""
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def fresh_role(snapshot: Snapshot, role: str, max_age: Duration) -> Cell:
    """The register with `role`, or None when it is missing, older than `max_age` or not of good quality."""
    reading = snapshot.role(role)
    if reading is None or reading.quality is not Quality.GOOD:
        return None
    return finite(reading.value) if snapshot.taken_ns - reading.received_ns <= max_age.ns else None


def nearest_mm(snapshot: Snapshot) -> float | None:
    """The nearest positive LiDAR return of all fresh sectors; None when there is none or the LiDAR does not scan."""
    if snapshot.lidar.state is not LidarLinkState.SCANNING:
        return None
    distances = [
        sector.nearest_mm
        for sector in snapshot.sectors
        if sector is not None
        and sector.nearest_mm is not None
        and snapshot.taken_ns - sector.last_sample_ns <= _LIDAR_AGE.ns
    ]
    return min(distances, default=None)


def _role(name: str, role: str, max_age: Duration) -> TelemetryField:
    return TelemetryField(name, lambda snapshot: fresh_role(snapshot, role, max_age))


TELEMETRY_FIELDS: tuple[TelemetryField, ...] = (
    TelemetryField("state", lambda snapshot: snapshot.state.name),
    TelemetryField("is_latched", lambda snapshot: snapshot.is_latched),
    TelemetryField("position_mm", lambda snapshot: finite(snapshot.position_mm)),
    TelemetryField("velocity_mm_s", lambda snapshot: finite(snapshot.velocity_mm_s)),
    TelemetryField("speed_limit_mm_s", lambda snapshot: finite(snapshot.speed_limit_mm_s)),
    _role("battery_soc_percent", "battery.soc", _BATTERY_AGE),
    _role("battery_voltage_v", "battery.voltage", _BATTERY_AGE),
    _role("battery_current_a", "battery.current", _BATTERY_AGE),
    _role("battery_temperature_degc", "battery.temperature", _BATTERY_AGE),
    _role("drive_1_actual_speed", "drive.1.actual_speed", _DRIVE_AGE),
    _role("drive_1_enable", "drive.1.enable", _DRIVE_AGE),
    _role("drive_2_actual_speed", "drive.2.actual_speed", _DRIVE_AGE),
    _role("drive_2_enable", "drive.2.enable", _DRIVE_AGE),
    TelemetryField("lidar_state", lambda snapshot: snapshot.lidar.state.value),
    TelemetryField("lidar_nearest_mm", nearest_mm),
    TelemetryField("modules_online", lambda snapshot: sum(module.is_online for module in snapshot.modules)),
    TelemetryField("bus_is_open", lambda snapshot: snapshot.wire.is_open),
    TelemetryField("bus_transactions", lambda snapshot: snapshot.wire.transactions),
    TelemetryField("bus_early_frames", lambda snapshot: snapshot.wire.early_frames),
)


def is_moving(snapshot: Snapshot) -> bool:
    """True while the robot moves, may move or is being stopped; a measured velocity outranks the state's name."""
    if snapshot.velocity_mm_s is not None and abs(snapshot.velocity_mm_s) >= STANDSTILL_MM_S:
        return True
    if snapshot.stop is not None and snapshot.stop.phase in _MOVING_PHASES:
        return True
    return snapshot.state in _MOVING_STATES


class TelemetrySampler:
    """Thins snapshots to rows: every 5 s at rest, every 200 ms in motion, at once when the state changes."""

    def __init__(self, *, rest: Duration = REST_PERIOD, moving: Duration = MOVING_PERIOD) -> None:
        self._rest_ns = rest.ns
        self._moving_ns = moving.ns
        self._last_ns: int | None = None
        self._last_face: tuple[object, ...] | None = None

    def sample(self, snapshot: Snapshot) -> TelemetryRow | None:
        """The row of this snapshot, or None when it need not be kept."""
        moving = is_moving(snapshot)
        face = (snapshot.state, snapshot.is_latched, moving)
        period_ns = self._moving_ns if moving else self._rest_ns
        if self._last_ns is not None and face == self._last_face and snapshot.taken_ns - self._last_ns < period_ns:
            return None
        self._last_ns, self._last_face = snapshot.taken_ns, face
        return TelemetryRow(snapshot.taken_utc, snapshot.taken_ns, telemetry_values(snapshot))


def telemetry_values(snapshot: Snapshot) -> Mapping[str, Cell]:
    """Every column of `TELEMETRY_FIELDS` for one snapshot."""
    return {field.name: field.read(snapshot) for field in TELEMETRY_FIELDS}


def thinning_step_ms(interval_s: float) -> int:
    """The width of one history bucket: at least 1 ms, at most one day; anything that is no number means all rows."""
    if not math.isfinite(interval_s) or interval_s <= 0:
        return 1
    return max(1, min(round(interval_s * 1000), 86_400_000))


def bounded_rows(limit: int, most: int) -> int:
    """A row limit within 1..most."""
    return max(1, min(limit, most))
