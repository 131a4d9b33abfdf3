"""`oht50d run --simulate` as a user starts it: daemon and simulator as one command, and no simulator left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

LIMIT_S = 60


def command(directory: Path, *more: str) -> list[str]:
    settings = [f"robot.state_dir={directory}/state", f"robot.runtime_dir={directory}/run", "web.port=0"]
    settings.append(f"spool.path={directory}/state/spool.db")
    return [sys.executable, "-m", "oht50d", "run", "--simulate", *more, *(w for s in settings for w in ("--set", s))]


def wait_for_end(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=LIMIT_S)
    assert alive == []


def test_one_command_runs_both_and_sigterm_ends_both(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        printed = ""
        while "sign in once" not in printed:
            line = daemon.stdout.readline()
            assert line, printed
            printed += line
        children = psutil.Process(daemon.pid).children()
        assert [child.cmdline()[-1] for child in children] == ["--arguments-from-stdin"]
        assert (tmp_path / "run" / "simulator" / "bus").is_symlink()
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(LIMIT_S) == 0
        wait_for_end(children)
    assert not (tmp_path / "run" / "simulator" / "bus").is_symlink()


@pytest.mark.parametrize("more", [["--set", "web.portt=1"], ["--scenario", "nope"]])
def test_a_refused_configuration_leaves_no_simulator(tmp_path: Path, more: list[str]) -> None:
    before = {process.pid for process in psutil.process_iter()}
    began = time.monotonic()
    done = subprocess.run(command(tmp_path, *more), capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - began < LIMIT_S
    mine = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before and p.ppid() == 1]
    assert not [p for p in mine if "oht50d.sim" in " ".join(p.info["cmdline"] or [])]


def test_a_killed_daemon_takes_its_simulator_along(tmp_path: Path) -> None:
    with subprocess.Popen(command(tmp_path), stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        while "sign in once" not in (line := daemon.stdout.readline()):
            assert line
        children = psutil.Process(daemon.pid).children()
        os.kill(daemon.pid, signal.SIGKILL)
        wait_for_end(children)
