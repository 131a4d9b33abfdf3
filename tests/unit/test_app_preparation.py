"""What a start needs beside its settings: the lock, and places that cannot be had."""

import errno
import logging
import os
from pathlib import Path

import pytest

from oht50d.app import preparation
from oht50d.app.config import load_config
from oht50d.drivers import lock_file
from oht50d.model.errors import ConfigError, LinkError, StoreError

NOWHERE = Path("/nonexistent/oht50d.toml")


def test_the_lock_names_its_holder_and_is_free_afterwards(tmp_path: Path) -> None:
    held = preparation.hold_state(tmp_path)
    assert held is not None
    with pytest.raises(LinkError, match=rf"{tmp_path} is in use by .*\(pid {os.getpid()}\)") as caught:
        preparation.hold_state(tmp_path)
    assert caught.value.cause == "held"
    assert "state_dir" in caught.value.remedy
    assert str(os.getpid()) in str(preparation.find_holder(tmp_path))
    assert not os.get_inheritable(held), "a simulator that outlives a killed daemon must not keep the lock"
    os.close(held)
    assert preparation.find_holder(tmp_path) is None
    again = preparation.hold_state(tmp_path)
    assert again is not None
    os.close(again)


def test_without_a_lock_file_nobody_holds_it_and_none_is_made(tmp_path: Path) -> None:
    assert preparation.find_holder(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_a_state_directory_that_cannot_hold_a_lock_does_not_end_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """ADR 0009: a robot without a memory is still watched and stopped."""

    def refuse(_path: Path) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(lock_file, "_open", refuse)
    assert preparation.hold_state(tmp_path) is None
    values = {"robot.state_dir": tmp_path, "robot.runtime_dir": tmp_path / "r"}
    loaded = load_config(environ={}, default_file=NOWHERE, assignments=[f"{k}={v}" for k, v in values.items()])
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    try:
        with preparation.prepared(loaded):
            pass
    finally:
        root.setLevel(level)
        logging.captureWarnings(capture=False)
    assert f"{tmp_path} cannot be locked" in capfd.readouterr().err


def test_a_lock_file_that_can_only_be_read_still_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / preparation.LOCK_NAME
    path.write_text("1\n")
    really_open = os.open

    def read_only(name: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR:
            raise OSError(errno.EROFS, "Read-only file system")
        return really_open(name, flags, mode)

    monkeypatch.setattr(os, "open", read_only)
    held = preparation.hold_state(tmp_path)
    assert held is not None
    monkeypatch.setattr(lock_file.os, "getpid", lambda: 0)  # so that this process shows as another one
    told = str(preparation.find_holder(tmp_path))
    monkeypatch.undo()
    assert f"(pid {os.getpid()})" in told, "the pid in the file is an old one: /proc knows better"
    os.close(held)


def test_a_directory_that_cannot_be_made_is_told_with_the_line_that_set_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    config = tmp_path / "x.toml"
    config.write_text(f"schema_version = 1\n[robot]\nstate_dir = '{tmp_path}/file/state'\n")
    loaded = load_config(config, environ={})
    for is_trial in (False, True):
        with pytest.raises(StoreError, match=rf"{config}:3: robot.state_dir: cannot make .*: Not a directory"):
            preparation.make_directories(loaded, is_trial=is_trial)


def test_a_log_in_a_missing_directory_is_told_with_the_line_that_set_it(tmp_path: Path) -> None:
    config = tmp_path / "x.toml"
    config.write_text(f"schema_version = 1\n[log]\nfile = '{tmp_path}/absent/x.log'\n")
    with pytest.raises(ConfigError) as caught:
        preparation.check_log_place(load_config(config, environ={}))
    assert (caught.value.key, caught.value.file, caught.value.line) == ("log.file", str(config), 3)


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_a_log_that_is_no_regular_file_is_told_with_the_line_that_set_it(kind: str, tmp_path: Path) -> None:
    """Opening a FIFO waits for a reader: a start would never send its first stop."""
    place = Path("/dev/null") if kind == "device" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    config = tmp_path / "x.toml"
    config.write_text(f"schema_version = 1\n[log]\nfile = '{place}'\n")
    with pytest.raises(ConfigError, match=f"expected a regular file, found the (?i:{kind}) {place}") as caught:
        preparation.check_log_place(load_config(config, environ={}))
    assert (caught.value.key, caught.value.file, caught.value.line) == ("log.file", str(config), 3)


def test_a_second_daemon_does_not_touch_the_log_of_the_first(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    values = {"robot.state_dir": tmp_path / "s", "robot.runtime_dir": tmp_path / "r", "log.file": log}
    loaded = load_config(environ={}, default_file=NOWHERE, assignments=[f"{k}={v}" for k, v in values.items()])
    preparation.make_directories(loaded)
    held = preparation.hold_state(tmp_path / "s")
    assert held is not None
    try:
        with pytest.raises(LinkError), preparation.prepared(loaded):
            pytest.fail("both run")
    finally:
        os.close(held)
    assert not log.exists()
