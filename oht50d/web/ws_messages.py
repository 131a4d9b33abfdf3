"""What a WebSocket client may say, as values (API.md, section 12; no state)."""

from attrs import frozen

from oht50d.model.motion import Direction
from oht50d.web.schema import STOP_WORDS, invalid, parse_json, require_plain, structure
from oht50d.web.topics import TOPICS

_CODE = "INVALID_COMMAND"
MESSAGE_BYTES = 4096


@frozen(kw_only=True)
class Subscribe:
    """Send me a topic from now on."""

    subscription_type: str


@frozen(kw_only=True)
class Unsubscribe:
    """No more of it."""

    subscription_type: str


@frozen(kw_only=True)
class Ping:
    """Answer with a pong; `sent` comes back unchanged."""

    sent: float | None = None


@frozen(kw_only=True)
class EmergencyStop:
    """STOP; every further field is ignored."""


@frozen(kw_only=True)
class JogPress:
    """A jog button went down."""

    direction: str
    boot_id: str
    epoch: int
    speed_mm_s: float | None = None

    @property
    def way(self) -> Direction:
        """The direction as a value; raises CommandRejected."""
        ways = {"forward": Direction.FORWARD, "reverse": Direction.REVERSE, "backward": Direction.REVERSE}
        if self.direction not in ways:
            raise invalid("direction", "expected forward or reverse", code=_CODE)
        return ways[self.direction]


@frozen(kw_only=True)
class JogRenew:
    """Still held: the echo of the newest nonce."""

    nonce: int


@frozen(kw_only=True)
class JogRelease:
    """The jog button is up."""


ClientMessage = Subscribe | Unsubscribe | Ping | EmergencyStop | JogPress | JogRenew | JogRelease

_KINDS: dict[str, type[ClientMessage]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "ping": Ping,
    "jog_press": JogPress,
    "jog_renew": JogRenew,
    "jog_release": JogRelease,
}


def parse_message(raw: str | bytes) -> ClientMessage:
    """One client message; raises CommandRejected with the field. Anything that says STOP is one, however malformed."""
    if len(raw) > MESSAGE_BYTES:
        raise invalid("body", f"longer than {MESSAGE_BYTES} bytes", code=_CODE)
    document = parse_json(raw, code=_CODE)
    if not isinstance(document, dict):
        raise invalid("body", "expected a JSON object", code=_CODE)
    kind = document.pop("type", None) or document.pop("event", None)
    document.pop("event", None)
    if kind in STOP_WORDS or (kind == "robot_control" and document.get("command") in STOP_WORDS):
        return EmergencyStop()
    require_plain(document, code=_CODE)
    if not isinstance(kind, str) or kind not in _KINDS:
        raise invalid("type", f"expected one of {', '.join((*_KINDS, 'emergency_stop'))}", code=_CODE)
    known = structure(document, _KINDS[kind], code=_CODE)
    if isinstance(known, Subscribe | Unsubscribe) and known.subscription_type not in TOPICS:
        raise invalid("subscription_type", f"expected one of {', '.join(TOPICS)}", code=_CODE)
    return known
