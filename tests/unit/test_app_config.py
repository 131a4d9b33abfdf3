"""The composed configuration: defaults, shipped files, precedence, origins, refusals."""

from pathlib import Path

import pytest

from oht50d.app.config import Config, Environment, load_config, setting_names
from oht50d.app.config_sources import read_document
from oht50d.app.environment import NAMES
from oht50d.app.paths import find_config_file, shipped_config_dir
from oht50d.model.errors import ConfigError
from oht50d.model.units import Duration

ROOT = Path(__file__).resolve().parents[2]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_nothing_configured_is_the_defaults() -> None:
    loaded = load_config(environ={}, default_file=Path("/nonexistent/oht50d.toml"))
    assert loaded.config == Config()
    assert {origin for _, _, origin in loaded.values()} == {"default"}


def test_the_documented_file_holds_exactly_the_defaults() -> None:
    loaded = load_config(ROOT / "config" / "oht50d.toml", environ={})
    assert loaded.config == Config()


def test_the_documented_file_names_every_setting() -> None:
    document = read_document(ROOT / "config" / "oht50d.toml")
    unset = {("web", "metrics_port"), ("bus", "tcp", "host")}
    assert {path for path in setting_names() if path not in document.lines} == unset
    assert "metrics_port" in document.path.read_text()


@pytest.mark.parametrize("name", ["development", "staging", "production"])
def test_each_environment_has_a_file_that_loads(name: str) -> None:
    loaded = load_config(ROOT / "config" / f"{name}.toml", environ={})
    assert loaded.config.environment.value == name
    assert loaded.warnings == ()


def test_later_sources_win_and_origins_are_kept(tmp_path: Path) -> None:
    main = write(
        tmp_path / "oht50d.toml", "schema_version = 1\n[web]\nport = 1\nhost = 'a'\nbody_bytes = 7\nws_clients = 3\n"
    )
    write(tmp_path / "conf.d" / "20-b.toml", "[web]\nhost = 'c'\nbody_bytes = 9\n")
    write(tmp_path / "conf.d" / "10-a.toml", "[web]\nhost = 'b'\nbody_bytes = 8\n")
    loaded = load_config(main, environ={"API_HOST": "d", "METRICS_PORT": "9090"}, assignments=["web.metrics_port=9091"])
    web = loaded.config.web
    assert (web.port, web.host, web.body_bytes, web.ws_clients, web.metrics_port) == (1, "d", 9, 3, 9091)
    origins = {key: origin for key, _, origin in loaded.values()}
    assert origins["web.port"] == f"{main}:3"
    assert origins["web.body_bytes"] == f"{tmp_path}/conf.d/20-b.toml:3"
    assert origins["web.host"] == "environment API_HOST"
    assert origins["web.metrics_port"] == "--set web.metrics_port"
    assert origins["web.ws_ping"] == "default"


def test_part_of_a_nested_table_keeps_the_rest() -> None:
    loaded = load_config(environ={"RS485_BAUDRATE": "9600"}, default_file=Path("/nonexistent"))
    assert loaded.config.bus.serial.baud == 9600
    assert loaded.config.bus.serial.port == Config().bus.serial.port


def test_every_variable_with_a_setting_reaches_it() -> None:
    environ = {
        "ENVIRONMENT": "staging",
        "API_HOST": "h",
        "API_PORT": "1",
        "JWT_EXPIRATION": "60",
        "LOG_LEVEL": "error",
        "LOG_FORMAT": "TEXT",
        "LOG_FILE": "/tmp/x",
        "METRICS_PORT": "2",
        "HARDWARE_SIMULATION": "true",
        "RS485_PORT": "/dev/a",
        "RS485_BAUDRATE": "19200",
        "LIDAR_SIMULATION": "true",
        "LIDAR_PORT": "/dev/b",
        "LIDAR_BAUDRATE": "256000",
        "CORS_ORIGINS": "http://x",
    }
    assert set(environ) == {row.name for row in NAMES if row.key is not None and not row.needs_tcp}
    loaded = load_config(environ=environ, default_file=Path("/nonexistent"))
    config = loaded.config
    assert config.environment is Environment.STAGING
    assert (config.web.host, config.web.port, config.web.metrics_port) == ("h", 1, 2)
    assert config.web.cors_origins == ("http://x",)
    assert config.auth.access_life == Duration.parse("60s")
    assert (config.log.level.value, config.log.format.value, config.log.file) == ("ERROR", "text", "/tmp/x")
    assert (config.bus.serial.port, config.bus.serial.baud, config.bus.is_simulated) == ("/dev/a", 19200, True)
    assert (config.lidar.port, config.lidar.baud, config.lidar.is_simulated) == ("/dev/b", 256_000, True)
    assert config.is_simulated
    from_environment = {origin for _, _, origin in loaded.values()} - {"default"}
    assert from_environment == {f"environment {name}" for name in environ}


def test_variables_without_effect_are_noted_without_their_values() -> None:
    environ = {"DATABASE_URL": "postgresql://u:s3cret@db/x", "API_WORKERS": "4", "FIRMWARE_HOST": "localhost"}
    notes = load_config(environ=environ, default_file=Path("/nonexistent")).notes
    assert [note.partition(":")[0] for note in notes] == ["DATABASE_URL", "API_WORKERS", "FIRMWARE_HOST"]
    assert "s3cret" not in "".join(notes)


FIRMWARE = {"FIRMWARE_HOST": "gateway.local", "FIRMWARE_PORT": "5020"}


@pytest.mark.parametrize("transport", ["tcp", "rtu_over_tcp"])
@pytest.mark.parametrize("place", ["file", "fragment", "command line"])
def test_the_host_of_the_firmware_is_the_server_where_the_bus_goes_over_tcp(
    transport: str, place: str, tmp_path: Path
) -> None:
    chosen = f'[bus]\ntransport = "{transport}"\n'
    file = write(tmp_path / "x.toml", "schema_version = 1\n" + (chosen if place == "file" else ""))
    if place == "fragment":
        write(tmp_path / "conf.d" / "1.toml", chosen)
    assignments = [f"bus.transport={transport}"] if place == "command line" else []
    loaded = load_config(file, environ=FIRMWARE, assignments=assignments)
    tcp = loaded.config.bus.tcp
    assert (tcp.host, tcp.port, loaded.config.bus.place) == ("gateway.local", 5020, "gateway.local:5020")
    assert loaded.notes == ()
    assert ("bus.tcp.host", "gateway.local", "environment FIRMWARE_HOST") in list(loaded.values())


@pytest.mark.parametrize("assignments", [[], ["bus.transport=rtu"]])
def test_on_a_serial_port_the_host_of_the_firmware_is_ignored_and_told(assignments: list[str], tmp_path: Path) -> None:
    chosen = '[bus]\ntransport = "tcp"\n' if assignments else ""
    file = write(tmp_path / "x.toml", f"schema_version = 1\n{chosen}")
    environ = FIRMWARE | {"FIRMWARE_HOST": "http://no host at all"}
    loaded = load_config(file, environ=environ, assignments=assignments)
    assert loaded.config.bus.tcp.host is None
    assert [note.partition(":")[0] for note in loaded.notes] == ["FIRMWARE_HOST", "FIRMWARE_PORT"]
    assert all("ignored unless bus.transport is" in note for note in loaded.notes)


def test_the_command_line_outranks_the_host_of_the_firmware(tmp_path: Path) -> None:
    assignments = ["bus.transport=tcp", "bus.tcp.host=10.0.0.7"]
    loaded = load_config(write(tmp_path / "x.toml", "schema_version = 1\n"), environ=FIRMWARE, assignments=assignments)
    assert loaded.config.bus.place == "10.0.0.7:5020"


@pytest.mark.parametrize("leaf", ["{}", "[1]", "3", "udp"])
def test_a_transport_that_is_none_is_refused(leaf: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(
            write(tmp_path / "x.toml", "schema_version = 1\n"), environ=FIRMWARE, assignments=[f"bus.transport={leaf}"]
        )
    assert caught.value.key == "bus.transport"


def test_two_serial_names_may_be_one_where_the_bus_uses_none(tmp_path: Path) -> None:
    text = 'schema_version = 1\n[lidar]\nport = "/dev/ttyOHT485"\n[bus]\ntransport = "tcp"\ntcp.host = "h"\n'
    assert load_config(write(tmp_path / "x.toml", text), environ={}).config.lidar.port == "/dev/ttyOHT485"


@pytest.mark.parametrize(
    ("text", "key", "line", "nearest"),
    [
        ("[web]\nprot = 80", "web.prot", 3, "web.port"),
        ("[wbe]\nport = 80", "wbe", 3, "web"),
        ("[web]\n\nport = '80'", "web.port", 4, None),
        ("[web]\nport = 80000", "web.port", 3, None),
        ("[safety.zones]\nstop_mm = 50", "safety.zones.stop_mm", 3, None),
        ("[safety]\npermit_life = '1s'", "safety.permit_life", 3, None),
        ("[safety]\nloop_gap = '0s'", "safety.loop_gap", 3, None),
        ("[bus.serial]\nport = 3", "bus.serial.port", 3, None),
        ("robot = 3", "robot", 2, None),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, text: str, key: str, line: int, nearest: str | None
) -> None:
    file = write(tmp_path / "x.toml", f"schema_version = 1\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    error = caught.value
    assert (error.key, error.file, error.line, error.nearest) == (key, str(file), line, nearest)
    assert str(error).startswith(f"{file}:{line}: {key}: ")


SENSELESS = {
    "an open arc": ("[safety.zones]\nopen_sectors = [" + ", ".join(map(str, [*range(7), *range(29, 36)])) + "]", 3,
                    "safety.zones.open_sectors", "must be seen forward"),
    "a sector that is not there": ("[safety.zones]\nmasked_sectors = [36]", 3, "safety.zones.masked_sectors", "0..35"),
    "a sector twice": ("[safety.zones]\nmasked_sectors = [18, 18]", 3, "safety.zones.masked_sectors", "each once"),
    "zones that do not ascend": ("[safety.zones]\nstop_mm = 1000", 3, "safety.zones.slow_mm", "above stop_mm 1000"),
    "no zone": ("[safety.zones]\nslow_mm = -1", 3, "safety.zones.slow_mm", ">= 200"),
    "above the ceiling": ("[safety]\nspeed_ceiling_mm_s = 2001", 3, "safety.speed_ceiling_mm_s", "<= 2000"),
    "no speed": ("[safety]\nuncommissioned_speed_mm_s = 0", 3, "safety.uncommissioned_speed_mm_s", ">= 1"),
    "a step of nothing": ("[safety]\nstep = '1us'", 3, "safety.step", "within 2ms and 50ms"),
    "permits that end at once": ("[safety]\nstep = '20ms'\npermit_life = '30ms'", 3, "safety.step", "permit_life 30ms"),
    "no deceleration": ("[safety.stop]\nassumed_deceleration_mm_s2 = 1e-9", 3,
                        "safety.stop.assumed_deceleration_mm_s2", ">= 10"),
    "port 70000": ("[web]\nport = 70000", 3, "web.port", "<= 65535"),
    "one port for two": ("[web]\nport = 81\nmetrics_port = 81", 4, "web.metrics_port", "another port"),
    "no host": ("[web]\nhost = ''", 3, "web.host", "an IP address or a host name"),
    "no host at all": ("[web]\nhost = 'a b'", 3, "web.host", "an IP address or a host name"),
    "everybody's pages": ("[web]\ncors_origins = ['*']", 3, "web.cors_origins", "origins as a browser sends them"),
    "an end that takes a day": ("[web]\ngraceful_timeout = '1d'", 3, "web.graceful_timeout", "at most 5s"),
    "one directory": ("[robot]\nstate_dir = '/srv/x'\nruntime_dir = '/srv/x'", 4, "robot.runtime_dir", "another"),
    "no path": ("[robot]\nstate_dir = 'a\\u0000b'".replace("'", '"'), 3, "robot.state_dir", "a path"),
    "one device": ("[lidar]\nport = '/dev/ttyOHT485'", 3, "lidar.port", "another device than bus.serial.port"),
    "no server": ("[bus]\ntransport = 'tcp'", 3, "bus.transport", "no bus.tcp.host is set"),
    "no server name": ("[bus]\ntransport = 'tcp'\ntcp.host = 'a b'", 4, "bus.tcp.host", "an IP address or a host name"),
    "port 0 of a server": ("[bus.tcp]\nport = 0", 3, "bus.tcp.port", ">= 1"),
    "a day for a connection": ("[bus.tcp]\nconnect_timeout = '1d'", 3, "bus.tcp.connect_timeout", "within 50ms and"),
    "three stop bits": ("[bus.serial]\nstop_bits = 3", 3, "bus.serial.stop_bits", "(1, 2)"),
    "12 bits": ("[bus.serial]\nparity = 'odd'\nstop_bits = 2", 4, "bus.serial.stop_bits", "1 beside a parity bit"),
    "a delay that nobody keeps": ("[bus.serial]\ndelay_before_send_ms = 1", 3, "bus.serial.delay_before_send_ms",
                                  "0 unless direction is kernel"),
    "no direction": ("[bus.serial]\ndirection = 'dtr'", 3, "bus.serial.direction", "one of 'auto', 'kernel', 'rts'"),
    "no device": ("[lidar]\nport = 'ttyUSB1'", 3, "lidar.port", "an absolute path"),
    "a memory of nothing": ("[spool]\nevents_keep = '1us'", 3, "spool.events_keep", "within 1s and"),
    "an age": ("[spool]\nevents_keep = '99999999999999999999d'", 3, "spool.events_keep", "1000 years"),
}  # fmt: skip


@pytest.mark.parametrize("case", SENSELESS)
def test_what_is_dangerous_or_senseless_is_refused_in_one_message(case: str, tmp_path: Path) -> None:
    text, line, key, expected = SENSELESS[case]
    file = write(tmp_path / "x.toml", f"schema_version = 1\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    error = caught.value
    assert (error.key, error.file) == (key, str(file))
    assert error.line == line
    assert expected in (error.expected or "")
    assert error.found
    assert "\n" not in str(error)


def test_open_and_masked_sectors_in_the_arc_of_travel_are_warnings() -> None:
    """SAFETY: open sectors are commissioned, so some of them are allowed there; never all."""
    assignments = ["safety.zones.open_sectors=[0, 18]", "safety.zones.masked_sectors=[9, 35]"]
    warnings = load_config(environ={}, default_file=Path("/nonexistent"), assignments=assignments).warnings
    assert ["[0, 18]" in warnings[0], "[35]" in warnings[1]] == [True, True]
    assert "a LiDAR that sees nothing" in warnings[0]
    assert "no motion will be permitted" in warnings[1]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "::", "::1", "fe80::1%eth0", "localhost", "robot-7.hall_2.example", "0.0.0.0"]
)
def test_usual_hosts_are_taken(host: str) -> None:
    loaded = load_config(environ={"API_HOST": host}, default_file=Path("/nonexistent"))
    assert loaded.config.web.host == host


def test_a_wrong_variable_is_told_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"^environment RS485_BAUDRATE: bus\.serial\.baud: "):
        load_config(environ={"RS485_BAUDRATE": "1"}, default_file=Path("/nonexistent"))


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "absent.toml", environ={})


def test_there_is_a_bound_on_fragments(tmp_path: Path) -> None:
    main = write(tmp_path / "oht50d.toml", "schema_version = 1\n")
    for number in range(101):
        write(tmp_path / "conf.d" / f"{number:03}.toml", "")
    with pytest.raises(ConfigError, match="more than 100"):
        load_config(main, environ={})


@pytest.mark.parametrize("name", ["HARDWARE_SIMULATION", "LIDAR_SIMULATION", "FIRMWARE_SIMULATION"])
def test_production_refuses_simulation(name: str) -> None:
    with pytest.raises(ConfigError, match="production does not run on a simulated robot"):
        load_config(environ={"ENVIRONMENT": "production", name: "true"}, default_file=Path("/nonexistent"))
    with pytest.raises(ConfigError):
        load_config(environ={name: "true"}, default_file=Path("/nonexistent"))
    assert load_config(environ={name: "false"}, default_file=Path("/nonexistent")).config == Config()


def test_simulate_on_the_command_line() -> None:
    nowhere = Path("/nonexistent")
    config = load_config(environ={}, is_simulation=True, default_file=nowhere).config
    assert (config.environment, config.bus.is_simulated, config.lidar.is_simulated) == (
        Environment.DEVELOPMENT,
        True,
        True,
    )
    with pytest.raises(ConfigError, match="simulated robot"):
        load_config(ROOT / "config" / "production.toml", environ={}, is_simulation=True)


def test_mixed_simulation_is_a_warning() -> None:
    environ = {"ENVIRONMENT": "development", "LIDAR_SIMULATION": "true"}
    (warning,) = load_config(environ=environ, default_file=Path("/nonexistent")).warnings
    assert "every motion will be refused" in warning


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_documented_secrets_are_refused_outside_development(environment: str) -> None:
    environ = {"JWT_SECRET": "prod-jwt-secret-from-vault"}
    with pytest.raises(ConfigError) as caught:
        load_config(environ={**environ, "ENVIRONMENT": environment}, default_file=Path("/nonexistent"))
    assert caught.value.key == "JWT_SECRET"
    assert "vault" not in str(caught.value)
    development = load_config(environ={**environ, "ENVIRONMENT": "development"}, default_file=Path("/nonexistent"))
    assert [warning.split()[0] for warning in development.warnings] == ["JWT_SECRET"]


def test_a_missing_map_is_told_with_its_line_and_the_nearest_name(tmp_path: Path) -> None:
    file = write(tmp_path / "x.toml", "schema_version = 1\n[bus]\nmaps = ['power.toml', 'travel_moter.toml']\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    error = caught.value
    assert (error.key, error.file, error.line) == ("bus.maps", str(file), 3)
    assert (error.found, error.nearest) == ("'travel_moter.toml'", "travel_motor.toml")
    assert "dock.toml, power.toml, safety.toml" in (error.expected or "")


@pytest.mark.parametrize("name", ["conf.d/10-a.toml", "oht50d.toml"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / "oht50d.toml", "schema_version = 1\n")
    write(tmp_path / name, "\ufeffschema_version = 1\n[web]\nport = 81\n")
    loaded = load_config(tmp_path / "oht50d.toml", environ={})
    assert loaded.config.web.port == 81
    assert ("web.port", 81, f"{tmp_path / name}:3") in loaded.values()


def test_list_elements_and_inline_tables_have_lines(tmp_path: Path) -> None:
    file = write(tmp_path / "x.toml", "schema_version = 1\n[bus]\nmaps = [\n  'dock.toml',\n  3,\n]\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, environ={})
    assert (caught.value.key, caught.value.line) == ("bus.maps[1]", 3)


def test_a_site_file_comes_before_the_shipped_one(tmp_path: Path) -> None:
    assert find_config_file("oht50d.toml", site_dir=tmp_path) == shipped_config_dir() / "oht50d.toml"
    mine = write(tmp_path / "modules" / "dock.toml", "")
    assert find_config_file("modules/dock.toml", site_dir=tmp_path) == mine


@pytest.mark.parametrize("name", ["absent.toml", "../pyproject.toml", "/etc/passwd", "modules"])
def test_only_files_inside_the_configuration_are_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        find_config_file(name, site_dir=tmp_path)


def test_an_installation_without_its_files_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oht50d.__file__", str(tmp_path / "lib" / "oht50d" / "__init__.py"))
    with pytest.raises(ConfigError, match="shipped configuration files are missing"):
        shipped_config_dir()


def test_the_documentation_lists_every_variable_as_it_is() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    for row in NAMES:
        setting = f"`{'.'.join(map(str, row.key))}`" if row.key else "-"
        assert f"| `{row.name}` | {setting} | {row.note} |\n" in text


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000", "https://oht50.company.com", "http://10.0.0.7:8080", "http://[::1]:5173", "http://x",
        "https://panel_1.local", "http://a:443",
    ],
)  # fmt: skip
def test_origins_as_browsers_send_them_are_taken(origin: str) -> None:
    config = load_config(
        environ={"CORS_ORIGINS": f"https://first.example,{origin}"}, default_file=Path("/nonexistent")
    ).config
    assert config.web.cors_origins == ("https://first.example", origin)


@pytest.mark.parametrize(
    "origin",
    [
        "*", "null", "localhost:3000", "https://", "https://a/", "https://a/path", "https://A.example", "ftp://a",
        "https://user@a", "https://a:443", "http://a:80", "http://a:0", "http://a:65536", "http://a:x", "http://a b",
        "http://a?b", "http://[::1", "http://-a", "",
    ],
)  # fmt: skip
def test_an_origin_that_no_browser_sends_is_refused(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "oht50d.toml"
    path.write_text(f'schema_version = 1\n[web]\nport = 8000\ncors_origins = ["http://good", "{origin}"]\n')
    with pytest.raises(ConfigError) as caught:
        load_config(path, environ={})
    error = caught.value
    assert (error.key, error.file, error.line) == ("web.cors_origins", str(path), 4)
    assert error.found == f"{origin!r} (a text)"
    assert "https://panel.example" in str(error.expected)


def test_a_bus_that_is_only_listened_to_is_warned_of() -> None:
    (warning,) = load_config(
        environ={}, default_file=Path("/nonexistent"), assignments=["bus.listen_only=true"]
    ).warnings  # fmt: skip
    assert "not even a stop" in warning
