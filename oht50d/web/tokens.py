"""Access and refresh tokens (JWT, HS256 pinned; API.md, section 2; DECISIONS, JWT).

Owner of the deny list: `TokenService`. Life is judged by the monotonic clock, because the vehicle's wall clock is not
trusted. Tokens of an earlier start are refused: monotonic times and the deny list mean nothing across starts, and a
refresh token that was used or revoked must not come back to life.
"""

import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
from attrs import field, frozen, validators
from jwt.types import Options

from oht50d.model.accounts import Account, Role
from oht50d.model.errors import CommandRejected
from oht50d.model.units import Duration, SettingClash, between

ALGORITHM = "HS256"
_MIN_KEY_BYTES = 32
_ACCESS_LIFE = Duration.parse("1h")
_SHORTEST_LIFE = Duration.parse("1s")
_REFRESH_LIFE = Duration.parse("7d")
_OPTIONS: Options = {
    "require": ["sub", "uid", "role", "typ", "jti", "sid", "iat", "exp", "boot_id", "mono"],
    "verify_exp": False,
    "verify_iat": False,
}
"""Life is judged by `mono` below; `exp` and `iat` are for the clients."""

PERMISSIONS: dict[Role, tuple[str, ...]] = {
    Role.VIEWER: ("robot:read", "safety:read", "lidar:read"),
    Role.OPERATOR: ("robot:read", "safety:read", "lidar:read", "robot:control", "safety:control"),
    Role.SUPERVISOR: ("robot:read", "safety:read", "lidar:read", "robot:control", "safety:control", "robot:config"),
    Role.ADMIN: (
        "robot:read", "safety:read", "lidar:read", "robot:control", "safety:control", "robot:config", "system:admin",
    ),
}  # fmt: skip


@frozen(kw_only=True)
class TokenConfig:
    """How long tokens live and how many revocations are kept."""

    access_life: Duration = field(default=_ACCESS_LIFE, validator=between(_SHORTEST_LIFE, Duration.parse("1d")))
    refresh_life: Duration = field(default=_REFRESH_LIFE, validator=between(_SHORTEST_LIFE, Duration.parse("90d")))
    deny_limit: int = field(default=10_000, validator=[validators.gt(0), validators.le(1_000_000)])

    def __attrs_post_init__(self) -> None:
        if self.refresh_life < self.access_life:
            raise SettingClash("refresh_life", f"at least access_life {self.access_life}", self.refresh_life)


@frozen
class Identity:
    """Who a valid access token speaks for, until when on the monotonic clock, and in which session."""

    username: str
    role: Role
    session_id: str
    token_id: str
    expires_ns: int


@frozen
class TokenPair:
    """What a sign-in or a refresh hands out."""

    access_token: str
    refresh_token: str
    expires_s: int
    account: Account


class TokenService:
    """Issues, checks, rotates and revokes tokens; the key never leaves it."""

    def __init__(
        self,
        key: bytes,
        boot_id: str,
        config: TokenConfig,
        *,
        now_ns: Callable[[], int],
        wall_s: Callable[[], float],
    ) -> None:
        if len(key) < _MIN_KEY_BYTES:
            raise ValueError(f"a signing key needs {_MIN_KEY_BYTES} bytes or more")
        self._key = key
        self._boot_id = boot_id
        self._config = config
        self._now_ns = now_ns
        self._wall_s = wall_s
        self._denied: OrderedDict[str, int] = OrderedDict()
        self._not_before_ns = 0

    def issue(self, account: Account, session_id: str | None = None) -> TokenPair:
        """A new pair for `account`; a new session unless it continues one."""
        session = session_id or uuid.uuid4().hex
        access = self._sign(account, "access", session, self._config.access_life)
        refresh = self._sign(account, "refresh", session, self._config.refresh_life)
        return TokenPair(access, refresh, int(self._config.access_life.s), account)

    def check(self, token: str) -> Identity:
        """Who an access token speaks for; raises CommandRejected INVALID_TOKEN that says why."""
        return self._read(token, "access")

    def spend(self, refresh_token: str) -> Identity:
        """Use a refresh token, once. A second use revokes its whole session: one of the two users stole it."""
        identity = self._read(refresh_token, "refresh")
        self._deny(identity.token_id)
        return identity

    def revoke(self, session_id: str) -> None:
        """End a session: its access and refresh tokens are refused from now on."""
        self._deny(session_id)

    def is_revoked(self, identity: Identity) -> bool:
        """True if the session has ended or the token's life is over."""
        return identity.session_id in self._denied or self._now_ns() >= identity.expires_ns

    def _sign(self, account: Account, kind: str, session_id: str, life: Duration) -> str:
        issued_s = int(self._wall_s())
        claims = {
            "sub": account.username,
            "uid": account.username,
            "role": account.role.name.lower(),
            "perms": list(PERMISSIONS[account.role]),
            "typ": kind,
            "jti": uuid.uuid4().hex,
            "sid": session_id,
            "iat": issued_s,
            "exp": issued_s + int(life.s),
            "boot_id": self._boot_id,
            "mono": self._now_ns(),
        }
        return jwt.encode(claims, self._key, algorithm=ALGORITHM)

    def _read(self, token: str, kind: str) -> Identity:
        claims = self._decode(token)
        if claims["typ"] != kind:
            raise _invalid("this is not an access token" if kind == "access" else "this is not a refresh token")
        if claims["boot_id"] != self._boot_id:
            raise _invalid("the control program has restarted since: sign in again")
        life = self._config.access_life if kind == "access" else self._config.refresh_life
        issued_ns = int(claims["mono"])
        if self._now_ns() >= issued_ns + life.ns:
            raise _invalid("the token has expired: sign in again or refresh")
        token_id, session_id = str(claims["jti"]), str(claims["sid"])
        if kind == "refresh" and token_id in self._denied:
            self._deny(session_id)
            raise _invalid("this refresh token was used before: its session has been ended, sign in again")
        if session_id in self._denied or token_id in self._denied or issued_ns < self._not_before_ns:
            raise _invalid("the session has ended: sign in again")
        return Identity(
            str(claims["sub"]), Role[str(claims["role"]).upper()], session_id, token_id, issued_ns + life.ns
        )

    def _decode(self, token: str) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=[ALGORITHM], options=_OPTIONS)
        except jwt.InvalidTokenError:
            raise _invalid("the token is malformed or not ours") from None
        if type(claims["mono"]) is not int or str(claims["role"]).upper() not in Role.__members__:
            raise _invalid("the token is malformed or not ours")
        return claims

    def _deny(self, name: str) -> None:
        """Remember `name` for as long as any token could live; a full list ends every session older than now."""
        now_ns = self._now_ns()
        while self._denied and next(iter(self._denied.values())) + self._config.refresh_life.ns < now_ns:
            self._denied.popitem(last=False)
        if len(self._denied) >= self._config.deny_limit:
            self._denied.clear()
            self._not_before_ns = now_ns
        self._denied[name] = now_ns


def _invalid(why: str) -> CommandRejected:
    return CommandRejected("INVALID_TOKEN", why, {"field": "token", "issue": why})
