"""What subscribers are sent: each topic encoded once a tick, the text shared by every client.

Owner of the memo: `TopicEncoder`, one per app. Rates: DOMAIN 10.3 (telemetry 10 Hz; a scan per turn).
"""

from collections.abc import Mapping

from oht50d.clock import now_ns
from oht50d.web.envelope import encode_json, utc_now
from oht50d.web.present import Json
from oht50d.web.present_lidar import lidar_status_view, scan_arrays
from oht50d.web.present_modules import modules_view
from oht50d.web.present_robot import status_view, telemetry_view
from oht50d.web.present_safety import safety_view
from oht50d.web.web_ports import WebPorts

TICK_NS = 100_000_000
TOPICS = ("robot_status", "safety", "telemetry", "lidar")
_TICKS_PER_UNCHANGED_SCAN = 5
_EVENTS: Mapping[str, str] = {
    "robot_status_update": "robot_status",
    "safety_update": "safety",
    "telemetry_update": "telemetry",
    "lidar_update": "lidar",
    "stop_update": "alert",
}
"""The `event` word that goes with a `type` (API.md, section 12); all other messages use one word for both."""


def message(kind: str, **fields: object) -> str:
    """One message with both `type` and `event` and a timestamp."""
    document = {"type": kind, "event": _EVENTS.get(kind, kind), **fields, "timestamp": utc_now()}
    return encode_json(document).decode()


class TopicEncoder:
    """Clients tick together, so that every one of them finds the text that the first of them had encoded."""

    def __init__(self, ports: WebPorts) -> None:
        self._ports = ports
        self._memo: dict[str, tuple[tuple[int, int], str]] = {}

    def text(self, topic: str, tick: int) -> str | None:
        """The topic's message at `tick`; None if there is nothing new to tell."""
        snapshot = self._ports.snapshots.current()
        if topic == "lidar":
            return self._lidar_text(tick)
        key = (snapshot.version, tick)
        kept = self._memo.get(topic)
        if kept is None or kept[0] != key:
            kept = self._memo[topic] = (key, message(f"{topic}_update", data=self._view(topic)))
        return kept[1]

    def _view(self, topic: str) -> Json:
        snapshot, now = self._ports.snapshots.current(), now_ns()
        match topic:
            case "robot_status":
                return status_view(snapshot, now)
            case "safety":
                return safety_view(snapshot, now, self._ports.zones)
            case _:
                return {**telemetry_view(snapshot, now), **modules_view(snapshot, now)}

    def _lidar_text(self, tick: int) -> str | None:
        """A new turn at once; an unchanged one each half second, so that its age goes on."""
        scan, lidar = self._ports.scans.current_scan(), self._ports.snapshots.current().lidar
        kept = self._memo.get("lidar")
        number = -1 if scan is None else scan.number
        if kept is not None and kept[0][0] == number and tick - kept[0][1] < _TICKS_PER_UNCHANGED_SCAN:
            return kept[1] if kept[0][1] == tick else None
        now = now_ns()
        view: Json = {
            "status": lidar_status_view(lidar, now),
            "scan_data": None if scan is None else scan_arrays(scan, lidar, now),
        }
        kept = self._memo["lidar"] = ((number, tick), message("lidar_update", data=view))
        return kept[1]
