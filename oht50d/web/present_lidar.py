"""LiDAR status and scans as JSON values (API.md, section 7; no state). Angles clockwise from the front, in degrees."""

from oht50d.model.lidar import LidarLinkState, LidarScan, LidarStatus
from oht50d.web.present import Json, age_ms

SCAN_FRESH_NS = 1_000_000_000
"""Five turns at the slowest profile (5.5 Hz, DOMAIN 4): an older picture is called stale on pages."""


def lidar_status_view(lidar: LidarStatus, now_ns: int) -> Json:
    """State in words with cause and remedy, identity, health and counts."""
    info = lidar.info
    return {
        "status": "connected" if lidar.state is LidarLinkState.SCANNING else "disconnected",
        "state": lidar.state.value,
        "connected": info is not None and lidar.state not in (LidarLinkState.ABSENT, LidarLinkState.SILENT),
        "scanning": lidar.state is LidarLinkState.SCANNING,
        "cause": lidar.cause,
        "remedy": lidar.remedy,
        "is_simulated": lidar.is_simulated,
        "model": info.model_name if info is not None else None,
        "serial": info.serial if info is not None else None,
        "firmware_version": f"{info.firmware_major}.{info.firmware_minor:02d}" if info is not None else None,
        "health": None
        if lidar.health is None
        else {"status": lidar.health.status, "error_code": lidar.health.error_code},
        "scan_frequency": None if not lidar.turn_period_ns else round(1e9 / lidar.turn_period_ns, 2),
        "scan_age_ms": age_ms(lidar.last_turn_ns, now_ns),
        "byte_age_ms": age_ms(lidar.last_byte_ns, now_ns),
        "samples": lidar.samples,
        "checksum_errors": lidar.checksum_errors,
        "noise_bytes": lidar.noise_bytes,
    }


def scan_view(scan: LidarScan, lidar: LidarStatus, now_ns: int) -> Json:
    """One whole turn; points without a return are left out and counted."""
    points = [
        {"angle": round(angle, 2), "distance": round(distance / 1e3, 3), "quality": quality}
        for angle, distance, quality in zip(
            scan.angles_deg.tolist(), scan.distances_mm.tolist(), scan.qualities.tolist(), strict=True
        )
        if distance > 0
    ]
    return {
        **_frame(scan, lidar, now_ns),
        "units": {"angle": "deg", "distance": "m"},
        "point_cloud": points,
        "no_returns": len(scan.distances_mm) - len(points),
    }


def scan_arrays(scan: LidarScan, lidar: LidarStatus, now_ns: int) -> Json:
    """The same turn for the page: two parallel arrays, tenths of degrees and millimetres, positive returns only."""
    is_hit = scan.distances_mm > 0
    return {
        **_frame(scan, lidar, now_ns),
        "angles_ddeg": (scan.angles_deg[is_hit] * 10).round().astype(int).tolist(),
        "distances_mm": scan.distances_mm[is_hit].round().astype(int).tolist(),
    }


def _frame(scan: LidarScan, lidar: LidarStatus, now_ns: int) -> Json:
    old_ms = age_ms(scan.ended_ns, now_ns)
    return {
        "number": scan.number,
        "quality": "good" if now_ns - scan.ended_ns <= SCAN_FRESH_NS else "stale",
        "age_ms": old_ms,
        "turn_ms": round((scan.ended_ns - scan.started_ns) / 1e6, 1),
        "state": lidar.state.value,
        "is_simulated": lidar.is_simulated,
    }
