"""Tokens, rate limits, foreign pages and request schemas: pure parts of the web room."""

import base64
import json

import jwt
import pytest
from werkzeug.datastructures import Headers

from oht50d.model.errors import CommandRejected
from oht50d.services.ports import Account, Role
from oht50d.web.origin import is_foreign
from oht50d.web.rate_limit import RateLimiter
from oht50d.web.schema import ControlRequest, structure
from oht50d.web.tokens import TokenConfig, TokenService

KEY = b"k" * 32
UNAGED = {"verify_exp": False, "verify_iat": False}
OPS = Account("ops", Role.OPERATOR, True)


class Clock:
    """A monotonic clock and a wall clock that a test moves."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000
        self.wall_s = 1_900_000_000.0


def service(clock: Clock, *, key: bytes = KEY, boot_id: str = "boot-1", deny_limit: int = 100) -> TokenService:
    return TokenService(
        key, boot_id, TokenConfig(deny_limit=deny_limit), now_ns=lambda: clock.ns, wall_s=lambda: clock.wall_s
    )


def test_claims_and_life() -> None:
    clock = Clock()
    tokens = service(clock)
    pair = tokens.issue(OPS)
    claims = jwt.decode(pair.access_token, KEY, algorithms=["HS256"], options=UNAGED)
    assert {"sub", "uid", "role", "perms", "typ", "jti", "iat", "exp", "boot_id"} <= set(claims)
    assert claims["exp"] - claims["iat"] == 3600
    assert claims["perms"] == ["robot:read", "safety:read", "lidar:read", "robot:control", "safety:control"]
    assert tokens.check(pair.access_token).role is Role.OPERATOR
    clock.ns += 3_600_000_000_000
    with pytest.raises(CommandRejected, match="expired"):
        tokens.check(pair.access_token)


def test_kinds_are_not_interchangeable() -> None:
    tokens = service(Clock())
    pair = tokens.issue(OPS)
    with pytest.raises(CommandRejected, match="not an access token"):
        tokens.check(pair.refresh_token)
    with pytest.raises(CommandRejected, match="not a refresh token"):
        tokens.spend(pair.access_token)


def test_another_start_or_key_is_refused() -> None:
    clock = Clock()
    token = service(clock).issue(OPS).access_token
    with pytest.raises(CommandRejected, match="restarted"):
        service(clock, boot_id="boot-2").check(token)
    with pytest.raises(CommandRejected, match="not ours"):
        service(clock, key=b"x" * 32).check(token)


def _unsigned(claims: dict) -> str:
    def part(document: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def test_forgeries_are_refused() -> None:
    tokens = service(Clock())
    good = jwt.decode(tokens.issue(OPS).access_token, KEY, algorithms=["HS256"], options=UNAGED)
    forgeries = [
        _unsigned(good),
        jwt.encode(good, b"k" * 64, algorithm="HS512"),
        jwt.encode({**good, "role": "emperor"}, KEY, algorithm="HS256"),
        jwt.encode({**good, "mono": "soon"}, KEY, algorithm="HS256"),
        jwt.encode({key: good[key] for key in good if key != "boot_id"}, KEY, algorithm="HS256"),
        "mock_token",
        "",
    ]
    for forgery in forgeries:
        with pytest.raises(CommandRejected) as refusal:
            tokens.check(forgery)
        assert refusal.value.code == "INVALID_TOKEN"


def test_reuse_of_a_refresh_token_ends_the_session() -> None:
    tokens = service(Clock())
    first = tokens.issue(OPS)
    spent = tokens.spend(first.refresh_token)
    second = tokens.issue(OPS, spent.session_id)
    identity = tokens.check(second.access_token)
    with pytest.raises(CommandRejected, match="used before"):
        tokens.spend(first.refresh_token)
    assert tokens.is_revoked(identity)
    with pytest.raises(CommandRejected):
        tokens.spend(second.refresh_token)


def test_a_full_deny_list_revives_nothing() -> None:
    clock = Clock()
    tokens = service(clock, deny_limit=3)
    victims = [tokens.issue(OPS) for _ in range(4)]
    for victim in victims:
        clock.ns += 1
        tokens.revoke(tokens.check(victim.access_token).session_id)
    for victim in victims:
        with pytest.raises(CommandRejected):
            tokens.check(victim.access_token)
    clock.ns += 1
    assert tokens.check(tokens.issue(OPS).access_token).username == "ops"


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        service(Clock(), key=b"short")


def test_rate_limit_refills_and_its_table_is_bounded() -> None:
    limiter = RateLimiter(60, capacity=2)
    verdicts = [limiter.take("a", 0) for _ in range(61)]
    assert [verdict.is_allowed for verdict in verdicts] == [True] * 60 + [False]
    assert verdicts[0].remaining == 59
    assert verdicts[-1].reset_s >= 1
    assert limiter.take("a", 1_000_000_001).is_allowed
    assert not limiter.take("a", 1_000_000_002).is_allowed
    limiter.take("b", 1_000_000_003)
    limiter.take("c", 1_000_000_004)
    assert limiter.take("a", 1_000_000_005).remaining == 59


@pytest.mark.parametrize(
    ("headers", "is_foreign_page"),
    [
        ({}, False),
        ({"Host": "robot", "Origin": "http://robot"}, False),
        ({"Host": "ROBOT:8000", "Origin": "http://robot:8000"}, False),
        ({"Host": "robot:8000", "Origin": "http://robot:9000"}, True),
        ({"Host": "robot", "Origin": "null"}, True),
        ({"Host": "robot", "Origin": ""}, True),
        ({"Host": "robot", "Origin": "https://panel.example"}, False),
        ({"Host": "robot", "Origin": "https://panel.example.evil"}, True),
        ({"Host": "robot", "Sec-Fetch-Site": "cross-site"}, True),
        ({"Host": "robot", "Sec-Fetch-Site": "same-site"}, False),
        ({"Host": "robot", "Origin": "http://other", "Sec-Fetch-Site": "same-origin"}, False),
    ],
)
def test_foreign_pages(headers: dict[str, str], is_foreign_page: bool) -> None:
    assert is_foreign(Headers(headers), ("https://panel.example",)) is is_foreign_page


def test_schema_names_every_bad_field() -> None:
    with pytest.raises(CommandRejected) as refusal:
        structure({"command": 1, "epoch": 1.0, "force": "yes", "extra": 0}, ControlRequest, code="INVALID_COMMAND")
    fields = {issue["field"] for issue in refusal.value.details["fields"]}
    assert fields == {"command", "epoch", "force", "extra"}
    assert structure({"command": "arm", "priority": 3}, ControlRequest).priority == 3
