"""The command line `oht50d`: exit codes, the check report, and how little starting it imports."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import oht50d
from oht50d.app import check, cli, house, preparation, safe_stop
from oht50d.app.check import ReportSection, Verdict, run_check, toml_text
from oht50d.app.config import Config, load_config
from oht50d.app.early_simulator import EarlySimulator
from oht50d.app.environment import NAMES
from oht50d.app.exit_codes import ExitCode
from oht50d.app.reload import ReloadReport
from oht50d.model.errors import ConfigError, InvariantViolation, LinkError, Oht50Error, StoreError

NOWHERE = Path("/nonexistent/oht50d.toml")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in NAMES:
        monkeypatch.delenv(row.name, raising=False)


@pytest.fixture
def place(tmp_path: Path) -> list[str]:
    """Arguments of a site that lacks nothing but its devices."""
    settings = {
        "robot.state_dir": tmp_path / "state",
        "robot.runtime_dir": tmp_path / "run",
        "web.host": "127.0.0.1",
        "web.port": 0,
        "safety.brake_wiring": "energise_to_release",
    }
    return [word for key, text in settings.items() for word in ("--set", f"{key}={text}")]


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["fly"],
        ["run", "--fly"],
        ["check", "--config"],
        ["run", "--set"],
        ["check", "--set", "web.port"],
        ["check", "--set", "=3"],
        ["run", "--set", "web..port=3"],
        ["run", "--scenario"],
    ],
)
def test_wrong_usage_is_64(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: oht50d" in capsys.readouterr().err


def test_an_unknown_scenario_lists_those_that_there_are(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "--simulate", "--scenario", "hal", *place]) == ExitCode.CONFIGURATION
    (line,) = capsys.readouterr().err.splitlines()
    assert "robot.scenario: no such scenario (expected one of bus_faults, empty, empty_timeout, faults_demo, " in line
    assert line.endswith("found 'hal', did you mean 'hall'?)")


def test_a_value_out_of_its_range_is_configuration_wherever_it_was_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--set", "web.port=70000"]) == ExitCode.CONFIGURATION
    assert "--set web.port: web.port: not allowed" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["999.1.1.1", "-", "1.2.3", "a.-b", "10.0.0.256"])
def test_a_host_that_cannot_be_is_configuration(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--set", f"bus.tcp.host='{host}'"]) == ExitCode.CONFIGURATION
    assert "expected an IP address or a host name" in capsys.readouterr().err


def test_check_judges_a_simulated_run(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    unset = ["--set", "safety.brake_wiring=unknown", "--set", "bus.serial.port=/dev/null"]
    assert cli.main(["check", "--simulate", "--scenario", "empty", *place, *unset]) == ExitCode.OK
    output = capsys.readouterr().out
    assert "the simulator's, scenario empty: not tried" in output
    assert "--simulate" in output
    assert cli.main(["check", "--simulate", "--scenario", "hal", *place]) == ExitCode.CONFIGURATION
    assert "robot.scenario: no such scenario" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"oht50d {oht50d.__version__}\n"


def test_check_says_where_each_value_came_from(
    tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.toml"
    file.write_text("schema_version = 1\n[web]\nbody_bytes = 81\n")
    assert cli.main(["check", "--config", str(file), *place]) == ExitCode.OK
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert rows["web.body_bytes"] == ["81", f"{file}:3"]
    assert rows["web.host"] == ['"127.0.0.1"', "--set", "web.host"]
    assert rows["safety.permit_life"] == ['"150ms"', "default"]
    assert rows["web.metrics_port"] == ["unset", "default"]


def test_check_reads_the_register_maps(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", *place]) == ExitCode.OK
    assert "0x03" in capsys.readouterr().out
    assert cli.main(["check", "--set", 'bus.maps=["absent.toml"]']) == ExitCode.CONFIGURATION
    assert "bus.maps: no such register map (expected one of dock.toml," in capsys.readouterr().err


def test_check_with_warnings_is_2(
    place: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.setenv("LIDAR_SIMULATION", "true")
    monkeypatch.setenv("API_WORKERS", "4")
    assert cli.main(["check", *place]) == ExitCode.WARNINGS
    output = capsys.readouterr().out
    assert "every motion will be refused" in output
    assert "API_WORKERS: accepted" in output


def test_check_warns_of_a_brake_that_is_not_commissioned(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", *place, "--set", "safety.brake_wiring=unknown"]) == ExitCode.WARNINGS
    assert "nothing will move until the brake's wiring is commissioned" in capsys.readouterr().out


def test_check_refuses_a_bus_that_is_too_slow_for_safe_motion_with_its_sum(
    place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    slow = ["--set", 'bus.assumed_turnaround="16ms"']
    assert cli.main(["check", *place, *slow]) == ExitCode.CONFIGURATION
    output = capsys.readouterr().out
    assert "REFUSED: the bus is too slow for safe motion" in output
    assert all(words in output for words in ("at rest:", "moving:", "one round of vital reads", "given way"))
    assert "The configuration is refused" in output


def test_check_never_tells_of_a_wait_that_is_less_than_nothing(
    place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", *place, "--set", "bus.serial.baud=9600"]) == ExitCode.CONFIGURATION
    output = capsys.readouterr().out
    assert "79.1 ms allowed; no time is left for a reply" in output
    assert "waited for" not in output
    assert cli.main(["check", *place]) == ExitCode.OK
    assert "ms allowed; a reply is waited for " in capsys.readouterr().out


def test_check_makes_nothing(tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    assert cli.main(["check", *place, "--set", f"log.file={log}"]) == ExitCode.OK
    assert list(tmp_path.iterdir()) == []
    output = capsys.readouterr().out
    assert all(f"{tmp_path / name} will be made" in output for name in ("state", "run"))
    assert "the token key will be made in" in output
    assert f"also written to {log}" in output


def test_check_refuses_what_run_refuses(
    tmp_path: Path, place: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same code and the same words for a key, a host, a directory and a log that cannot be used."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(house.trio, "run", lambda *_, **__: pytest.fail("the daemon started"))

    def refuses(*arguments: str) -> tuple[int, str]:
        endings = []
        for command in ("check", "run"):
            code = cli.main([command, *place, *arguments])
            endings.append((code, capsys.readouterr().err))
        assert endings[0] == endings[1]
        return endings[0]

    code, told = refuses("--set", f"robot.state_dir={tmp_path}/file/state")
    assert (code, "robot.state_dir: cannot make" in told) == (ExitCode.IO, True), told
    code, told = refuses("--set", f"log.file={tmp_path}/absent/x.log")
    assert (code, "log.file: its directory is not there" in told) == (ExitCode.CONFIGURATION, True), told
    code, told = refuses("--set", f"log.file={tmp_path}")
    assert (code, "log.file: not a regular file" in told) == (ExitCode.CONFIGURATION, True), told


def test_check_tries_the_key_and_the_host(
    place: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("JWT_SECRET", "short")
        assert cli.main(["check", *place]) == ExitCode.CONFIGURATION
        assert "JWT_SECRET: too short" in capsys.readouterr().err
        patch.setenv("JWT_SECRET", "not-to-be-printed-" + "k" * 32)
        assert cli.main(["check", *place]) == ExitCode.OK
        output = capsys.readouterr().out
        assert "the token key is that of environment JWT_SECRET" in output
        assert "not-to-be-printed" not in output
    assert cli.main(["check", *place, "--set", "web.host=203.0.113.7"]) == ExitCode.UNAVAILABLE
    assert "cannot listen on 203.0.113.7:0" in capsys.readouterr().err


def test_check_beside_a_daemon_names_it_and_its_port(
    tmp_path: Path, place: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "state").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as daemon:
        arguments = ["check", *place, "--set", f"web.port={daemon.getsockname()[1]}"]
        assert cli.main(arguments) == ExitCode.UNAVAILABLE
        assert "Another program listens there" in capsys.readouterr().err
        held = preparation.hold_state(tmp_path / "state")
        assert held is not None
        try:
            assert cli.main(arguments) == ExitCode.OK
        finally:
            os.close(held)
    output = capsys.readouterr().out
    assert "a daemon runs" in output
    assert f"(pid {os.getpid()})" in output
    assert "is in use, as it is while a daemon runs" in output


def test_a_broken_configuration_is_78_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text("schema_version = 1\n[web]\nprot = 81\n")
    assert cli.main(["run", "--config", str(file)]) == ExitCode.CONFIGURATION
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"oht50d: {file}:3: web.prot: unknown key (expected one of ")
    assert line.endswith("found 'prot', did you mean 'web.port'?)")


@pytest.mark.parametrize("command", ["run", "check", "safe-stop"])
def test_every_command_with_settings_refuses_a_simulated_production(command: str) -> None:
    assert cli.main([command, "--set", "bus.is_simulated=true"]) == ExitCode.CONFIGURATION


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("k", "w"), ExitCode.CONFIGURATION),
        (LinkError("x", cause="permission"), ExitCode.PERMISSION),
        (LinkError("x", cause="absent"), ExitCode.UNAVAILABLE),
        (StoreError("x"), ExitCode.IO),
        (InvariantViolation("x"), ExitCode.SOFTWARE),
    ],
)
def test_every_error_has_its_exit_code(error: Oht50Error, code: ExitCode) -> None:
    assert cli.exit_code_of(error) is code


def test_exit_codes_leave_the_range_of_systemd_alone() -> None:
    assert all(0 <= code < 200 for code in ExitCode)


def test_a_section_of_the_report_may_warn(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load_config(environ={}, default_file=NOWHERE)
    warns = ReportSection("Reaction", ("too slow",), Verdict.WARNING)
    assert run_check(loaded, (check.report_notes, lambda _: warns)) is ExitCode.WARNINGS
    assert "Reaction\n  too slow\n" in capsys.readouterr().out
    assert run_check(loaded, (check.report_notes,)) is ExitCode.OK


def test_values_are_shown_as_in_a_file() -> None:
    shown = toml_text([True, 1, 2.5, 'a"b\\', {"k": "v"}, None])
    assert shown == '[true, 1, 2.5, "a\\"b\\\\", {k = "v"}, unset]'


def test_usage_and_version_import_nothing_heavy() -> None:
    probe = "import sys, oht50d.app.cli as c; c.main(['version']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert {"trio", "numpy", "quart", "hypercorn", "serial", "cattrs"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("ending", "code", "told"),
    [
        (ValueError("broken inside"), ExitCode.SOFTWARE, "broken inside"),
        (LinkError("no port", cause="absent"), ExitCode.UNAVAILABLE, "no port"),
        (None, ExitCode.OK, "web.port"),
    ],
)
def test_run_ends_with_the_code_of_its_end(
    ending: Exception | None,
    code: ExitCode,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    place: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    def end(config: Config, *, simulator: EarlySimulator | None, reload: Callable[[], ReloadReport]) -> int:
        assert config.robot.scenario == "empty"
        assert simulator is not None
        assert simulator.process.poll() is None
        assert reload() == ReloadReport(("nothing has changed",))
        if ending is not None:
            raise ending
        print("web.port", config.web.port)
        return ExitCode.OK

    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(house, "main", end)
    monkeypatch.setenv("API_WORKERS", "4")
    level = root.level
    try:
        assert cli.main(["run", "--simulate", "--scenario", "empty", *place]) == code
    finally:
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    captured = capfd.readouterr()
    assert told in captured.out + captured.err
    assert "API_WORKERS: accepted" in captured.err


def test_safe_stop_gets_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_stop, "main", lambda config: config.bus.serial.baud % 100)
    assert cli.main(["safe-stop", "--set", "bus.serial.baud=19200"]) == 19200 % 100


def test_ctrl_c_before_anything_is_open_is_an_end_in_order_for_the_daemon_only(
    place: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_with_configuration", interrupted)
    assert cli.main(["run", *place]) == ExitCode.OK
    with pytest.raises(KeyboardInterrupt):
        cli.main(["safe-stop"])
