"""What `oht50d run` does with a configuration, a map or a surrounding that it cannot use: exit code and one message."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60
MAPS = ROOT / "config" / "modules"
SITE_MAPS = """
import sys
from pathlib import Path
from oht50d.app import paths
paths.find_config_file.__kwdefaults__["site_dir"] = Path(sys.argv.pop(1))
from oht50d.app.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A configuration that only lacks its devices; what a test appends is wrong."""
    (tmp_path / "oht50d.toml").write_text(
        f"""schema_version = 1
environment = "development"
[robot]
state_dir = "{tmp_path}/state"
runtime_dir = "{tmp_path}/run"
[bus.serial]
port = "{tmp_path}/no-bus"
lock_dir = "{tmp_path}"
[lidar]
port = "{tmp_path}/no-lidar"
[web]
host = "127.0.0.1"
port = 0
"""
    )
    return tmp_path


def run(
    site: Path,
    *arguments: str,
    module: tuple[str, ...] = ("-m", "oht50d"),
    environ: Mapping[str, str] | None = None,
    command: str = "run",
) -> tuple[int, str, str]:
    """Exit code, what was said in plain words, and what was logged at level ERROR or above."""
    ended = subprocess.run(
        [sys.executable, *module, command, "--config", str(site / "oht50d.toml"), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT_S, cwd=ROOT,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip
    lines = ended.stdout.splitlines(keepends=True)
    serious = [line for line in lines if line.startswith("{") and json.loads(line)["level"] in ("ERROR", "CRITICAL")]
    return ended.returncode, "".join(line for line in lines if not line.startswith("{")), "".join(serious)


def append(site: Path, text: str) -> None:
    with (site / "oht50d.toml").open("a") as file:
        file.write(text)


BROKEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "unknown key": ("wobsite = 1\n", (":14:", "web.wobsite")),
    "misspelt key": ("hots = 'x'\n", (":14:", "web.hots", "host")),
    "misspelt table": ("[safty]\nstep = '10ms'\n", (":15:", "safty", "did you mean 'safety'?")),
    "wrong type": ("[bus]\nprobe_timeout = 5\n", (":15:", "bus.probe_timeout", "expected", "found")),
    "beyond a limit": ("[safety]\npermit_life = '151ms'\n", (":15:", "safety.permit_life", "150ms")),
    "switched off by a zero": ("[safety]\nloop_gap = '0ms'\n", (":15:", "safety.loop_gap")),
    "unknown word": (
        "[safety]\nbrake_wiring = 'energize_to_release'\n",
        (":15:", "brake_wiring", "energise_to_release"),
    ),
    "no TOML": ("[bus\n", (":14:",)),
    "missing map": (
        "[bus]\nmaps = ['power.toml', 'safety.toml', 'travel.toml', 'dock.toml']\n",
        (
            ":15:",
            "bus.maps",
            "no such register map",
            "dock.toml",
            "found 'travel.toml'",
            "did you mean 'travel_motor.toml'?",
        ),
    ),
    "no map": ("[bus]\nmaps = []\n", (":15:", "bus.maps", "no register map", "expected the map of", "found []")),
    "a map twice": (
        "[bus]\nmaps = ['power.toml', 'safety.toml', 'travel_motor.toml', 'dock.toml', 'power.toml']\n",
        (":15:", "bus.maps", "twice", "expected each map once", "power.toml twice"),
    ),
    "a map too few": (
        "[bus]\nmaps = ['power.toml', 'safety.toml', 'dock.toml']\n",
        (":15:", "bus.maps", "travel", "exactly one", "found none"),
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_configuration_ends_with_78_and_one_message(case: str, site: Path) -> None:
    text, words = BROKEN[case]
    append(site, text)
    code, complaint, logged = run(site)
    assert (code, complaint.count("\n"), logged) == (78, 1, ""), complaint + logged
    assert complaint.startswith("oht50d: ")
    assert all(word in complaint for word in words), complaint
    assert str(site / "oht50d.toml") in complaint


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('type = "int16", scale', 'type = "int61", scale', ("type", "int61", "int16")),
        ('name = "battery_soc"', 'nam = "battery_soc"', ("nam", "name")),
        ("address = 0x0002, name", "address = 0x0001, name", ("address", "used twice", "battery_current")),
        ('role = "battery.soc"', 'role = "battery.sok"', ("role", "battery.sok", "battery.soc")),
    ],
)
def test_a_broken_map_ends_with_78_and_one_message(old: str, new: str, words: tuple[str, ...], site: Path) -> None:
    text = (MAPS / "power.toml").read_text()
    assert old in text
    (site / "modules").mkdir()
    broken = site / "modules" / "power.toml"
    broken.write_text(text.replace(old, new, 1))
    line = max(number for number, row in enumerate(broken.read_text().splitlines(), start=1) if new in row)
    code, complaint, logged = run(site, module=("-c", SITE_MAPS, str(site)))
    assert (code, complaint.count("\n"), logged) == (78, 1, ""), complaint + logged
    assert f"{broken}:{line}: " in complaint
    assert all(word in complaint for word in words), complaint


@pytest.mark.parametrize(
    ("text", "environ"),
    [("[bus]\nis_simulated = true\n", {}), ("is_simulated = true\n", {}), ("", {"FIRMWARE_SIMULATION": "true"})],
    ids=["bus", "lidar", "environment"],
)
def test_production_refuses_simulation(text: str, environ: dict[str, str], site: Path) -> None:
    file = site / "oht50d.toml"
    settings = file.read_text().replace('"development"', '"production"')
    file.write_text(settings.replace("[web]", text + "[web]") if text else settings)
    code, complaint, logged = run(site, environ=environ)
    assert (code, complaint.count("\n"), logged) == (78, 1, "")
    assert "production does not run on a simulated robot" in complaint


def test_a_signing_key_that_is_none_ends_with_78_and_one_message(site: Path) -> None:
    code, complaint, logged = run(site, environ={"JWT_SECRET": "short"})
    assert (code, complaint.count("\n"), logged) == (78, 1, ""), complaint + logged
    assert all(word in complaint for word in ("JWT_SECRET", "too short", "32 bytes", "5 bytes"))


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken_ends_with_69_and_one_message(taken_port: int, site: Path) -> None:
    code, complaint, logged = run(site, "--set", f"web.port={taken_port}")
    assert (code, complaint.count("\n"), logged) == (69, 1, ""), complaint + logged
    assert f"127.0.0.1:{taken_port}" in complaint
    assert "Another program listens there" in complaint


@pytest.mark.parametrize("command", ["run", "check"])
def test_an_impossible_host_ends_with_78_and_one_message(command: str, site: Path) -> None:
    file = site / "oht50d.toml"
    file.write_text(file.read_text().replace('host = "127.0.0.1"\n', ""))
    code, complaint, logged = run(site, environ={"API_HOST": "999.1.1.1"}, command=command)
    last = complaint.splitlines()[-1]
    assert (code, logged) == (78, ""), complaint + logged
    words = ("API_HOST", "web.host: ", "expected an IP address", "found '999.1.1.1'")
    assert all(word in last for word in words), last


def test_an_address_that_this_computer_does_not_have_yet_is_tried_again(site: Path) -> None:
    """A network that comes late must not end the robot for good: the service manager never restarts after 78."""
    code, complaint, logged = run(site, "--set", "web.host=192.0.2.1")
    assert (code, complaint.count("\n"), logged) == (69, 1, ""), complaint + logged
    assert "cannot listen on 192.0.2.1" in complaint


@contextmanager
def daemon(site: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A daemon of that site that serves, and its port."""
    command = [sys.executable, "-m", "oht50d", "run", "--config", str(site / "oht50d.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "serving on port" in line)
            yield process, line.split("serving on port ")[1].split('"')[0]
        finally:
            process.kill()


def test_a_second_instance_does_not_disturb_the_first(site: Path) -> None:
    """Two daemons of one site: the second one ends, the first one goes on and ends in order."""
    with daemon(site) as (first, port):
        for assignment in (f"web.port={port}", "web.port=0"):
            code, complaint, _ = run(site, "--set", assignment)
            assert (code, complaint.count("\n")) == (69, 1), complaint
            assert all(word in complaint for word in (f"{site}/state is in use by", f"(pid {first.pid})", "state_dir"))
        with socket.create_connection(("127.0.0.1", int(port)), timeout=LIMIT_S) as client:
            client.sendall(b"GET /health/live HTTP/1.0\r\n\r\n")
            assert b" 200 " in client.makefile("rb").readline()
        assert (site / "run" / "control.sock").exists()
        first.send_signal(signal.SIGTERM)
        first.communicate(timeout=LIMIT_S)
        assert first.returncode == 0


def test_a_port_that_never_opened_has_nothing_to_confirm(site: Path) -> None:
    with daemon(site) as (process, _):
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    (last,) = [json.loads(line) for line in output.splitlines() if '"stop.last"' in line]
    assert (last["message"], last["phase"]) == ("last stop: no port was ever open, nothing was sent", "none")


def events(site: Path) -> list[str]:
    with closing(sqlite3.connect(site / "state" / "spool.db")) as memory:
        return [str(row[0]) for row in memory.execute("SELECT message FROM events WHERE kind = 'robot.started'")]


def test_a_start_after_kill_9_says_that_the_last_run_ended_badly(site: Path) -> None:
    for is_killed in (True, False):
        with daemon(site) as (process, _):
            process.send_signal(signal.SIGKILL if is_killed else signal.SIGTERM)
            process.communicate(timeout=LIMIT_S)
    started = "Started in SAFE, locked: The control program has just started"
    assert events(site)[-1] == f"{started} (the last run ended badly, without a clean shutdown)"
    with daemon(site) as (process, _):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=LIMIT_S)
    assert events(site)[-1] == started


def test_the_lock_does_not_outlive_a_killed_daemon(site: Path) -> None:
    with daemon(site) as (first, _):
        first.kill()
        first.communicate(timeout=LIMIT_S)
        with daemon(site) as (second, port):
            assert int(port)
            assert (site / "state" / "oht50d.lock").read_text() == f"{second.pid}\n"
