"""Telemetry now, telemetry then, and events (API.md, section 5; no state)."""

from collections.abc import Mapping
from datetime import UTC, datetime

from quart import Blueprint, Response, request

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.web.envelope import success
from oht50d.web.guard import Guard
from oht50d.web.present_robot import telemetry_view
from oht50d.web.schema import invalid, only_parameters
from oht50d.web.web_ports import WebPorts

INTERVALS_S: Mapping[str, float] = {"1s": 1.0, "5s": 5.0, "10s": 10.0, "1m": 60.0}


def telemetry_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """/telemetry/current, /telemetry/history and /events."""
    blueprint = Blueprint("telemetry", __name__, url_prefix="/api/v1")

    @blueprint.get("/telemetry/current")
    async def current() -> Response:
        guard.require(Role.VIEWER)
        only_parameters()
        view = telemetry_view(ports.snapshots.current(), now_ns())
        return success(view, top={key: view[key] for key in view if key.endswith("_telemetry")})

    @blueprint.get("/telemetry/history")
    async def history() -> Response:
        guard.require(Role.VIEWER)
        only_parameters("start_time", "end_time", "interval", "limit")
        start, end = _utc("start_time"), _utc("end_time")
        if start is not None and end is not None and start > end:
            raise invalid("end_time", "before start_time")
        interval = request.args.get("interval", "1s")
        if interval not in INTERVALS_S:
            raise invalid("interval", f"expected one of {', '.join(INTERVALS_S)}")
        limit = _limit(ports)
        records = await ports.history.telemetry(
            start_utc=start, end_utc=end, interval_s=INTERVALS_S[interval], limit=limit
        )
        rows = [dict(record) for record in records]
        return success({"records": rows, "count": len(rows), "interval": interval, "limit": limit})

    @blueprint.get("/events")
    async def events() -> Response:
        guard.require(Role.VIEWER)
        only_parameters("limit", "before_seq")
        before_seq = _whole("before_seq")
        rows = [dict(row) for row in await ports.history.events(limit=_limit(ports), before_seq=before_seq)]
        return success({"events": rows, "count": len(rows)})

    return blueprint


def _limit(ports: WebPorts) -> int:
    most = ports.config.history_max_rows
    asked = _whole("limit", f"expected 1 to {most}")
    if asked is None:
        return ports.config.history_default_rows
    if not 1 <= asked <= most:
        raise invalid("limit", f"expected 1 to {most}")
    return asked


def _whole(name: str, issue: str = "expected a whole number") -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise invalid(name, issue)
    return int(text)


def _utc(name: str) -> str | None:
    """The parameter as RFC 3339 UTC with Z; a time without a zone is refused, because it could mean anything."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise invalid(name, "expected RFC 3339, such as 2030-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        raise invalid(name, "expected a time zone, such as Z")
    try:
        return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        raise invalid(name, "out of range") from None
