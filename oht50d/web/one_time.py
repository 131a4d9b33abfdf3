"""One-time sign-in links: single use, ten minutes, in memory only. Owner of the state: `OneTimeSignIn`."""

import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Callable

from oht50d.model.accounts import Account
from oht50d.model.units import Duration

LIFE = Duration(600_000_000_000)
_CAPACITY = 16


class OneTimeSignIn:
    """Tokens that stand for an account until used or `LIFE` old; at most 16, the oldest gives way."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._waiting: OrderedDict[bytes, tuple[Account, int]] = OrderedDict()

    def issue(self, account: Account) -> str:
        """A fresh token for `account`; only its hash is kept."""
        token = secrets.token_urlsafe(24)
        self._waiting[_digest(token)] = (account, self._now_ns() + LIFE.ns)
        while len(self._waiting) > _CAPACITY:
            self._waiting.popitem(last=False)
        return token

    def redeem(self, token: str) -> Account | None:
        """The account, once; None if the token is unknown, used or too old."""
        account, expires_ns = self._waiting.pop(_digest(token), (None, 0))
        return account if self._now_ns() < expires_ns else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
