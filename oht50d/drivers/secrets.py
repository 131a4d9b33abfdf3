"""The token signing key: from a credentials directory, a generated file, or (fallback) the environment (no state).

Order: systemd's `LoadCredential` directory, the environment's JWT_SECRET, then `jwt_secret` in the state directory,
which is generated (0600) if nothing was given. DECISIONS, JWT: placeholders are refused outside development.
"""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from oht50d.model.errors import ConfigError

FILE_NAME = "jwt_secret"
ENV_NAME = "JWT_SECRET"
_MIN_BYTES = 32
_PLACEHOLDER_WORDS = (
    "secret-key",
    "secret_key",
    "change",
    "your-",
    "your_",
    "example",
    "placeholder",
    "default",
    "xxx",
)


@frozen
class SigningKey:
    """The key's bytes and where they are from; the bytes are never shown."""

    octets: bytes = field(repr=False)
    source: str


def find_signing_key(
    *,
    credentials_dir: Path | None,
    state_dir: Path,
    environment: Mapping[str, str] | None = None,
    is_development: bool = False,
) -> SigningKey | None:
    """The key, at least 32 bytes; None if there is none yet.

    Raises ConfigError: too short, a placeholder, or readable by others.
    """
    if credentials_dir is not None and (credentials_dir / FILE_NAME).exists():
        return _checked(_read(credentials_dir / FILE_NAME), str(credentials_dir / FILE_NAME), is_development)
    given = (environment if environment is not None else os.environ).get(ENV_NAME, "")
    if given:
        return _checked(given.encode(), f"environment {ENV_NAME}", is_development)
    path = state_dir / FILE_NAME
    return _checked(_read(path, is_private=True), str(path), is_development) if path.exists() else None


def load_signing_key(
    *,
    credentials_dir: Path | None,
    state_dir: Path,
    environment: Mapping[str, str] | None = None,
    is_development: bool = False,
) -> bytes:
    """The key's bytes, generated if there is none. Raises ConfigError as `find_signing_key` does."""

    def find() -> SigningKey | None:
        return find_signing_key(
            credentials_dir=credentials_dir,
            state_dir=state_dir,
            environment=environment,
            is_development=is_development,
        )

    found = find()
    if found is None:
        _generate(state_dir / FILE_NAME)
        found = find()
    assert found is not None
    return found.octets


def _checked(key: bytes, source: str, is_development: bool) -> SigningKey:
    lower = key.decode(errors="replace").lower()
    if not is_development and any(word in lower for word in _PLACEHOLDER_WORDS):
        raise ConfigError(ENV_NAME, "a placeholder is not a secret", file=source, expected="random bytes of your own")
    if len(key) < _MIN_BYTES:
        raise ConfigError(
            ENV_NAME, "too short", file=source, expected=f"{_MIN_BYTES} bytes or more", found=f"{len(key)} bytes"
        )
    return SigningKey(key, source)


def _read(path: Path, *, is_private: bool = False) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(ENV_NAME, f"cannot be read: {error.strerror}", file=str(path)) from error
    if is_private and mode & 0o077:
        raise ConfigError(
            ENV_NAME, "others can read it", file=str(path), expected="mode 0600", found=f"mode {mode:04o}"
        )
    return key


def _generate(path: Path) -> None:
    """Write a fresh key beside and link it into place, so that a crash leaves all of it or nothing."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(_MIN_BYTES).encode())
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise ConfigError(ENV_NAME, f"cannot be generated: {error.strerror}", file=str(path)) from error
