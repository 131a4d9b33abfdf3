"""Building blocks of every answer: readings, causes, stops and ages as JSON values (no state).

Unknown is null with quality `unknown`; an old value keeps its number, says `stale` and tells its age.
"""

from oht50d.core.failsafes import FAILSAFES, Failsafe
from oht50d.core.history_events import stop_times_ms
from oht50d.metrics import fresh_limit_ns
from oht50d.model.motion import Cause, MachineState, StopReport, ZoneHit
from oht50d.model.registers import Quality, Reading

Json = dict[str, object]

STATUS_NAMES: dict[MachineState, str] = {
    MachineState.MOVE: "moving",
    MachineState.DOCK: "docking",
    MachineState.FAULT: "error",
}
"""DOMAIN 5.3, column REQ_BE_02/03; the other states go by their own name in lower case."""


def age_ms(since_ns: int | None, now_ns: int) -> int | None:
    """Whole milliseconds since `since_ns`; None stays None."""
    return None if since_ns is None else max(0, now_ns - since_ns) // 1_000_000


def quality_of(reading: Reading, now_ns: int) -> str:
    """The value's own quality, or `stale` for a good value that is too old."""
    if reading.quality is Quality.GOOD and now_ns - reading.received_ns > fresh_limit_ns(reading.role):
        return "stale"
    return reading.quality.value


def measured(reading: Reading | None, now_ns: int) -> Json:
    """One reading as {value, unit, quality, age_ms}."""
    if reading is None:
        return {"value": None, "unit": None, "quality": "unknown", "age_ms": None}
    return {
        "value": reading.value,
        "unit": reading.unit,
        "quality": quality_of(reading, now_ns),
        "age_ms": age_ms(reading.received_ns, now_ns),
    }


def fresh_value(reading: Reading | None, now_ns: int) -> float | None:
    """The number alone for flat fields: null unless good and fresh."""
    if reading is None or quality_of(reading, now_ns) != Quality.GOOD.value or isinstance(reading.value, str):
        return None
    return float(reading.value)


def failsafe_row(row: Failsafe) -> Json:
    """One row of the failsafe table."""
    return {
        "code": row.code.value,
        "title": row.title,
        "stop": row.stop.label if row.stop is not None else None,
        "is_latching": row.is_latching,
        "is_person_related": row.is_person_related,
        "is_ordinary": row.is_ordinary,
        "remedy": row.remedy,
    }


def cause_view(cause: Cause, now_ns: int) -> Json:
    """One cause with its row of the failsafe table, its age and its evidence."""
    return {
        **failsafe_row(FAILSAFES[cause.code]),
        "detail": cause.detail,
        "since_ms": age_ms(cause.since_ns, now_ns),
        "hit": hit_view(cause.hit, now_ns) if cause.hit is not None else None,
    }


def causes_view(causes: tuple[Cause, ...], now_ns: int) -> list[Json]:
    """All causes in their order."""
    return [cause_view(cause, now_ns) for cause in causes]


def hit_view(hit: ZoneHit, now_ns: int) -> Json:
    """A violated zone: which, where, by which points, how old. Angles in degrees clockwise from the front."""
    return {
        "zone": hit.zone,
        "limit_mm": hit.limit_mm,
        "sector": hit.sector,
        "nearest_mm": round(hit.nearest_mm),
        "age_ms": age_ms(hit.seen_ns, now_ns),
        "points": [
            {"angle_deg": round(point.angle_deg, 1), "distance_mm": round(point.distance_mm)} for point in hit.points
        ],
    }


def stop_progress(stop: StopReport, now_ns: int) -> Json:
    """How far a stop got, with its four times in milliseconds after detection; a time not reached is null."""
    return {
        "number": stop.number,
        "kind": stop.kind.label,
        "phase": stop.phase.value,
        "outcome": stop.outcome.value,
        "age_ms": age_ms(stop.detected_ns, now_ns),
        **stop_times_ms(stop),
    }


def stop_view(stop: StopReport | None, now_ns: int) -> Json | None:
    """A stop with its progress, its causes and what is left to confirm."""
    if stop is None:
        return None
    return {
        **stop_progress(stop, now_ns),
        "causes": causes_view(stop.causes, now_ns),
        "predicted_ms": stop.predicted_ms,
        "residual": stop.residual,
        "unconfirmed_modules": [f"{unit:#04x}" for unit in stop.unconfirmed_units],
    }
