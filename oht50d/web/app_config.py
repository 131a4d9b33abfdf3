"""Settings of the web room (limits: API.md, section 2; DECISIONS, rate limits and health; no state)."""

import re

from attrs import Attribute, field, frozen, validators

from oht50d.model.errors import SettingRefused
from oht50d.model.units import Duration

_PORT = validators.and_(validators.ge(0), validators.le(65535))
_POSITIVE = validators.gt(0)
_GRACEFUL = Duration.parse("1s")
_PING = Duration.parse("5s")
_ORIGIN = re.compile(r"(https?)://(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_OWN_PORTS = {"http": 80, "https": 443}
_EXPECTED_ORIGIN = (
    'an origin as a browser sends it, such as "https://panel.example" or "http://localhost:3000": http or https, a '
    "host in lower case, a port only if it is not the scheme's own; no path, no slash at the end, no *"
)


def _check_origins(_: object, __: "Attribute[tuple[str, ...]]", origins: tuple[str, ...]) -> None:
    """Origins are compared letter by letter: an entry that can never match is a mistake, not a harmless one."""
    for origin in origins:
        found = _ORIGIN.fullmatch(origin)
        port = int(found[2]) if found and found[2] else None
        is_own_port = found is not None and port == _OWN_PORTS[found[1]]
        if found is None or is_own_port or (port or 0) > 65_535:
            raise SettingRefused("not an origin", expected=_EXPECTED_ORIGIN, found=repr(origin))


@frozen(kw_only=True)
class WebConfig:
    """Where the API listens and what it bounds. Port 0: the system chooses; `metrics_port`: a second listener."""

    host: str = "0.0.0.0"
    port: int = field(default=8000, validator=_PORT)
    metrics_port: int | None = field(default=None, validator=validators.optional(_PORT))
    cors_origins: tuple[str, ...] = field(default=(), validator=_check_origins)
    graceful_timeout: Duration = _GRACEFUL
    ws_ping: Duration = _PING
    ws_clients: int = field(default=64, validator=_POSITIVE)
    ws_clients_per_user: int = field(default=10, validator=_POSITIVE)
    requests_per_minute: int = field(default=1000, validator=_POSITIVE)
    commands_per_minute: int = field(default=100, validator=_POSITIVE)
    body_bytes: int = field(default=65_536, validator=_POSITIVE)
    history_default_rows: int = field(default=100, validator=_POSITIVE)
    history_max_rows: int = field(default=5000, validator=_POSITIVE)
