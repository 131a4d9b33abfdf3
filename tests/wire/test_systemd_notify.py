"""sd_notify on real datagram sockets, by path and in the abstract name space."""

import os
import socket
from pathlib import Path

import pytest

from oht50d.drivers.systemd import Notifier, watchdog_period
from oht50d.model.units import Duration


def listen(address: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(address)
    manager.settimeout(10)
    return manager


@pytest.mark.parametrize("is_abstract", [False, True])
def test_messages_arrive(tmp_path: Path, is_abstract: bool) -> None:
    name = f"oht50d-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with listen("\0" + name if is_abstract else name) as manager:
        notifier = Notifier.from_environment({"NOTIFY_SOCKET": "@" + name if is_abstract else name})
        assert notifier.is_enabled
        notifier.ready("SAFE: boot")
        notifier.status("two\nlines")
        notifier.watchdog()
        notifier.stopping()
        notifier.reloading()
        received = [manager.recv(4096).decode() for _ in range(5)]
        notifier.close()
    assert received[:4] == ["READY=1\nSTATUS=SAFE: boot", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]
    lines = received[4].split("\n")
    assert lines[0] == "RELOADING=1"
    assert int(lines[1].removeprefix("MONOTONIC_USEC=")) > 0
    assert notifier.failures == 0


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_without_a_socket_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier.from_environment(environ)
    notifier.ready()
    notifier.watchdog()
    assert not notifier.is_enabled
    assert notifier.failures == 0


def test_a_manager_that_is_gone_or_full_is_counted_and_never_blocks(tmp_path: Path) -> None:
    gone = Notifier(str(tmp_path / "nobody"))
    gone.watchdog()
    assert gone.failures == 1
    with listen(str(tmp_path / "deaf")):
        full = Notifier(str(tmp_path / "deaf"))
        for _ in range(5000):
            full.status("x" * 400)
        assert full.failures > 0
        full.close()
        full.close()
        full.watchdog()
    gone.close()


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "77"}, Duration.parse("3s")),
        ({"WATCHDOG_USEC": "3000000"}, Duration.parse("3s")),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_watchdog_period(environ: dict[str, str], expected: Duration | None) -> None:
    assert watchdog_period(environ, pid=77) == expected


def test_an_empty_status_sends_nothing(tmp_path: Path) -> None:
    with listen(str(tmp_path / "notify")) as manager:
        notifier = Notifier(str(tmp_path / "notify"))
        notifier.status("  ")
        notifier.watchdog()
        assert manager.recv(100) == b"WATCHDOG=1"
        notifier.close()
