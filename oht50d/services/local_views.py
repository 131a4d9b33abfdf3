"""What the local socket shows of a snapshot: JSON trees in which every value carries its age (no state)."""

from collections.abc import Mapping, Sequence

from oht50d.core.history import finite
from oht50d.core.history_events import stop_times_ms
from oht50d.model.modules import TYPE_NAMES, DiscoveryStatus, FoundModule, ModuleRecord, ScanProgress
from oht50d.model.motion import Cause, StopReport
from oht50d.model.registers import Quality, Reading
from oht50d.model.snapshot import ModuleStatus, Snapshot

_SHOWN_ROLES = ("battery.soc", "battery.voltage", "battery.current", "battery.temperature")

Tree = dict[str, object]


def age_s(now_ns: int, moment_ns: int | None) -> float | None:
    """Seconds since a Trio-clock moment; None when it never was."""
    return None if moment_ns is None else round((now_ns - moment_ns) / 1e9, 3)


def view_status(snapshot: Snapshot, now_ns: int) -> Tree:
    """The robot in one tree: state and why, permit, wire, LiDAR, modules in short, battery, last stop."""
    decision = snapshot.decision
    return {
        "robot_id": snapshot.robot_id,
        "is_simulated": snapshot.is_simulated,
        "boot_id": snapshot.authority.boot_id,
        "age_s": age_s(now_ns, snapshot.taken_ns),
        "utc": snapshot.taken_utc,
        "state": snapshot.state.name,
        "is_latched": snapshot.is_latched,
        "latched_causes": _causes(snapshot.latched_causes, now_ns),
        "stop_causes": _causes(decision.stop_causes, now_ns),
        "inhibits": _causes(decision.inhibits, now_ns),
        "may_move": decision.permit is not None and decision.permit.is_valid(now_ns),
        "holder": snapshot.authority.holder,
        "position_mm": snapshot.position_mm,
        "velocity_mm_s": snapshot.velocity_mm_s,
        "speed_limit_mm_s": snapshot.speed_limit_mm_s,
        "is_commissioned": snapshot.is_commissioned,
        "battery": [view_reading(reading, now_ns) for role in _SHOWN_ROLES if (reading := snapshot.role(role))],
        "wire": _wire(snapshot, now_ns),
        "lidar": _lidar(snapshot, now_ns),
        "modules": view_modules(snapshot, now_ns),
        "stop": None if snapshot.stop is None else view_stop(snapshot.stop),
    }


def view_modules(snapshot: Snapshot, now_ns: int) -> list[Tree]:
    """One entry a module, without its registers."""
    return [
        {
            "address": module.address,
            "kind": module.kind.value,
            "title": module.title,
            "is_online": module.is_online,
            "is_mandatory": module.is_mandatory,
            "is_identified": module.is_identified,
            "age_s": age_s(now_ns, module.last_valid_ns),
            "serial": module.serial,
            "firmware": module.firmware,
            "problem": module.problem,
            "trust": module.trust.trust.value,
            "note": module.trust.note,
            "accepted": _record(module.trust.record),
            "requests": module.counters.requests,
            "replies": module.counters.replies,
            "timeouts": module.counters.timeouts,
            "noise": module.counters.noise,
            "exceptions": module.counters.exceptions,
        }
        for module in snapshot.modules
    ]


def view_found(found: FoundModule, now_ns: int) -> Tree:
    """Somebody who answers where no map is bound."""
    return {
        "address": found.address,
        "state": found.state.value,
        "type_code": found.type_code,
        "type": None if found.type_code is None else TYPE_NAMES.get(found.type_code),
        "device_id": found.device_id,
        "firmware": found.firmware,
        "serial": found.serial,
        "tag": found.tag,
        "age_s": age_s(now_ns, found.seen_ns),
        "line": None if found.line is None else str(found.line),
        "problem": found.problem,
    }


def view_discovery(discovery: DiscoveryStatus | None, now_ns: int) -> Tree | None:
    """The search beside polling; None where nobody searches."""
    if discovery is None:
        return None
    return {
        "first": discovery.first,
        "last": discovery.last,
        "rounds": discovery.rounds,
        "is_searching": discovery.is_searching,
        "age_s": age_s(now_ns, discovery.finished_ns),
    }


def view_scan(scan: ScanProgress | None, now_ns: int) -> Tree | None:
    """The scan under way or the last one; None if there was none."""
    if scan is None:
        return None
    return {
        "is_running": scan.is_running,
        "asked": scan.asked,
        "planned": scan.planned,
        "at": scan.at,
        "end": scan.end,
        "found": [view_found(found, now_ns) for found in scan.found],
    }


def _record(record: ModuleRecord | None) -> Tree | None:
    if record is None:
        return None
    return {
        "serial": record.serial,
        "firmware": record.firmware,
        "type_code": record.type_code,
        "map": record.map_name,
        "utc": record.accepted_utc,
        "by": record.accepted_by,
    }


def view_registers(module: ModuleStatus, now_ns: int) -> list[Tree]:
    """Every register of a module that was ever read, ascending by address."""
    return [view_reading(reading, now_ns) for reading in sorted(module.readings.values(), key=lambda one: one.address)]


def view_reading(reading: Reading, now_ns: int) -> Tree:
    """One register with its unit, quality and age; the value is None when its quality is not good."""
    return {
        "address": reading.address,
        "name": reading.name,
        "role": reading.role,
        "value": finite(reading.value) if reading.quality is Quality.GOOD else None,
        "unit": reading.unit,
        "raw": reading.raw,
        "quality": reading.quality.value,
        "age_s": age_s(now_ns, reading.received_ns),
    }


def view_stop(report: StopReport) -> Tree:
    """One stop with its four times in milliseconds after detection."""
    return {
        "number": report.number,
        "kind": report.kind.label,
        "phase": report.phase.value,
        "outcome": report.outcome.value,
        "causes": [cause.code.value for cause in report.causes],
        "predicted_ms": report.predicted_ms,
        "residual": report.residual,
        "unconfirmed_units": list(report.unconfirmed_units),
        **stop_times_ms(report),
    }


def _causes(causes: Sequence[Cause], now_ns: int) -> list[Mapping[str, object]]:
    return [
        {"code": cause.code.value, "detail": cause.detail, "since_s": age_s(now_ns, cause.since_ns)} for cause in causes
    ]


def _wire(snapshot: Snapshot, now_ns: int) -> Tree:
    wire = snapshot.wire
    return {
        "is_open": wire.is_open,
        "is_listen_only": wire.is_listen_only,
        "is_listening": wire.is_listening,
        "port": wire.port,
        "device": wire.device or None,
        "transport": wire.transport,
        "cause": wire.cause,
        "remedy": wire.remedy,
        "is_simulated": wire.is_simulated,
        "age_s": age_s(now_ns, wire.last_valid_ns),
        "transactions": wire.transactions,
        "early_frames": wire.early_frames,
        "unexpected_bytes": wire.unexpected_bytes,
        "headroom": None if wire.plan is None else round(wire.plan.headroom, 3),
        "given_way": [] if wire.plan is None else list(wire.plan.given_way),
        "motion_refused": None if wire.plan is None else wire.plan.refusal or None,
    }


def _lidar(snapshot: Snapshot, now_ns: int) -> Tree:
    lidar = snapshot.lidar
    return {
        "state": lidar.state.value,
        "cause": lidar.cause,
        "remedy": lidar.remedy,
        "age_s": age_s(now_ns, lidar.last_byte_ns),
        "turn_age_s": age_s(now_ns, lidar.last_turn_ns),
        "turn_period_ms": None if lidar.turn_period_ns is None else round(lidar.turn_period_ns / 1e6, 1),
        "is_simulated": lidar.is_simulated,
    }
