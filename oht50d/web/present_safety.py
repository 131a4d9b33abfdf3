"""The snapshot as the safety answer: decision, causes, evidence, stops, failsafes (API.md, section 6; no state)."""

from oht50d.core.failsafes import FAILSAFES
from oht50d.core.safety_word import evaluate_safety_word
from oht50d.core.zones import ZoneConfig
from oht50d.model.lidar import SectorReport
from oht50d.model.snapshot import Snapshot
from oht50d.web.present import Json, age_ms, causes_view, failsafe_row, fresh_value, hit_view, measured, stop_view
from oht50d.web.present_robot import why_view


def safety_view(snapshot: Snapshot, now_ns: int, zones: ZoneConfig) -> Json:
    """What /safety/status and the `safety` topic tell; the failsafe table is added by the endpoint only."""
    decision = snapshot.decision
    chain = fresh_value(snapshot.role("chain.open"), now_ns)
    return {
        "safety_state": evaluate_safety_word(snapshot, now_ns).value,
        "emergency_stop": None if chain is None else bool(chain),
        "chain_open": measured(snapshot.role("chain.open"), now_ns),
        "state": snapshot.state.name,
        "is_latched": snapshot.is_latched,
        "latched_causes": causes_view(snapshot.latched_causes, now_ns),
        "decision": {
            "sequence": decision.sequence,
            "age_ms": age_ms(decision.decided_ns, now_ns),
            "stop": decision.stop.label if decision.stop is not None else None,
            "permit": _permit_view(snapshot, now_ns),
        },
        "stop_causes": causes_view(decision.stop_causes, now_ns),
        "inhibits": causes_view(decision.inhibits, now_ns),
        "why": why_view(snapshot, now_ns)["sentence"],
        "zones": [hit_view(hit, now_ns) for hit in decision.hits],
        "zone_shapes": _shapes_view(zones),
        "sectors": [_sector_view(index, sector, now_ns) for index, sector in enumerate(snapshot.sectors)],
        "stop": stop_view(snapshot.stop, now_ns),
        "last_stops": [stop_view(stop, now_ns) for stop in snapshot.last_stops],
        "is_simulated": snapshot.is_simulated,
        "boot_id": snapshot.authority.boot_id,
        "epoch": snapshot.authority.epoch,
        "last_check": snapshot.taken_utc,
        "age_ms": age_ms(snapshot.taken_ns, now_ns),
    }


def _shapes_view(zones: ZoneConfig) -> Json:
    """What the picture is drawn from: limits around the LiDAR and how the device is mounted."""
    return {
        "limits_mm": dict(zones.zones),
        "mount_angle_deg": zones.mount_angle_deg,
        "is_mirrored": zones.is_mirrored,
    }


def failsafe_table() -> list[Json]:
    """Every row of the failsafe table, most severe first."""
    return [failsafe_row(row) for row in FAILSAFES.values()]


def _permit_view(snapshot: Snapshot, now_ns: int) -> Json | None:
    permit = snapshot.decision.permit
    if permit is None or not permit.is_valid(now_ns):
        return None
    return {
        "direction": permit.direction.name.lower(),
        "speed_limit_mm_s": permit.speed_limit_mm_s,
        "duty_limit_ratio": permit.duty_limit_ratio,
        "expires_in_ms": (permit.expires_ns - now_ns) // 1_000_000,
    }


def _sector_view(index: int, sector: SectorReport | None, now_ns: int) -> Json:
    if sector is None:
        return {"index": index, "quality": "unknown", "age_ms": None, "hits": None, "samples": None, "nearest_mm": None}
    return {
        "index": index,
        "quality": "good" if sector.hits else "no_returns",
        "age_ms": age_ms(sector.last_sample_ns, now_ns),
        "hits": sector.hits,
        "samples": sector.samples,
        "nearest_mm": None if sector.nearest_mm is None else round(sector.nearest_mm),
    }
