"""Files, fragments, environment and command line: who wins, and how each kind of nonsense is told."""

import re
from pathlib import Path

import pytest

from oht50d.app.config import Environment, load_config
from oht50d.app.config_sources import Origin, SettingsTree, check_schema, parse_assignment, read_document
from oht50d.app.environment import NAMES, placeholder_secrets, read_environment
from oht50d.model.errors import ConfigError

# REQ_BE_14, section 3.2, in the order of the document
DOCUMENTED = {
    "DATABASE_URL",
    "DATABASE_POOL_SIZE",
    "DATABASE_MAX_OVERFLOW",
    "REDIS_URL",
    "REDIS_POOL_SIZE",
    "API_HOST",
    "API_PORT",
    "API_WORKERS",
    "API_RELOAD",
    "SECRET_KEY",
    "JWT_SECRET",
    "JWT_ALGORITHM",
    "JWT_EXPIRATION",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "LOG_FILE",
    "PROMETHEUS_ENABLED",
    "METRICS_PORT",
    "HARDWARE_SIMULATION",
    "RS485_PORT",
    "RS485_BAUDRATE",
    "LIDAR_SIMULATION",
    "LIDAR_PORT",
    "LIDAR_BAUDRATE",
    "FIRMWARE_SIMULATION",
    "FIRMWARE_HOST",
    "FIRMWARE_PORT",
    "FRONTEND_URL",
    "CORS_ORIGINS",
}


def test_every_documented_variable_is_known() -> None:
    assert {row.name for row in NAMES} == {*DOCUMENTED, "ENVIRONMENT"}


def test_every_variable_without_a_setting_says_why() -> None:
    assert [row.name for row in NAMES if row.key is None and not row.note] == []


def test_variables_are_converted() -> None:
    environ = {
        "API_PORT": "8001",
        "CORS_ORIGINS": "http://a, http://b",
        "HARDWARE_SIMULATION": "false",
        "LOG_LEVEL": "debug",
    }
    found = {
        entry.row.name: entry.found for entry in read_environment({**environ, "JWT_EXPIRATION": "60", "API_HOST": ""})
    }
    assert found == {
        "API_PORT": 8001,
        "CORS_ORIGINS": ["http://a", "http://b"],
        "HARDWARE_SIMULATION": False,
        "LOG_LEVEL": "DEBUG",
        "JWT_EXPIRATION": "60s",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("API_PORT", "-1"),
        ("API_PORT", "80a"),
        ("API_RELOAD", "perhaps"),
        ("JWT_ALGORITHM", "none"),
        ("FIRMWARE_PORT", "²"),
    ],
)
def test_a_wrong_variable_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        list(read_environment({name: text}))
    assert caught.value.key == name
    assert text in str(caught.value)


def test_placeholders_are_found_by_name() -> None:
    environ = {
        "JWT_SECRET": "prod-jwt-secret-from-vault",
        "SECRET_KEY": "long and random",
        "DATABASE_URL": "pg://user:pass@h/d",
    }
    assert placeholder_secrets(environ) == ["DATABASE_URL", "JWT_SECRET"]


@pytest.mark.parametrize(
    ("raw", "line", "word"),
    [
        (b"a = 1\nb = = 2\n", 2, "not TOML"),
        (b"a = 1\na = 2\n", 2, "not TOML"),
        (b"a = 1\nb = [1,\n", 3, "not TOML"),
        (b"a = 1\n# \xff\n", 2, "not UTF-8"),
        (b"a = " + b"[" * 100_000, None, "nested too deeply"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_told_with_its_line(
    tmp_path: Path, raw: bytes, line: int | None, word: str
) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(raw)
    with pytest.raises(ConfigError) as caught:
        read_document(file)
    assert (caught.value.file, caught.value.line) == (str(file), line)
    assert word in caught.value.why


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_document(tmp_path / "absent.toml")
    (tmp_path / "long.toml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError, match="too long"):
        read_document(tmp_path / "long.toml")


@pytest.mark.parametrize("text", ["schema_version = 2", 'schema_version = "1"', "schema_version = true"])
def test_another_schema_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(f"\n{text}\n")
    document = read_document(tmp_path / "x.toml")
    with pytest.raises(ConfigError) as caught:
        check_schema(document, is_required=False)
    assert (caught.value.key, caught.value.line, caught.value.expected) == ("schema_version", 2, "1")


def test_only_a_fragment_may_leave_the_schema_out(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("")
    document = read_document(tmp_path / "x.toml")
    check_schema(document, is_required=False)
    with pytest.raises(ConfigError, match="missing"):
        check_schema(document, is_required=True)


@pytest.mark.parametrize(
    ("text", "path", "leaf"),
    [
        ("web.port=81", ("web", "port"), 81),
        ("web.host=::1", ("web", "host"), "::1"),
        ('web.host="a=b"', ("web", "host"), "a=b"),
        ("a.b=true", ("a", "b"), True),
        ('a.b=["x"]', ("a", "b"), ["x"]),
        ("a=", ("a",), ""),
    ],
)
def test_assignments_are_toml_or_bare_text(text: str, path: tuple[str, ...], leaf: object) -> None:
    assert parse_assignment(text) == (path, leaf)


@pytest.mark.parametrize("text", ["web.port", "=3", "web..port=3", ".=1"])
def test_what_is_no_assignment_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not an assignment"):
        parse_assignment(text)


def test_a_later_value_wins_and_keeps_its_origin() -> None:
    settings = SettingsTree()
    settings.put(("web", "port"), 1, Origin("a.toml", 3))
    settings.put(("web", "host"), "x", Origin("a.toml", 4))
    settings.put(("web", "port"), 2, Origin("environment API_PORT"))
    assert settings.tree == {"web": {"port": 2, "host": "x"}}
    assert str(settings.origin_of(("web", "port"))) == "environment API_PORT"
    assert str(settings.origin_of(("web", "host"))) == "a.toml:4"
    assert str(settings.origin_of(("web",))) == "environment API_PORT"
    assert settings.origin_of(("bus",)) is None


def test_a_table_against_a_plain_value_is_refused() -> None:
    settings = SettingsTree()
    settings.put(("web",), 3, Origin("a.toml", 1))
    with pytest.raises(ConfigError, match="plain value"):
        settings.put(("web", "port"), 1, Origin("b.toml", 2))
    settings.put(("bus", "maps"), [], Origin("a.toml", 5))
    with pytest.raises(ConfigError, match="plain value"):
        settings.put(("bus",), 1, Origin("b.toml", 2))


ENV_DIR = Path(__file__).resolve().parents[2] / "config" / "env"
_ENV_LINE = re.compile(r"(?P<unset># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<text>.*)")


def env_rows(environment: str) -> list[re.Match[str]]:
    lines = (ENV_DIR / f"{environment}.env.example").read_text().splitlines()
    return [row for row in map(_ENV_LINE.fullmatch, lines) if row is not None]


def test_there_is_one_example_for_each_environment() -> None:
    assert {path.name for path in ENV_DIR.iterdir()} == {f"{kind.value}.env.example" for kind in Environment}


@pytest.mark.parametrize("kind", list(Environment))
def test_an_example_names_every_documented_variable_once(kind: Environment) -> None:
    names = [row["name"] for row in env_rows(kind.value)]
    assert len(names) == len(set(names))
    assert set(names) == {*DOCUMENTED, "ENVIRONMENT"}


@pytest.mark.parametrize("kind", list(Environment))
def test_an_example_loads_as_it_is_and_holds_no_secret(kind: Environment) -> None:
    rows = env_rows(kind.value)
    environ = {row["name"]: row["text"] for row in rows if row["unset"] is None}
    assert not {row.name for row in NAMES if row.is_secret} & set(environ)
    assert [text for text in environ.values() if "<" in text] == [], "a placeholder is not set"
    loaded = load_config(environ=environ, default_file=Path("/nonexistent"))
    assert loaded.config.environment is kind
    assert loaded.config.is_simulated is (kind is Environment.DEVELOPMENT)
    assert loaded.warnings == ()
