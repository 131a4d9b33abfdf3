"""Accounts and the signing key: a real SQLite file, real argon2, real threads."""

import sqlite3
import stat
from pathlib import Path

import pytest
import trio

from oht50d.drivers.secrets import load_signing_key
from oht50d.drivers.user_store import UserStore
from oht50d.model.errors import CommandRejected, ConfigError, StoreError
from oht50d.services.ports import Account, Role

PASSWORD = "correct horse battery"


class Clock:
    """Monotonic nanoseconds that a test moves."""

    def __init__(self) -> None:
        self.ns = 5_000_000_000

    def __call__(self) -> int:
        return self.ns


def opened(path: Path, clock: Clock) -> UserStore:
    store = UserStore(path / "users.db", now_ns=clock)
    store.prepare()
    return store


async def test_add_verify_and_list(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    assert await store.add("ops", PASSWORD, Role.OPERATOR) == Account("ops", Role.OPERATOR, True)
    await store.add("admin", PASSWORD + "!", Role.ADMIN)
    assert await store.verify("ops", PASSWORD) == Account("ops", Role.OPERATOR, True)
    assert await store.verify("ops", PASSWORD + " ") is None
    assert await store.verify("nobody", PASSWORD) is None
    assert [account.username for account in await store.names()] == ["admin", "ops"]
    assert await store.get("nobody") is None


async def test_the_file_is_private_and_holds_argon2id_only(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    await store.add("ops", PASSWORD, Role.OPERATOR)
    path = tmp_path / "users.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    database = sqlite3.connect(path)
    (kept,) = database.execute("SELECT password_hash FROM users").fetchone()
    database.close()
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert PASSWORD.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("username", "password", "field"),
    [
        ("Ops", PASSWORD, "username"),
        ("o", PASSWORD, "username"),
        ("ops; --", PASSWORD, "username"),
        ("ops", "eleven chars"[:11], "password"),
        ("ops", "x" * 2000, "password"),
    ],
)
async def test_bad_names_and_short_passwords(tmp_path: Path, username: str, password: str, field: str) -> None:
    with pytest.raises(CommandRejected) as refusal:
        await opened(tmp_path, Clock()).add(username, password, Role.VIEWER)
    assert (refusal.value.code, refusal.value.details["field"]) == ("INVALID_COMMAND", field)


async def test_a_name_is_taken_once(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    await store.add("ops", PASSWORD, Role.VIEWER)
    with pytest.raises(CommandRejected) as refusal:
        await store.add("ops", PASSWORD, Role.ADMIN)
    assert refusal.value.code == "CONFLICT"
    account = await store.get("ops")
    assert account is not None
    assert account.role is Role.VIEWER


@pytest.mark.parametrize("username", ["ops", "nobody"])
async def test_five_failures_lock_for_half_an_hour(tmp_path: Path, username: str) -> None:
    clock = Clock()
    store = opened(tmp_path, clock)
    await store.add("ops", PASSWORD, Role.OPERATOR)
    for _ in range(5):
        assert await store.verify(username, "wrong password") is None
    with pytest.raises(CommandRejected) as refusal:
        await store.verify(username, PASSWORD)
    assert refusal.value.code == "RATE_LIMITED"
    clock.ns += 1_799_000_000_000
    with pytest.raises(CommandRejected):
        await store.verify(username, PASSWORD)
    clock.ns += 2_000_000_000
    assert (await store.verify(username, PASSWORD) is not None) == (username == "ops")


async def test_a_restart_does_not_forgive(tmp_path: Path) -> None:
    clock = Clock()
    store = opened(tmp_path, clock)
    await store.add("ops", PASSWORD, Role.OPERATOR)
    for _ in range(4):
        await store.verify("ops", "wrong password")
    again = opened(tmp_path, clock)
    assert await again.verify("ops", "wrong password") is None
    clock.ns = 7
    third = opened(tmp_path, clock)
    with pytest.raises(CommandRejected):
        await third.verify("ops", PASSWORD)
    clock.ns += 1_801_000_000_000
    assert await third.verify("ops", PASSWORD) is not None


async def test_success_forgets_failures(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    await store.add("ops", PASSWORD, Role.OPERATOR)
    for _ in range(3):
        for _ in range(4):
            await store.verify("ops", "wrong password")
        assert await store.verify("ops", PASSWORD) is not None


async def test_a_switched_off_account_cannot_sign_in(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    await store.add("ops", PASSWORD, Role.OPERATOR)
    assert await store.set_active("ops", is_active=False) == Account("ops", Role.OPERATOR, False)
    assert await store.verify("ops", PASSWORD) is None


async def test_hashing_does_not_hold_the_loop_and_a_flood_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path, Clock())
    await store.add("ops", PASSWORD, Role.OPERATOR)
    outcomes: list[str] = []
    turns = 0

    async def sign_in() -> None:
        try:
            await store.verify("nobody", PASSWORD)
            outcomes.append("answered")
        except CommandRejected as refusal:
            outcomes.append(refusal.code)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(sign_in)
            while len(outcomes) < 30:
                await trio.sleep(0.001)
                turns += 1
    assert outcomes.count("RATE_LIMITED") >= 10
    assert outcomes.count("answered") >= 5
    assert turns > 20


async def test_a_broken_file_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "users.db").write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(StoreError):
        opened(tmp_path, Clock())
    with pytest.raises(StoreError):
        opened(tmp_path / "missing", Clock())


def test_the_key_is_generated_once_and_private(tmp_path: Path) -> None:
    key = load_signing_key(credentials_dir=None, state_dir=tmp_path, environment={})
    assert len(key) >= 32
    assert load_signing_key(credentials_dir=tmp_path / "none", state_dir=tmp_path, environment={}) == key
    path = tmp_path / "jwt_secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="others can read it"):
        load_signing_key(credentials_dir=None, state_dir=tmp_path, environment={})


def test_credentials_come_before_the_environment(tmp_path: Path) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "jwt_secret").write_text("c" * 40 + "\n")
    found = load_signing_key(credentials_dir=credentials, state_dir=tmp_path, environment={"JWT_SECRET": "e" * 40})
    assert found == b"c" * 40
    assert load_signing_key(credentials_dir=None, state_dir=tmp_path, environment={"JWT_SECRET": "e" * 40}) == b"e" * 40


def test_placeholders_and_short_keys_are_refused(tmp_path: Path) -> None:
    placeholder = {"JWT_SECRET": "your-super-secret-key-change-this-in-production"}
    with pytest.raises(ConfigError, match="placeholder"):
        load_signing_key(credentials_dir=None, state_dir=tmp_path, environment=placeholder)
    assert load_signing_key(
        credentials_dir=None, state_dir=tmp_path, environment=placeholder, is_development=True
    ).startswith(b"your")
    with pytest.raises(ConfigError, match="too short"):
        load_signing_key(credentials_dir=None, state_dir=tmp_path, environment={"JWT_SECRET": "short"})
    with pytest.raises(ConfigError, match="cannot be generated"):
        load_signing_key(credentials_dir=None, state_dir=tmp_path / "missing", environment={})
