"""User accounts in SQLite: argon2id hashes, roles, lock-out (DECISIONS, password storage; API.md, section 2).

Owner of `users.db` and of the thread that hashes: `UserStore`. Parameters: 19 MiB, t=2, p=1, one hash at a time in a
thread (ARCHITECTURE, facts measured). Lock-out: 30 minutes after 5 failures, by the monotonic clock; what is left of it
is also kept in the file, so that a restart does not forgive.
"""

import os
import re
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import trio
from argon2 import PasswordHasher, Type
from argon2.exceptions import Argon2Error, InvalidHashError
from attrs import evolve, field, frozen, validators

from oht50d.clock import now_ns as trio_now_ns
from oht50d.model.accounts import Account, Role
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.units import Duration

T = TypeVar("T")

_MIN_PASSWORD, _MAX_PASSWORD = 12, 1024
_NAME = re.compile(r"[a-z][a-z0-9._-]{2,49}")
_LOCK_OUT = Duration.parse("30min")
_BUSY_S = 1.0
_HASH_QUEUE = 8
_MAX_NAME = 50
_ATTEMPTS_LIMIT = 4096
"""Names whose failures are remembered; the oldest gives way (a known user's are in the file too)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS users (
    username TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    is_active INTEGER NOT NULL DEFAULT 1,
    password_hash TEXT NOT NULL,
    failures INTEGER NOT NULL DEFAULT 0,
    locked_for_ns INTEGER NOT NULL DEFAULT 0
) STRICT
"""


@frozen(kw_only=True)
class UserStoreConfig:
    """When a name is locked, and for how long."""

    failures_allowed: int = field(default=5, validator=validators.gt(0))
    lock_out: Duration = _LOCK_OUT


@frozen
class _Attempts:
    """Failures since the last success, and the moment of the lock's end on the monotonic clock."""

    failures: int
    locked_until_ns: int


@frozen
class _StoredUser:
    account: Account
    password_hash: str
    failures: int
    locked_for_ns: int


class UserStore:
    """Accounts of one file. Bounds: one hash at a time, at most 8 calls waiting, SQLite busy for 1 s at most."""

    def __init__(
        self, path: Path, config: UserStoreConfig | None = None, *, now_ns: Callable[[], int] = trio_now_ns
    ) -> None:
        self._path = path
        self._config = config or UserStoreConfig()
        self._now_ns = now_ns
        self._hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=Type.ID)
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._attempts: OrderedDict[str, _Attempts] = OrderedDict()
        self._decoy: str | None = None

    def prepare(self) -> None:
        """Create the file (0600) and its table; blocking, call it before the loop runs. Raises StoreError."""
        try:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
            self._path.chmod(0o600)
            with closing(self._connect()) as database, database:
                database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{self._path}: {error}") from error

    async def verify(self, username: str, password: str) -> Account | None:
        """The account, or None for a wrong name or password or a switched-off account.

        An unknown name costs the same work and is locked like a known one. Raises CommandRejected RATE_LIMITED while
        locked out or while too many calls wait, StoreError if the file cannot be read. A cancellation counts no
        failure, but the hash that has begun runs to its end.
        """
        self._refuse_flood()
        name = username[:_MAX_NAME]
        user = await self._in_thread(lambda: self._find(name))
        self._refuse_locked(name, user)
        is_right = await self._in_thread(lambda: self._matches(user, password[:_MAX_PASSWORD]))
        self._refuse_locked(name, user)
        await self._count(name, user, is_right)
        return user.account if user is not None and is_right and user.account.is_active else None

    async def get(self, username: str) -> Account | None:
        """The account; None if there is none."""
        user = await self._in_thread(lambda: self._find(username))
        return None if user is None else user.account

    async def add(self, username: str, password: str, role: Role) -> Account:
        """A new account; raises CommandRejected INVALID_COMMAND (details.field) or CONFLICT if the name is taken."""
        if not _NAME.fullmatch(username):
            raise _bad("username", "3 to 50 of a-z, 0-9, dot, dash and underscore, beginning with a letter")
        if not _MIN_PASSWORD <= len(password) <= _MAX_PASSWORD:
            raise _bad("password", f"{_MIN_PASSWORD} characters or more (at most {_MAX_PASSWORD})")
        self._refuse_flood()
        account = Account(username, role, True)
        is_new = await self._in_thread(lambda: self._insert(account, self._hasher.hash(password)))
        if not is_new:
            raise CommandRejected("CONFLICT", f"the user {username} exists already", {"field": "username"})
        return account

    async def set_active(self, username: str, *, is_active: bool) -> Account | None:
        """Switch an account on or off; None if there is none."""
        await self._in_thread(
            lambda: self._write("UPDATE users SET is_active = ? WHERE username = ?", (int(is_active), username))
        )
        return await self.get(username)

    async def names(self) -> Sequence[Account]:
        """Every account, by name."""
        return await self._in_thread(self._all)

    def _refuse_flood(self) -> None:
        if self._one_at_a_time.statistics().tasks_waiting >= _HASH_QUEUE:
            raise CommandRejected("RATE_LIMITED", "too many sign-ins at once: try again", {"retry_after_s": 2})

    def _refuse_locked(self, name: str, user: _StoredUser | None) -> None:
        left_ns = self._known(name, user).locked_until_ns - self._now_ns()
        if left_ns > 0:
            minutes = left_ns // 60_000_000_000 + 1
            raise CommandRejected(
                "RATE_LIMITED",
                f"too many wrong passwords: {name} is locked for {minutes} min",
                {"field": "username", "retry_after_s": left_ns // 1_000_000_000 + 1},
            )

    def _known(self, name: str, user: _StoredUser | None) -> _Attempts:
        """What memory knows; at first sight after a start the file's rest of a lock begins to run now."""
        known = self._attempts.get(name)
        if known is None:
            stored = (user.failures, user.locked_for_ns) if user is not None else (0, 0)
            known = self._attempts[name] = _Attempts(stored[0], self._now_ns() + stored[1])
            if len(self._attempts) > _ATTEMPTS_LIMIT:
                self._attempts.popitem(last=False)
        return known

    async def _count(self, name: str, user: _StoredUser | None, is_right: bool) -> None:
        known = self._known(name, user)
        counted = _Attempts(0, 0) if is_right else evolve(known, failures=known.failures + 1)
        if counted.failures >= self._config.failures_allowed:
            counted = _Attempts(0, self._now_ns() + self._config.lock_out.ns)
        self._attempts[name] = counted
        locked_for_ns = max(0, counted.locked_until_ns - self._now_ns())
        if user is None or (user.failures, user.locked_for_ns) == (counted.failures, locked_for_ns):
            return
        await self._in_thread(
            lambda: self._write(
                "UPDATE users SET failures = ?, locked_for_ns = ? WHERE username = ?",
                (counted.failures, locked_for_ns, name),
            )
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(work, limiter=self._one_at_a_time)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def _matches(self, user: _StoredUser | None, password: str) -> bool:
        if self._decoy is None:
            self._decoy = self._hasher.hash("a password that nobody has")
        try:
            self._hasher.verify(user.password_hash if user is not None else self._decoy, password)
        except (Argon2Error, InvalidHashError):
            return False
        return user is not None

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path, timeout=_BUSY_S)
        database.execute("PRAGMA synchronous = FULL")
        return database

    def _find(self, username: str) -> _StoredUser | None:
        query = "SELECT username, role, is_active, password_hash, failures, locked_for_ns FROM users WHERE username = ?"
        with closing(self._connect()) as database:
            row = database.execute(query, (username,)).fetchone()
        if row is None:
            return None
        return _StoredUser(_account(row), str(row[3]), int(row[4]), int(row[5]))

    def _all(self) -> Sequence[Account]:
        with closing(self._connect()) as database:
            rows = database.execute("SELECT username, role, is_active FROM users ORDER BY username").fetchall()
        return tuple(_account(row) for row in rows)

    def _insert(self, account: Account, password_hash: str) -> bool:
        query = "INSERT OR IGNORE INTO users (username, role, password_hash) VALUES (?, ?, ?)"
        return self._write(query, (account.username, account.role.name.lower(), password_hash)) == 1

    def _write(self, query: str, parameters: tuple[str | int, ...]) -> int:
        with closing(self._connect()) as database, database:
            return database.execute(query, parameters).rowcount


def _account(row: tuple[object, ...]) -> Account:
    role = Role.__members__.get(str(row[1]).upper())
    if role is None:
        raise StoreError(f"users.db: {row[0]} has the unknown role {row[1]!r}")
    return Account(str(row[0]), role, bool(row[2]))


def _bad(name: str, issue: str) -> CommandRejected:
    return CommandRejected("INVALID_COMMAND", f"{name}: {issue}", {"field": name, "issue": issue})
