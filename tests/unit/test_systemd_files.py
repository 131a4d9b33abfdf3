"""The settings of the systemd files that safety and the documents rely on."""

from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"


def settings(section: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    current = ""
    for line in (SYSTEMD / "oht50d.service").read_text().splitlines():
        if line.startswith("["):
            current = line.strip("[]")
        elif current == section and "=" in line and not line.startswith("#"):
            key, _, setting = line.partition("=")
            found.setdefault(key, []).append(setting)
    return found


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("Type", "notify"),
        ("WatchdogSec", "3"),
        ("Restart", "always"),
        ("RestartPreventExitStatus", "78"),
        ("ExecStopPost", "/usr/bin/oht50d safe-stop"),
        ("ExecStart", "/usr/bin/oht50d run"),
        ("User", "oht50d"),
        ("StateDirectory", "oht50d"),
        ("RuntimeDirectory", "oht50d"),
        ("DevicePolicy", "closed"),
        ("MemoryDenyWriteExecute", "yes"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("CapabilityBoundingSet", ""),
        ("LimitNOFILE", "4096"),
    ],
)
def test_service_setting(key: str, expected: str) -> None:
    assert settings("Service")[key] == [expected]


def test_serial_ports_stay_visible() -> None:
    service = settings("Service")
    assert "PrivateDevices" not in service
    assert {"char-ttyUSB rw", "char-ttyACM rw", "char-ttyS rw"} <= set(service["DeviceAllow"])


def test_a_restart_is_never_given_up() -> None:
    assert settings("Unit")["StartLimitIntervalSec"] == ["0"]


def test_reload_needs_no_kill_program() -> None:
    assert "/bin/kill" not in settings("Service")["ExecReload"][0]


def test_the_technicians_group_and_the_serial_group_are_the_daemons() -> None:
    lines = [line.split() for line in (SYSTEMD / "oht50d.sysusers").read_text().splitlines() if line and line[0] != "#"]
    assert ["m", "oht50d", "oht50-tech"] in lines
    assert ["m", "oht50d", "dialout"] in lines


def test_udev_gives_both_names_and_keeps_probers_away() -> None:
    rules = (SYSTEMD / "60-oht50d.rules").read_text()
    for name in ('SYMLINK+="ttyOHT485"', 'SYMLINK+="ttyOHTLIDAR"', 'ID_MM_DEVICE_IGNORE}="1"', "BRLTTY"):
        assert name in rules


def test_credentials_are_for_root_only() -> None:
    lines = [line.split() for line in (SYSTEMD / "oht50d.tmpfiles").read_text().splitlines()]
    assert ["d", "/etc/oht50d/credentials", "0700", "root", "root", "-"] in lines
