"""A reload: the log follows at once, other settings are named, a broken file changes nothing."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from oht50d.app.config import LoadedConfig, load_config
from oht50d.app.logging_setup import LogWriter, setup_logging
from oht50d.app.reload import Reloader


class Site:
    """A configuration file, the log that it describes, and the reloader of a daemon that runs on it."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "oht50d.toml"
        self.log_file = directory / "x.log"
        self.write(f"[log]\nfile = '{self.log_file}'\nformat = 'json'\n")
        loaded = load_config(self.file, environ={})
        self.writer: LogWriter = setup_logging(loaded.config.log)
        self.reloader = Reloader(loaded, lambda: load_config(self.file, environ={}), self.writer)

    def write(self, text: str) -> None:
        self.file.write_text("schema_version = 1\n" + text)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    running = Site(tmp_path)
    yield running
    running.writer.close()
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def messages(file: Path) -> list[str]:
    return [json.loads(line)["message"] for line in file.read_text().splitlines()]


def test_every_key_is_named_with_what_becomes_of_it(site: Site) -> None:
    site.write(f"[web]\nport = 81\nws_clients = 3\n[log]\nfile = '{site.log_file}'\nlevel = 'DEBUG'\nformat = 'text'\n")
    report = site.reloader.reload()
    assert report.lines == (
        'log.format is "text" from now on (it was "json")',
        'log.level is "DEBUG" from now on (it was "INFO")',
        "web.port needs a restart: 8000 stays in force, 81 is set",
        "web.ws_clients needs a restart: 64 stays in force, 3 is set",
        f"log.file {site.log_file} was opened anew",
    )
    assert logging.getLogger().level == logging.DEBUG
    # What waits for a restart is named every time, what is in force only once.
    assert [line.split()[0] for line in site.reloader.reload().lines] == ["web.port", "web.ws_clients", "log.file"]


def test_the_format_and_the_file_follow_at_once(site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("oht50d.test")
    log.warning("first")
    site.write(f"[log]\nfile = '{tmp_path}/y.log'\nformat = 'text'\n")
    assert site.reloader.reload().trouble == ""
    log.warning("second")
    site.writer.close()
    assert messages(tmp_path / "y.log")[-1] == "second"
    assert "second" not in messages(site.log_file)
    error_lines = capfd.readouterr().err.splitlines()
    assert error_lines[-1].endswith("WARNING oht50d.test: second")


def test_a_file_that_was_moved_away_is_opened_anew(site: Site, tmp_path: Path) -> None:
    log = logging.getLogger("oht50d.test")
    site.log_file.rename(tmp_path / "x.log.1")
    site.reloader.reload()
    log.warning("after logrotate")
    site.writer.close()
    assert messages(site.log_file) == ["after logrotate"]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[log]\nlevel = 'LOUD'\n", 3, "log.level"),
        ("[web]\nprot = 3\n", 3, "web.prot"),
        ("[log]\nlevel = 'DEBUG'\nfile = '/nonexistent/x.log'\n", 4, "log.file"),
    ],
)
def test_a_broken_file_changes_nothing(site: Site, text: str, line: int, key: str) -> None:
    site.write(text)
    report = site.reloader.reload()
    assert report.refusal is not None
    assert (report.refusal.file, report.refusal.line, report.refusal.key) == (str(site.file), line, key)
    assert (report.lines, logging.getLogger().level) == ((), logging.INFO)


def test_a_reload_that_was_overtaken_changes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files hung; when they come, a newer reload has been served."""
    load = site.reloader._load_again

    def hanging() -> LoadedConfig:
        old = load()
        monkeypatch.setattr(site.reloader, "_load_again", load)
        site.write("[log]\nlevel = 'ERROR'\n")
        site.reloader.reload()
        return old

    monkeypatch.setattr(site.reloader, "_load_again", hanging)
    site.write("[log]\nlevel = 'DEBUG'\n")
    assert site.reloader.reload().lines == ("given up",)
    assert logging.getLogger().level == logging.ERROR


def test_a_log_file_that_became_a_fifo_is_refused_without_waiting(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    site.write(f"[log]\nfile = '{tmp_path}/fifo'\n")
    refusal = site.reloader.reload().refusal
    assert refusal is not None
    assert (refusal.key, refusal.line) == ("log.file", 3)


def test_a_log_file_that_cannot_be_written_is_told_and_the_rest_applies(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "oht50d.app.logging_setup.log_file_trouble", lambda config: f"log.file {config.file} cannot be written"
    )
    site.write(f"[log]\nfile = '{site.log_file}'\nlevel = 'ERROR'\n")
    report = site.reloader.reload()
    assert "cannot be written" in report.trouble
    assert logging.getLogger().level == logging.ERROR
