"""HTTP/1.1 as Hypercorn speaks it, without the ways in which a connection could hang with a STOP unread (no state).

Hypercorn ends a connection whose request was answered before its body had come; here a small rest is read and thrown
away instead, so that the next request is read. What cannot be a request is refused in words.
"""

import uuid
from typing import cast
from urllib.parse import urlsplit

import h11
import hypercorn.protocol
import trio
from hypercorn.events import Closed
from hypercorn.protocol.events import Body, EndBody, Event, Response, StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.ws_stream import Handshake, WSStream

from oht50d.web.envelope import encode_json, utc_now

_DRAIN_S = 1.0
_DRAIN_BYTES = 65_536
_HANDSHAKE_S = 5.0
_REFUSALS = {
    400: ("INVALID_REQUEST", "request", "not HTTP/1.1"),
    413: ("REQUEST_TOO_LARGE", "body", "too large"),
    431: ("INVALID_REQUEST", "headers", "too large"),
}


class _Rest:
    """The rest of a body that nobody wants any more, in the place of its stream."""

    def __init__(self) -> None:
        self.is_over = trio.Event()
        self._size = 0

    async def handle(self, event: Event) -> None:
        self._size += len(event.data) if isinstance(event, Body) else 0
        if isinstance(event, EndBody | StreamClosed) or self._size > _DRAIN_BYTES:
            self.is_over.set()


class Http1(H11Protocol):
    """One client's HTTP/1.1: every request is answered or the connection is ended."""

    _handshake_over: trio.Event | None = None

    @property
    def is_websocket(self) -> bool:
        """Whether the client has asked for a WebSocket."""
        return isinstance(self.connection, H11WSConnection)

    async def handle(self, event: object) -> None:
        if isinstance(event, Closed) and self._handshake_over is not None:
            self._handshake_over.set()
        await super().handle(event)  # type: ignore[arg-type]  # Hypercorn's events have one name and two families

    async def stream_send(self, event: Event) -> None:
        await super().stream_send(event)
        is_open = isinstance(event, Response) and event.status_code == 101
        if self._handshake_over is not None and (is_open or isinstance(event, StreamClosed)):
            self._handshake_over.set()

    async def _create_stream(self, request: h11.Request) -> None:
        issue = _target_issue(request.target)
        if issue is not None:
            await self._refuse(400, "INVALID_REQUEST", "path", issue)
            await self.send(Closed())
            return
        await super()._create_stream(_without_false_upgrade(request))
        if isinstance(self.stream, WSStream):
            # frames right behind the handshake wait for its answer
            self._handshake_over = trio.Event()
            if not self.stream.handshake.accepted:
                with trio.move_on_after(_HANDSHAKE_S):
                    await self._handshake_over.wait()

    async def _maybe_recycle(self) -> None:
        # our caller's task is cancelled by the very news that its stream is closed; what follows must happen
        with trio.CancelScope(shield=True):
            await self._close_stream()
            if self.connection.our_state is h11.DONE and self.connection.their_state is h11.SEND_BODY:
                rest = _Rest()
                self.stream = cast(WSStream, rest)
                with trio.move_on_after(_DRAIN_S):
                    await rest.is_over.wait()
            await super()._maybe_recycle()

    async def _send_error_response(self, status_code: int) -> None:
        code, field, issue = _REFUSALS.get(status_code, _REFUSALS[400])
        await self._refuse(status_code, code, field, issue)

    async def _refuse(self, status: int, code: str, field: str, issue: str) -> None:
        message = f"{field}: {issue}"
        envelope = {
            "success": False,
            "error": {"code": code, "message": message, "details": {"field": field, "issue": issue}},
            "detail": message,
            "timestamp": utc_now(),
            "request_id": uuid.uuid4().hex,
        }
        body = encode_json(envelope)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _target_issue(target: bytes) -> str | None:
    if not target.isascii():
        return "not ASCII"
    if target.startswith(b"/") or target == b"*":
        return None
    try:
        parts = urlsplit(target.decode())
    except ValueError:
        return "not a path and not a URL"
    return None if parts.scheme in ("http", "https") and parts.netloc else "not a path and not a URL"


def _without_false_upgrade(request: h11.Request) -> h11.Request:
    """An upgrade to a WebSocket that is none is an ordinary request (RFC 9110, 7.8) and is answered like one."""
    headers = list(request.headers)
    upgrade = dict(headers).get(b"upgrade", b"").lower()
    if upgrade != b"websocket" or Handshake(headers, request.http_version.decode()).is_valid():
        return request
    return h11.Request(
        method=request.method,
        target=request.target,
        http_version=request.http_version,
        headers=[(name, value) for name, value in headers if name != b"upgrade"],
    )


def install() -> None:
    """Let Hypercorn use `Http1`: its `ProtocolWrapper` names the class itself."""
    hypercorn.protocol.H11Protocol = Http1  # type: ignore[attr-defined]  # the only door
