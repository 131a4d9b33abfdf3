"""From errors to answers: every code of the API with its HTTP status (API.md, section 13; no state)."""

import logging
from collections.abc import Mapping

from quart import Quart, Response, has_websocket_context
from werkzeug.exceptions import HTTPException
from werkzeug.routing.exceptions import WebsocketMismatch

from oht50d.model.errors import CommandRejected, StoreError
from oht50d.web.envelope import failure

log = logging.getLogger(__name__)

STATUS: Mapping[str, int] = {
    "AUTH_FAILED": 401,
    "INVALID_TOKEN": 401,
    "INSUFFICIENT_PERMISSIONS": 403,
    "FOREIGN_ORIGIN": 403,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "ROBOT_BUSY": 409,
    "SAFETY_VIOLATION": 409,
    "CONFLICT": 409,
    "ESTOP_ACTIVE": 409,
    "REQUEST_TOO_LARGE": 413,
    "INVALID_COMMAND": 422,
    "INVALID_REQUEST": 422,
    "RATE_LIMITED": 429,
    "SYSTEM_ERROR": 500,
    "MODULE_OFFLINE": 503,
    "ESTOP_NOT_DELIVERED": 503,
    "STALE_DATA": 503,
    "NOT_READY": 503,
}

_BY_HTTP: Mapping[int, str] = {
    400: "INVALID_REQUEST",
    401: "AUTH_FAILED",
    403: "INSUFFICIENT_PERMISSIONS",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "INVALID_REQUEST",
    413: "REQUEST_TOO_LARGE",
    429: "RATE_LIMITED",
}

_FIELDS: Mapping[int, tuple[str, str]] = {
    404: ("path", "there is nothing here"),
    405: ("method", "not allowed here"),
    408: ("body", "did not come in time"),
    413: ("body", "too large"),
}


def rejection(error: CommandRejected) -> Response:
    """The answer to a command that is not carried out."""
    return failure(error.code, error.message, status=STATUS.get(error.code, 500), details=error.details)


def register_errors(app: Quart) -> None:
    """Every error leaves as an envelope; what nobody expected is logged with its trace and answered without it."""

    @app.errorhandler(CommandRejected)
    async def on_rejected(error: CommandRejected) -> Response:
        return rejection(error)

    @app.errorhandler(StoreError)
    async def on_store(error: StoreError) -> Response:
        return failure("SYSTEM_ERROR", f"the memory cannot be read: {error}", status=503)

    @app.errorhandler(HTTPException)
    async def on_http(error: HTTPException) -> Response:
        status = error.code or 500
        code = _BY_HTTP.get(status, "SYSTEM_ERROR" if status >= 500 else "INVALID_REQUEST")
        field, issue = _FIELDS.get(status, ("request", error.name))
        if isinstance(error, WebsocketMismatch):
            wanted = (
                "not on this path" if has_websocket_context() else "required and missing, or its handshake is broken"
            )
            field, issue = "Upgrade", f"WebSocket: {wanted}"
            return failure(code, f"{field}: {issue}", status=status, details={"field": field, "issue": issue})
        details = {"field": field, "issue": issue}
        return failure(code, error.description or error.name, status=status, details=details)

    @app.errorhandler(Exception)
    async def on_defect(error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        return failure("SYSTEM_ERROR", "the control program failed to answer this request; see its log", status=500)
