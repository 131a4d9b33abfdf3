"""The FTDI latency timer, on a made-up /sys."""

from pathlib import Path

import pytest

from oht50d.drivers.latency_timer import RULE, shorten_latency

READ_ONLY = Path("/proc/sys/kernel/cap_last_cap")
"""A number that nobody may write, root neither."""


@pytest.fixture
def port(tmp_path: Path) -> Path:
    """The sysfs directory of the USB serial port ttyUSB3, reached through /sys/class/tty as the kernel links it."""
    port = tmp_path / "devices" / "usb1" / "1-1" / "1-1:1.0" / "ttyUSB3"
    terminal = port / "tty" / "ttyUSB3"
    terminal.mkdir(parents=True)
    (terminal / "device").symlink_to("../../../ttyUSB3")
    (tmp_path / "class" / "tty").mkdir(parents=True)
    (tmp_path / "class" / "tty" / "ttyUSB3").symlink_to(terminal)
    return port


@pytest.mark.parametrize("place", ["latency_timer", "../latency_timer"])
def test_sixteen_milliseconds_become_one(tmp_path: Path, port: Path, place: str) -> None:
    (port / place).write_text("16\n")
    assert shorten_latency("/dev/ttyUSB3", tmp_path) == ""
    assert (port / place).read_text() == "1\n"


def test_a_timer_that_is_short_is_left_alone(tmp_path: Path, port: Path) -> None:
    """ASYNC_LOW_LATENCY makes the driver show 1; nothing is written then, which a sandbox would refuse."""
    (port / "latency_timer").write_text("1\n")
    (port / "latency_timer").chmod(0o444)
    before = (port / "latency_timer").stat().st_mtime_ns
    assert shorten_latency("/dev/ttyUSB3", tmp_path) == ""
    assert (port / "latency_timer").stat().st_mtime_ns == before


def test_a_timer_that_cannot_be_written_is_told_with_its_length_and_the_rule(tmp_path: Path, port: Path) -> None:
    (port / "latency_timer").symlink_to(READ_ONLY)
    warning = shorten_latency("/dev/ttyUSB3", tmp_path)
    assert f"/dev/ttyUSB3 is {READ_ONLY.read_text().strip()} ms and cannot be set (" in warning
    assert RULE in warning


def test_garbage_is_overwritten_and_a_device_is_no_attribute(tmp_path: Path, port: Path) -> None:
    (port / "latency_timer").write_text("garbage")
    assert shorten_latency("/dev/ttyUSB3", tmp_path) == ""
    (port / "latency_timer").unlink()
    (port / "latency_timer").symlink_to("/dev/null")
    assert shorten_latency("/dev/ttyUSB3", tmp_path) == ""


@pytest.mark.parametrize("device", ["/dev/ttyUSB3", "/dev/ttyS1", "/dev/pts/4"])
def test_an_adapter_without_such_a_timer_has_nothing_to_say(tmp_path: Path, port: Path, device: str) -> None:
    assert shorten_latency(device, tmp_path) == ""


def test_the_shipped_rule_is_the_one_that_the_warning_names() -> None:
    rules = (Path(__file__).resolve().parents[2] / "systemd" / "60-oht50d.rules").read_text().splitlines()
    wanted = RULE.partition("  (")[0]
    assert wanted in rules
    guard = next(n for n, line in enumerate(rules) if 'SUBSYSTEM!="tty"' in line)
    assert rules.index(wanted) < guard, "what comes after the guard is for terminals only"
