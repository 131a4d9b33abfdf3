"""STOP and how far it got: no login, no confirmation, refused to a foreign page only (no state).

Rules: SAFETY.md, Latch, reset, authority.
"""

import logging
from collections.abc import Mapping
from html import escape

from quart import Blueprint, Response, request

from oht50d.clock import now_ns
from oht50d.services.ports import Actor
from oht50d.web.envelope import failure, success
from oht50d.web.guard import Guard
from oht50d.web.origin import is_foreign
from oht50d.web.present import age_ms, stop_progress
from oht50d.web.web_ports import WebPorts

log = logging.getLogger(__name__)

STOP_PATHS = frozenset(
    {
        "/api/v1/robot/emergency-stop",
        "/api/v1/safety/emergency-stop",
        "/api/v1/safety/emergency",
        "/api/v1/safety/estop",
        "/api/v1/state/emergency",
    }
)
_DELIVERED = ("acknowledged", "verified")
_NOT_CONFIRMED = "STOP IS NOT CONFIRMED: press the red button on the vehicle."


def stop_blueprint(ports: WebPorts, guard: Guard) -> Blueprint:
    """POST on each of STOP_PATHS, with any body or none; a plain HTML form gets a plain HTML answer.

    GET /safety/stop tells how far the present or last stop got. It has a path of its own: a GET on a path of STOP must
    fail, because whoever mistakes the method has stopped nothing.
    """
    blueprint = Blueprint("stop", __name__)

    async def emergency_stop() -> Response:
        return await answer_stop(ports, guard)

    @blueprint.get("/api/v1/safety/stop")
    async def progress() -> Response:
        snapshot, at_ns = ports.snapshots.current(), now_ns()
        stop = None if snapshot.stop is None else stop_progress(snapshot.stop, at_ns)
        return success({"stop": stop, "is_latched": snapshot.is_latched, "age_ms": age_ms(snapshot.taken_ns, at_ns)})

    for path in sorted(STOP_PATHS):
        name = path.removeprefix("/api/v1/").replace("/", "_").replace("-", "_")
        blueprint.add_url_rule(path, endpoint=name, view_func=emergency_stop, methods=["POST"])
    return blueprint


async def answer_stop(ports: WebPorts, guard: Guard) -> Response:
    """Stop first, then answer: 200 once read back, 503 ESTOP_NOT_DELIVERED while that is not so."""
    if is_foreign(request.headers, ports.config.cors_origins):
        return failure(
            "FOREIGN_ORIGIN",
            "a page of another site may not press STOP",
            status=403,
            details={"field": "Origin", "issue": "not allowed; see web.cors_origins"},
        )
    report = await press_stop(ports, guard.optional_actor(), "http")
    is_delivered = report.get("outcome") in _DELIVERED
    message = str(report.get("message") or ("stopping" if is_delivered else _NOT_CONFIRMED))
    if _wants_html():
        return _html(message if is_delivered else f"{message} {_NOT_CONFIRMED}", is_delivered)
    if is_delivered:
        return success(report, message)
    return failure("ESTOP_NOT_DELIVERED", message, status=503, details=report, top={"data": dict(report)})


async def press_stop(ports: WebPorts, actor: Actor | None, source: str) -> Mapping[str, object]:
    """Trip the stop and say how far it got; a defect on the way is an unknown outcome, never a success."""
    try:
        return await ports.commander.stop(actor, source)
    # whatever went wrong, the person who pressed STOP must read NOT CONFIRMED instead of a broken answer
    except Exception:
        log.exception("STOP was pressed and its outcome is not known")
        return {"status": "unknown", "outcome": "unknown", "phase": "not_confirmed", "message": _NOT_CONFIRMED}


def _wants_html() -> bool:
    return request.mimetype == "application/x-www-form-urlencoded" and request.accept_mimetypes.accept_html


def _html(message: str, is_delivered: bool) -> Response:
    title = "STOP was sent" if is_delivered else "NOT CONFIRMED"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>'
        f'{title}</title><meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="stylesheet" href="/static/style.css"></head><body class="plain"><main>'
        f'<h1 class="{"" if is_delivered else "alarm"}">{title}</h1><p>{escape(message)}</p>'
        "<p>This page does not follow the stop. If the robot still moves, press the red button.</p>"
        '<form method="post" action="/api/v1/robot/emergency-stop"><button class="stop">STOP</button></form>'
        '<p><a href="/">Back to the page</a></p></main></body></html>'
    )
    return Response(page, status=200 if is_delivered else 503, content_type="text/html; charset=utf-8")
