"""Settings of the web room (limits: API.md, section 2; DECISIONS, rate limits and health; no state)."""

from attrs import field, frozen, validators

from oht50d.model.units import Duration

_PORT = validators.and_(validators.ge(0), validators.le(65535))
_POSITIVE = validators.gt(0)
_GRACEFUL = Duration.parse("1s")
_PING = Duration.parse("5s")


@frozen(kw_only=True)
class WebConfig:
    """Where the API listens and what it bounds. Port 0: the system chooses; `metrics_port`: a second listener."""

    host: str = "0.0.0.0"
    port: int = field(default=8000, validator=_PORT)
    metrics_port: int | None = field(default=None, validator=validators.optional(_PORT))
    cors_origins: tuple[str, ...] = ()
    graceful_timeout: Duration = _GRACEFUL
    ws_ping: Duration = _PING
    ws_clients: int = field(default=64, validator=_POSITIVE)
    ws_clients_per_user: int = field(default=10, validator=_POSITIVE)
    requests_per_minute: int = field(default=1000, validator=_POSITIVE)
    commands_per_minute: int = field(default=100, validator=_POSITIVE)
    body_bytes: int = field(default=65_536, validator=_POSITIVE)
    history_default_rows: int = field(default=100, validator=_POSITIVE)
    history_max_rows: int = field(default=5000, validator=_POSITIVE)
