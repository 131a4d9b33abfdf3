"""The command line `oht50d`: exit codes, the check report, and how little starting it imports."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import oht50d
from oht50d.app import check, cli, house, safe_stop
from oht50d.app.check import ReportSection, Verdict, run_check, toml_text
from oht50d.app.config import Config, load_config
from oht50d.app.early_simulator import EarlySimulator
from oht50d.app.environment import NAMES
from oht50d.app.exit_codes import ExitCode
from oht50d.model.errors import ConfigError, InvariantViolation, LinkError, Oht50Error, StoreError

NOWHERE = Path("/nonexistent/oht50d.toml")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for row in NAMES:
        monkeypatch.delenv(row.name, raising=False)


@pytest.mark.parametrize("argv", [[], ["fly"], ["run", "--fly"], ["check", "--config"], ["run", "--set"]])
def test_wrong_usage_is_64(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(argv)
    assert caught.value.code == ExitCode.USAGE
    assert "usage: oht50d" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == ExitCode.OK
    assert capsys.readouterr().out == f"oht50d {oht50d.__version__}\n"


def test_check_says_where_each_value_came_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.toml"
    file.write_text("schema_version = 1\n[web]\nport = 81\n")
    assert cli.main(["check", "--config", str(file), "--set", "web.host=::1"]) == ExitCode.OK
    rows = {line.split()[0]: line.split()[1:] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    assert rows["web.port"] == ["81", f"{file}:3"]
    assert rows["web.host"] == ['"::1"', "--set", "web.host"]
    assert rows["safety.permit_life"] == ['"150ms"', "default"]
    assert rows["web.metrics_port"] == ["unset", "default"]


def test_check_reads_the_register_maps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check"]) == ExitCode.OK
    assert "0x03" in capsys.readouterr().out
    assert cli.main(["check", "--set", 'bus.maps=["absent.toml"]']) == ExitCode.CONFIGURATION
    assert "modules/absent.toml: no such file" in capsys.readouterr().err


def test_check_with_warnings_is_2(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.setenv("LIDAR_SIMULATION", "true")
    monkeypatch.setenv("API_WORKERS", "4")
    assert cli.main(["check"]) == ExitCode.WARNINGS
    output = capsys.readouterr().out
    assert "every motion will be refused" in output
    assert "API_WORKERS: accepted" in output


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
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def end(config: Config, *, simulator: EarlySimulator | None, load_again: Callable[[], Config]) -> int:
        assert config.robot.scenario == "3"
        assert simulator is not None
        assert simulator.process.poll() is None
        assert load_again() == config
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
        assert cli.main(["run", "--simulate", "--scenario", "3"]) == code
    finally:
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    captured = capfd.readouterr()
    assert told in captured.out + captured.err
    assert "API_WORKERS: accepted" in captured.err


def test_safe_stop_gets_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_stop, "main", lambda config: config.bus.serial.baud % 100)
    assert cli.main(["safe-stop", "--set", "bus.serial.baud=19200"]) == 19200 % 100
