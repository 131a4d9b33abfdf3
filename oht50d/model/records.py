"""Rows of the memory: telemetry, events and gaps (no state)."""

import enum
from collections.abc import Mapping

from attrs import field, frozen


class Severity(enum.Enum):
    """As in DOMAIN 11; `emergency` is a stop."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"
    EMERGENCY = "emergency"


@frozen
class TelemetryRow:
    """One sample of the robot for the history; `values` holds JSON numbers, strings, booleans and None only."""

    utc: str
    monotonic_ns: int
    values: Mapping[str, float | int | str | bool | None]


@frozen
class EventRow:
    """One thing that happened; `kind` is dotted lower case (DOMAIN 11), `actor` who did it."""

    utc: str
    monotonic_ns: int
    kind: str
    severity: Severity
    message: str
    actor: str = "oht50d"
    details: Mapping[str, object] = field(factory=dict)


@frozen
class GapRow:
    """`count` rows of `stream` that were produced and could not be kept: loss is a record."""

    utc: str
    monotonic_ns: int
    stream: str
    count: int
    reason: str


Row = TelemetryRow | EventRow | GapRow
