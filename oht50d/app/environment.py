"""The environment variables of the deployment requirements, each with the setting that it stands for.

Source: REQ_BE_14, section 3.2 (all 29 names) and section 4.2 (ENVIRONMENT). No state. Secrets are judged here by
name and never kept, returned or printed.
"""

from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from oht50d.codec.toml_lines import Path as KeyPath
from oht50d.model.errors import ConfigError

Convert = Callable[[str], object]

# The values that the documents show; whoever keeps them has no secret.
PLACEHOLDER_SECRETS = frozenset(
    {
        "dev-secret-key",
        "staging-secret-key",
        "prod-secret-key-from-vault",
        "dev-jwt-secret",
        "staging-jwt-secret",
        "prod-jwt-secret-from-vault",
    }
)
PLACEHOLDER_LOGINS = ("://user:pass@", "oht50_pass")


@frozen
class EnvironmentName:
    """One variable: the setting it overrides (None: read and without effect, `note` says why).

    `needs_tcp`: it counts only where the bus goes over TCP; elsewhere it is ignored, and `note` says so.
    """

    name: str
    key: KeyPath | None
    convert: Convert
    note: str = ""
    is_secret: bool = False
    needs_tcp: bool = False


@frozen
class EnvironmentValue:
    """A variable that was set, converted."""

    row: EnvironmentName
    found: object


def _text(text: str) -> str:
    return text


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise ValueError("a whole number")
    return int(text)


def _truth(text: str) -> bool:
    words = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in words:
        raise ValueError("true or false")
    return words[text.lower()]


def _seconds(text: str) -> str:
    return f"{_whole(text)}s"


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _only(wanted: str) -> Convert:
    def convert(text: str) -> str:
        if text != wanted:
            raise ValueError(wanted)
        return text

    return convert


_NO_ARCHIVE = "accepted; this version keeps its records in the SQLite spool only"
_NO_MIRROR = "accepted; this version has no Redis mirror"
_ONLY_TCP = 'ignored unless bus.transport is "tcp" or "rtu_over_tcp"'

NAMES: tuple[EnvironmentName, ...] = (
    EnvironmentName("ENVIRONMENT", ("environment",), _text),
    EnvironmentName("DATABASE_URL", None, _text, _NO_ARCHIVE, is_secret=True),
    EnvironmentName("DATABASE_POOL_SIZE", None, _whole, _NO_ARCHIVE),
    EnvironmentName("DATABASE_MAX_OVERFLOW", None, _whole, _NO_ARCHIVE),
    EnvironmentName("REDIS_URL", None, _text, _NO_MIRROR, is_secret=True),
    EnvironmentName("REDIS_POOL_SIZE", None, _whole, _NO_MIRROR),
    EnvironmentName("API_HOST", ("web", "host"), _text),
    EnvironmentName("API_PORT", ("web", "port"), _whole),
    EnvironmentName("API_WORKERS", None, _whole, "accepted; one process owns the wire, so there is one worker"),
    EnvironmentName("API_RELOAD", None, _truth, "accepted; a daemon that moves a vehicle does not reload its code"),
    EnvironmentName("SECRET_KEY", None, _text, "accepted; nothing is signed with it", is_secret=True),
    EnvironmentName(
        "JWT_SECRET", None, _text, "the fallback for the token key where no credentials file has one", is_secret=True
    ),
    EnvironmentName("JWT_ALGORITHM", None, _only("HS256"), "HS256 is the only algorithm"),
    EnvironmentName("JWT_EXPIRATION", ("auth", "access_life"), _seconds),
    EnvironmentName("LOG_LEVEL", ("log", "level"), str.upper),
    EnvironmentName("LOG_FORMAT", ("log", "format"), str.lower),
    EnvironmentName("LOG_FILE", ("log", "file"), _text),
    EnvironmentName("PROMETHEUS_ENABLED", None, _truth, "accepted; /metrics on the API port is always there"),
    EnvironmentName("METRICS_PORT", ("web", "metrics_port"), _whole),
    EnvironmentName("HARDWARE_SIMULATION", ("bus", "is_simulated"), _truth),
    EnvironmentName("RS485_PORT", ("bus", "serial", "port"), _text),
    EnvironmentName("RS485_BAUDRATE", ("bus", "serial", "baud"), _whole),
    EnvironmentName("LIDAR_SIMULATION", ("lidar", "is_simulated"), _truth),
    EnvironmentName("LIDAR_PORT", ("lidar", "port"), _text),
    EnvironmentName("LIDAR_BAUDRATE", ("lidar", "baud"), _whole),
    EnvironmentName("FIRMWARE_SIMULATION", None, _truth, "accepted; the firmware master is replaced by oht50d"),
    EnvironmentName("FIRMWARE_HOST", ("bus", "tcp", "host"), _text, _ONLY_TCP, needs_tcp=True),
    EnvironmentName("FIRMWARE_PORT", ("bus", "tcp", "port"), _whole, _ONLY_TCP, needs_tcp=True),
    EnvironmentName("FRONTEND_URL", None, _text, "accepted; CORS_ORIGINS says who may call the API"),
    EnvironmentName("CORS_ORIGINS", ("web", "cors_origins"), _listed),
)


def read_environment(environ: Mapping[str, str]) -> Iterable[EnvironmentValue]:
    """The variables that are set and not empty; raises ConfigError naming the variable, never a secret's value."""
    for row in NAMES:
        text = environ.get(row.name, "")
        if not text:
            continue
        try:
            yield EnvironmentValue(row, row.convert(text))
        except ValueError as error:
            raise ConfigError(
                row.name,
                "wrong value in the environment",
                expected=str(error),
                found=None if row.is_secret else repr(text),
            ) from error


def placeholder_secrets(environ: Mapping[str, str]) -> list[str]:
    """Names of secrets that still hold what the documents show."""
    found = []
    for row in NAMES:
        text = environ.get(row.name, "")
        if row.is_secret and (text in PLACEHOLDER_SECRETS or any(login in text for login in PLACEHOLDER_LOGINS)):
            found.append(row.name)
    return found
