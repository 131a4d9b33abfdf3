"""Settings of the web room (limits: API.md, section 2; DECISIONS, rate limits and health; no state)."""

from attrs import field, frozen, validators

from oht50d.model.units import HOST, Duration, SettingClash, Validator, at_most, between, matching

_PORT = validators.and_(validators.ge(0), validators.le(65535))
_TCP_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
# Origins are compared letter by letter: an entry that can never match is a mistake, not a harmless one.
_ORIGINS = validators.deep_iterable(
    matching(
        r"(?!http://.*:80\Z|https://.*:443\Z)https?://(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])"
        rf"(?::(?:{_TCP_PORT}))?",
        'origins as a browser sends them, such as "https://panel.example" or "http://localhost:3000": http or https, a '
        "host in lower case, a port only if it is not the scheme's own; no path, no slash at the end, no *",
    )
)
_GRACEFUL = Duration.parse("1s")
_PING = Duration.parse("5s")


def _up_to(most: int) -> Validator:
    return validators.and_(validators.gt(0), validators.le(most))


@frozen(kw_only=True)
class WebConfig:
    """Where the API listens and what it bounds. Port 0: the system chooses; `metrics_port`: a second listener."""

    host: str = field(default="0.0.0.0", validator=HOST)
    port: int = field(default=8000, validator=_PORT)
    metrics_port: int | None = field(default=None, validator=validators.optional(_PORT))
    cors_origins: tuple[str, ...] = field(default=(), validator=_ORIGINS)
    # The process is ended by force 7 s after a stop was asked for.
    graceful_timeout: Duration = field(default=_GRACEFUL, validator=at_most(Duration.parse("5s")))
    ws_ping: Duration = field(default=_PING, validator=between(Duration.parse("1s"), Duration.parse("60s")))
    ws_clients: int = field(default=64, validator=_up_to(1000))
    ws_clients_per_user: int = field(default=10, validator=_up_to(1000))
    requests_per_minute: int = field(default=1000, validator=_up_to(1_000_000))
    commands_per_minute: int = field(default=100, validator=_up_to(1_000_000))
    body_bytes: int = field(default=65_536, validator=_up_to(16 * 2**20))
    history_default_rows: int = field(default=100, validator=_up_to(10_000))
    history_max_rows: int = field(default=5000, validator=_up_to(10_000))

    def __attrs_post_init__(self) -> None:
        if self.port and self.metrics_port == self.port:
            raise SettingClash("metrics_port", "another port than web.port", self.metrics_port)
        if self.history_default_rows > self.history_max_rows:
            limit = f"at most history_max_rows {self.history_max_rows}"
            raise SettingClash("history_default_rows", limit, self.history_default_rows)
