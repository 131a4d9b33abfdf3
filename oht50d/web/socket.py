"""The WebSocket endpoint /ws?token=... Owner of the count of clients: `Admission`, one per app."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from quart import Quart, websocket

from oht50d.model.errors import CommandRejected
from oht50d.web.app_config import WebConfig
from oht50d.web.connection import BAD_TOKEN, TOO_SLOW, Connection
from oht50d.web.guard import Guard
from oht50d.web.topics import TopicEncoder
from oht50d.web.web_ports import WebPorts


class Admission:
    """At most `ws_clients` in all and `ws_clients_per_user` each; one more is turned away, nobody is thrown out."""

    def __init__(self, config: WebConfig) -> None:
        self._config = config
        self._by_user: Counter[str] = Counter()

    @contextmanager
    def enter(self, username: str) -> Iterator[bool]:
        """True while the client counts; False if there is no room."""
        has_room = (
            self._by_user.total() < self._config.ws_clients
            and self._by_user[username] < self._config.ws_clients_per_user
        )
        if has_room:
            self._by_user[username] += 1
        try:
            yield has_room
        finally:
            if has_room:
                self._by_user[username] -= 1
                self._by_user += Counter()


def register_socket(app: Quart, ports: WebPorts, guard: Guard) -> None:
    """Serve /ws; a bad token is closed with 4001 after the handshake, so that a browser can see the code."""
    encoder = TopicEncoder(ports)
    admission = Admission(ports.config)

    @app.websocket("/ws")
    async def ws() -> None:
        await websocket.accept()
        try:
            identity = ports.tokens.check(websocket.args.get("token", ""))
            await guard.require_active(identity.username)
        except CommandRejected as refusal:
            await websocket.close(BAD_TOKEN, refusal.message[:120])
            return
        with admission.enter(identity.username) as has_room:
            if not has_room:
                await websocket.close(TOO_SLOW, "too many clients")
                return
            socket = websocket._get_current_object()  # type: ignore[attr-defined]  # Quart's proxy; tasks need the object
            await Connection(ports, guard, encoder, socket, identity).run()
