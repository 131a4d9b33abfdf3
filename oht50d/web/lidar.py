"""LiDAR status and the newest whole turn (API.md, section 7; no state)."""

from quart import Blueprint, Response

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected
from oht50d.web.envelope import success
from oht50d.web.guard import Guard
from oht50d.web.present_lidar import lidar_status_view, scan_view
from oht50d.web.schema import only_parameters
from oht50d.web.web_ports import WebPorts


def lidar_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/lidar/status and /lidar/scan (503 STALE_DATA while there never was a turn)."""
    blueprint = Blueprint("lidar", __name__, url_prefix="/api/v1/lidar")

    @blueprint.get("/status")
    async def status() -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        return success(lidar_status_view(ports.snapshots.current().lidar, now_ns()))

    @blueprint.get("/scan")
    async def scan() -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        lidar = ports.snapshots.current().lidar
        newest = ports.scans.current_scan()
        if newest is None:
            raise CommandRejected(
                "STALE_DATA",
                f"there is no scan: {lidar.cause or lidar.state.value}",
                {"state": lidar.state.value, "cause": lidar.cause, "remedy": lidar.remedy},
            )
        return success(scan_view(newest, lidar, now_ns()))

    return blueprint
