"""One WebSocket client: a reader, a sender, a ticker and a watcher around one outbox (API.md, section 12).

Owner of the subscriptions and of the jog that this client holds. Losing the connection, for whatever reason, ends its
jog; the lease in the daemon ends by itself even if this task cannot run.
"""

from collections import deque

import trio
from quart import Websocket

from oht50d.clock import now_ns
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected
from oht50d.model.snapshot import Snapshot
from oht50d.services.ports import Actor, Claim
from oht50d.web.guard import Guard
from oht50d.web.outbox import Outbox
from oht50d.web.present import STATUS_NAMES, stop_view
from oht50d.web.stop import press_stop
from oht50d.web.tokens import Identity
from oht50d.web.topics import TICK_NS, TopicEncoder, message
from oht50d.web.web_ports import WebPorts
from oht50d.web.ws_messages import (
    ClientMessage,
    EmergencyStop,
    JogPress,
    JogRelease,
    JogRenew,
    Ping,
    Subscribe,
    Unsubscribe,
    parse_message,
)

BAD_TOKEN = 4001
TOO_SLOW = 1013
ABUSE = 1008
_ERROR_LIMIT, _ERROR_SPAN_NS = 5, 60_000_000_000
_STOPS_IN_FLIGHT = 4


class Connection:
    """Runs until the client leaves, is too slow, breaks the protocol five times a minute, or its token ends."""

    def __init__(
        self, ports: WebPorts, guard: Guard, encoder: TopicEncoder, socket: Websocket, identity: Identity
    ) -> None:
        self._ports = ports
        self._guard = guard
        self._encoder = encoder
        self._socket = socket
        self._identity = identity
        self._actor = Actor(identity.username, identity.role, "ws", address=socket.remote_addr or "")
        self._outbox = Outbox()
        self._topics: set[str] = set()
        self._errors: deque[int] = deque(maxlen=_ERROR_LIMIT)
        self._jog_claim: Claim | None = None
        self._has_jogged = False
        self._stops_in_flight = 0
        self._nursery: trio.Nursery | None = None
        self._closing: tuple[int, str] | None = None

    async def run(self) -> None:
        """Serve the client; a cancellation leaves no jog behind."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._tell("connection_established", user_id=self._identity.username, username=self._identity.username)
                nursery.start_soon(self._send)
                nursery.start_soon(self._tick)
                nursery.start_soon(self._watch)
                await self._read()
        finally:
            self._let_go_of_jog()
        if self._closing is not None:
            await self._socket.close(*self._closing)

    async def _read(self) -> None:
        while True:
            raw = await self._socket.receive()
            try:
                await self._handle(parse_message(raw))
            except CommandRejected as refusal:
                self._refuse(refusal)

    async def _handle(self, said: ClientMessage) -> None:
        match said:
            case JogRenew():
                self._renew(said)
            case JogRelease():
                self._release()
            case EmergencyStop():
                await self._stop()
            case JogPress():
                await self._press(said)
            case Subscribe():
                self._topics.add(said.subscription_type)
                self._tell("subscription_confirmed", subscription_type=said.subscription_type)
            case Unsubscribe():
                self._topics.discard(said.subscription_type)
                self._tell("unsubscription_confirmed", subscription_type=said.subscription_type)
            case Ping():
                self._tell("pong", sent=said.sent)

    async def _press(self, press: JogPress) -> None:
        if self._actor.role < Role.OPERATOR:
            raise CommandRejected("INSUFFICIENT_PERMISSIONS", "jog needs the role operator")
        self._guard.count_command(self._actor.name)
        await self._guard.require_active(self._actor.name)
        claim = Claim(press.boot_id, press.epoch)
        answer = self._ports.commander.press_jog(self._actor, claim, press.way, press.speed_mm_s)
        self._jog_claim, self._has_jogged = claim, True
        self._tell("jog_started", direction=press.direction, **answer)

    def _renew(self, renewal: JogRenew) -> None:
        """A late echo extends nothing and is no offence: the watcher tells the end of the lease."""
        if self._jog_claim is None:
            return
        try:
            self._ports.commander.renew_jog(self._actor, self._jog_claim, renewal.nonce)
        except CommandRejected as refusal:
            if refusal.code != "CONFLICT":
                self._end_jog(refusal.message)

    def _release(self) -> None:
        self._ports.commander.release_jog(self._actor)
        if self._jog_claim is not None:
            self._end_jog("released")

    def _end_jog(self, why: str) -> None:
        self._jog_claim = None
        self._tell("jog_ended", message=why)

    def _let_go_of_jog(self) -> None:
        if self._has_jogged:
            self._has_jogged, self._jog_claim = False, None
            self._ports.commander.release_holder(self._actor)

    async def _stop(self) -> None:
        """Beside the reader, so that a release is never kept waiting; beyond the bound the reader itself waits."""
        assert self._nursery is not None
        if self._stops_in_flight < _STOPS_IN_FLIGHT:
            self._stops_in_flight += 1
            self._nursery.start_soon(self._stop_and_tell)
        else:
            await press_stop(self._ports, self._actor, "ws")

    async def _stop_and_tell(self) -> None:
        try:
            report = await press_stop(self._ports, self._actor, "ws")
        finally:
            self._stops_in_flight -= 1
        self._tell("command_response", command="emergency_stop", data=dict(report))

    async def _send(self) -> None:
        while True:
            await self._socket.send(await self._outbox.take())

    async def _tick(self) -> None:
        while True:
            tick = now_ns() // TICK_NS + 1
            await trio.sleep_until(tick * TICK_NS / 1e9)
            if self._ports.tokens.is_revoked(self._identity):
                self._leave(BAD_TOKEN, "the session has ended")
            for topic in self._topics:
                text = self._encoder.text(topic, tick)
                if text is not None:
                    self._outbox.put_latest(topic, text)

    async def _watch(self) -> None:
        """Follow every snapshot: nonces while this client jogs, changes of state, and stops."""
        before = self._ports.snapshots.current()
        while True:
            snapshot = await self._ports.snapshots.newer_than(before.version)
            self._tell_changes(before, snapshot)
            before = snapshot

    def _tell_changes(self, before: Snapshot, snapshot: Snapshot) -> None:
        if self._jog_claim is not None and snapshot.jog_nonce != before.jog_nonce:
            if snapshot.jog_nonce is not None:
                self._outbox.put_nonce(message("jog_nonce", nonce=snapshot.jog_nonce))
            elif before.jog_nonce is not None:
                self._end_jog("the lease has ended: let go of the button and press it again")
        if snapshot.state is not before.state:
            self._tell("status_change", **_state_change(before, snapshot))
        if snapshot.stop is not None and snapshot.stop != before.stop:
            self._tell("stop_update", data=stop_view(snapshot.stop, now_ns()))

    def _tell(self, kind: str, **fields: object) -> None:
        if not self._outbox.put_event(message(kind, **fields)):
            self._leave(TOO_SLOW, "the client does not read")

    def _refuse(self, refusal: CommandRejected) -> None:
        """Answer an error; the fifth within a minute ends the connection (API.md, section 12, abuse)."""
        now = now_ns()
        self._tell("error", code=refusal.code, message=refusal.message, details=refusal.details)
        is_abuse = len(self._errors) == _ERROR_LIMIT - 1 and now - self._errors[0] < _ERROR_SPAN_NS
        self._errors.append(now)
        if len(self._errors) == _ERROR_LIMIT:
            self._errors.popleft()
        if is_abuse:
            self._leave(ABUSE, "five errors within a minute")

    def _leave(self, code: int, reason: str) -> None:
        """Close from our side. The jog goes first: a sender that is stuck in the kernel must not delay it."""
        self._let_go_of_jog()
        self._closing = (code, reason)
        if self._nursery is not None:
            self._nursery.cancel_scope.cancel()


def _state_change(before: Snapshot, snapshot: Snapshot) -> dict[str, object]:
    return {
        "robot_id": snapshot.robot_id,
        "old_status": STATUS_NAMES.get(before.state, before.state.name.lower()),
        "new_status": STATUS_NAMES.get(snapshot.state, snapshot.state.name.lower()),
        "old_state": before.state.name,
        "new_state": snapshot.state.name,
        "is_latched": snapshot.is_latched,
    }
