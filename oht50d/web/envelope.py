"""The answer envelopes: success and failure with timestamp and request id (DECISIONS, envelope; no state).

`{success, data, message, timestamp, request_id}`; errors `{success: false, error: {code, message, details}, detail,
timestamp, request_id}` where `detail` repeats the message.
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from quart import Response, g, has_websocket_context, request, websocket

JSON_TYPE = "application/json"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def utc_now() -> str:
    """RFC 3339 with milliseconds and Z."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_json(document: object) -> bytes:
    """Compact UTF-8 JSON; raises ValueError for NaN and infinities, which JSON does not have."""
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def request_id() -> str:
    """The present request's id: the client's X-Request-ID if it is well formed, else a new one."""
    known: str | None = g.get("request_id")
    if known is None:
        asked = websocket if has_websocket_context() else request
        offered = asked.headers.get("X-Request-ID", "")
        known = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        g.request_id = known
    return known


def success(
    answer: object, message: str = "", *, status: int = 200, top: Mapping[str, object] | None = None
) -> Response:
    """An answer; `top` stands beside the envelope's keys for clients that read bare bodies (API.md, section 11)."""
    envelope = {
        **(top or {}),
        "success": True,
        "data": answer,
        "message": message,
        "timestamp": utc_now(),
        "request_id": request_id(),
    }
    return Response(encode_json(envelope), status=status, content_type=JSON_TYPE)


def failure(
    code: str,
    message: str,
    *,
    status: int,
    details: Mapping[str, object] | None = None,
    top: Mapping[str, object] | None = None,
) -> Response:
    """A refusal or an error; `code` is one of `errors.STATUS`."""
    envelope = {
        **(top or {}),
        "success": False,
        "error": {"code": code, "message": message, "details": dict(details or {})},
        "detail": message,
        "timestamp": utc_now(),
        "request_id": request_id(),
    }
    return Response(encode_json(envelope), status=status, content_type=JSON_TYPE)
