"""Which differences between two snapshots are events worth a row (pure).

State: a `TransitionWatcher` belongs to the recorder. Source of the kinds' form and of the severities: DOMAIN 11.
Snapshots conflate: what came and went between two of them is told by whoever caused it, not from here.
"""

from collections.abc import Iterator, Mapping

from attrs import evolve

from oht50d.core.failsafes import FAILSAFES, titles
from oht50d.core.module_events import ModuleWatcher, event
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import Cause, MachineState, StopPhase, StopReport
from oht50d.model.records import EventRow, Severity
from oht50d.model.snapshot import Snapshot

_STATE_SEVERITY: Mapping[MachineState, Severity] = {
    MachineState.ESTOP: Severity.EMERGENCY,
    MachineState.FAULT: Severity.CRITICAL,
    MachineState.SAFE: Severity.WARNING,
}
_FINISHED = frozenset({StopPhase.STANDSTILL, StopPhase.NOT_CONFIRMED})
_REMEMBERED_STOPS = 64


def stop_times_ms(report: StopReport) -> Mapping[str, float | None]:
    """The four times of a stop in milliseconds after its detection; None was not reached."""

    def after(moment_ns: int | None) -> float | None:
        return None if moment_ns is None else round((moment_ns - report.detected_ns) / 1e6, 3)

    return {
        "detected_ms": 0.0,
        "first_frame_ms": after(report.first_frame_ns),
        "output_zero_ms": after(report.output_zero_ns),
        "standstill_ms": after(report.standstill_ns),
    }


class TransitionWatcher:
    """Compares each snapshot with the one before it; keeps one snapshot and the last 64 reported stops."""

    def __init__(self) -> None:
        self._before: Snapshot | None = None
        self._modules = ModuleWatcher()
        self._told_stops: dict[tuple[int, StopPhase], None] = {}

    def observe(self, now: Snapshot) -> tuple[EventRow, ...]:
        """The events between the last observed snapshot and `now`; the first one tells the start."""
        before, self._before = self._before, now
        if before is None:
            events = [_started(now)]
            self._modules.begin(now)
        else:
            events = [*_differences(before, now), *self._modules.observe(now)]
        events.extend(self._stops(now))
        return tuple(events)

    def _stops(self, now: Snapshot) -> Iterator[EventRow]:
        for report in (*now.last_stops, *((now.stop,) if now.stop is not None else ())):
            mark = (report.number, report.phase)
            if report.phase not in _FINISHED or mark in self._told_stops:
                continue
            self._told_stops[mark] = None
            if len(self._told_stops) > _REMEMBERED_STOPS:
                del self._told_stops[next(iter(self._told_stops))]
            yield _stop_event(now, report)


def _causes(causes: tuple[Cause, ...]) -> list[str]:
    return [cause.code.value for cause in causes]


def _started(now: Snapshot) -> EventRow:
    causes = _causes(now.latched_causes)
    told = [titles((c,)) + (f" ({c.detail})" if c.detail else "") for c in now.latched_causes]
    because = f", locked: {'; '.join(told)}" if told else ""
    message = f"Started in {now.state.name}{because}"
    details = {"boot_id": now.authority.boot_id, "state": now.state.name, "causes": causes}
    return event(now, "robot.started", Severity.INFO, message, is_simulated=now.is_simulated, **details)


def _differences(before: Snapshot, now: Snapshot) -> Iterator[EventRow]:
    yield from _state(before, now)
    yield from _latch(before, now)
    yield from _wire(before, now)
    yield from _lidar(before, now)


def _state(before: Snapshot, now: Snapshot) -> Iterator[EventRow]:
    if before.state is not now.state:
        severity = _STATE_SEVERITY.get(now.state, Severity.INFO)
        message = f"State {before.state.name} to {now.state.name}"
        yield event(
            now, "robot.status.changed", severity, message, old_status=before.state.name, new_status=now.state.name
        )


def _latch(before: Snapshot, now: Snapshot) -> Iterator[EventRow]:
    known = {cause.code for cause in before.latched_causes} if before.is_latched else set()
    for cause in now.latched_causes if now.is_latched else ():
        if cause.code not in known:
            title = FAILSAFES[cause.code].title
            message = f"Locked: {title}" + (f" ({cause.detail})" if cause.detail else "")
            row = event(now, "safety.emergency.triggered", Severity.EMERGENCY, message, cause=cause.code.value)
            yield evolve(row, details={**row.details, "since_monotonic_ns": cause.since_ns, **_hit(cause)})
    if before.is_latched and not now.is_latched:
        causes = _causes(before.latched_causes)
        message = f"Reset: {titles(before.latched_causes)}"
        yield event(now, "safety.latch.cleared", Severity.WARNING, message, causes=causes)


def _hit(cause: Cause) -> Mapping[str, object]:
    if cause.hit is None:
        return {}
    points = [[point.angle_deg, point.distance_mm] for point in cause.hit.points]
    return {"zone": cause.hit.zone, "nearest_mm": cause.hit.nearest_mm, "sector": cause.hit.sector, "points": points}


def _wire(before: Snapshot, now: Snapshot) -> Iterator[EventRow]:
    if before.wire.is_open is now.wire.is_open:
        return
    if now.wire.is_open:
        yield event(now, "bus.opened", Severity.INFO, f"The bus is open on {now.wire.port}", port=now.wire.port)
    else:
        message = f"The bus on {now.wire.port} is gone: {now.wire.cause}"
        yield event(now, "bus.lost", Severity.ERROR, message, port=now.wire.port, remedy=now.wire.remedy)


def _lidar(before: Snapshot, now: Snapshot) -> Iterator[EventRow]:
    old, new = before.lidar.state, now.lidar.state
    if old is not new:
        severity = Severity.INFO if new is LidarLinkState.SCANNING else Severity.WARNING
        message = f"LiDAR {old.value} to {new.value}" + (f": {now.lidar.cause}" if now.lidar.cause else "")
        yield event(now, "lidar.status.changed", severity, message, old_status=old.value, new_status=new.value)


def _stop_event(now: Snapshot, report: StopReport) -> EventRow:
    times = stop_times_ms(report)
    details: dict[str, object] = {
        "number": report.number,
        "stop": report.kind.label,
        "causes": _causes(report.causes),
        "detected_monotonic_ns": report.detected_ns,
        "predicted_ms": report.predicted_ms,
        **times,
    }
    if report.phase is StopPhase.STANDSTILL:
        message = f"{report.kind.label} finished: standstill {_told(times['standstill_ms'])} after detection"
        return event(now, "robot.stop.finished", Severity.INFO, message, **details)
    details |= {"residual": report.residual, "unconfirmed_units": list(report.unconfirmed_units)}
    message = f"{report.kind.label} NOT CONFIRMED, press the red button"
    return event(now, "robot.stop.unconfirmed", Severity.CRITICAL, message, **details)


def _told(span_ms: float | None) -> str:
    return "at an unknown time" if span_ms is None else f"{span_ms:.0f} ms"
