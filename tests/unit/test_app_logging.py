"""The log: what a line holds, what is removed, how repeats fold, what a full queue does."""

import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from oht50d.app import logging_setup
from oht50d.app.log_config import LogConfig, LogFormat, LogLevel
from oht50d.app.log_format import JsonFormatter, TextFormatter, clean, encode_journal, journal_fields, message_id
from oht50d.app.logging_setup import (
    FOLD_S,
    MAX_FOLDED,
    JournalHandler,
    LogWriter,
    RepeatFolder,
    is_journal,
    setup_logging,
)


def record(text: str = "link lost", level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": "oht50d.x",
            "levelno": level,
            "levelname": logging.getLevelName(level),
            "msg": text,
            "created": 0.5,
            **extra,
        }
    )


@pytest.fixture
def quiet_root() -> Iterator[None]:
    """Puts the root logger back as it was."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    root.handlers[:] = before
    root.setLevel(level)
    logging.captureWarnings(capture=False)


class Collected(logging.Handler):
    """Keeps what it is given; may be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.gate.wait(30)
        self.texts.append(record.getMessage())


def test_a_json_line_holds_time_level_and_own_fields() -> None:
    line = JsonFormatter().format(record(event="link.lost", oht50_module=3))
    assert "\n" not in line
    assert json.loads(line) == {
        "timestamp": "1970-01-01T00:00:00.500Z",
        "level": "WARNING",
        "logger": "oht50d.x",
        "message": "link lost",
        "event": "link.lost",
        "module": 3,
    }


def test_a_text_line_is_for_people() -> None:
    line = TextFormatter().format(record(event="link.lost"))
    assert line == "1970-01-01T00:00:00.500Z WARNING oht50d.x: link lost event=link.lost"


def test_own_fields_cannot_replace_the_line_s_own() -> None:
    assert json.loads(JsonFormatter().format(record(timestamp="never")))["timestamp"].startswith("1970")


def test_a_traceback_is_part_of_the_message() -> None:
    try:
        raise ValueError("deep")
    except ValueError as error:
        line = JsonFormatter().format(record(exc_info=(ValueError, error, error.__traceback__)))
    assert "ValueError: deep" in json.loads(line)["message"]


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("sent Authorization: Bearer abc.def.ghi on", "abc.def.ghi"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl used", "c2lnbmF0dXJl"),
        ("at postgresql://user:hunter2@db/x", "hunter2"),
    ],
)
def test_secrets_are_removed_from_texts(text: str, secret: str) -> None:
    assert secret not in clean(text)
    assert "[removed]" in clean(text)


@pytest.mark.parametrize("name", ["password", "jwt_secret", "access_token", "Authorization", "oht50_api_key"])
def test_secrets_are_removed_from_fields(name: str) -> None:
    assert "hunter2" not in JsonFormatter().format(record(**{name: "hunter2"}))


def test_a_long_text_is_cut() -> None:
    assert len(clean("x" * 100_000)) < 33_000


def test_journal_fields_carry_priority_and_event_kind() -> None:
    fields = journal_fields(record(event="link.lost", oht50_module=3))
    assert fields["PRIORITY"] == "4"
    assert fields["OHT50_EVENT"] == "link.lost"
    assert fields["OHT50_MODULE"] == "3"
    assert fields["MESSAGE_ID"] == message_id("link.lost") != message_id("link.found")
    assert len(fields["MESSAGE_ID"]) == 32


def test_journal_datagrams_frame_newlines_by_length() -> None:
    assert encode_journal({"A": "b", "C": "d\ne"}) == b"A=b\nC\n\x03\x00\x00\x00\x00\x00\x00\x00d\ne\n"


def test_the_journal_gets_datagrams_and_the_fallback_what_it_refuses(tmp_path: Path) -> None:
    fallback = Collected()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "socket"))
        journal.settimeout(10)
        handler = JournalHandler(fallback, tmp_path / "socket")
        handler.handle(record("first"))
        assert b"MESSAGE=first\n" in journal.recv(65_536)
    handler.handle(record("second"))
    handler.close()
    assert fallback.texts == ["second"]


def test_a_journal_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        JournalHandler(Collected(), tmp_path / "absent")


def test_stderr_is_the_journal_only_if_systemd_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        status = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_journal(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        assert not is_journal(file.fileno())
    assert not is_journal(-1)


def test_repeats_are_folded_with_a_count() -> None:
    now = [0.0]
    folder = RepeatFolder(lambda: now[0])
    assert [r.getMessage() for r in folder.take(record("a"))] == ["a"]
    assert list(folder.take(record("a"))) == []
    assert list(folder.take(record("a"))) == []
    assert [r.getMessage() for r in folder.take(record("b"))] == ["b"]
    now[0] = FOLD_S
    assert [r.getMessage() for r in folder.expired()] == ["a (repeated 2 times)"]
    assert [r.getMessage() for r in folder.take(record("a"))] == ["a"]


def test_the_table_of_repeats_is_bounded() -> None:
    folder = RepeatFolder(lambda: 0.0)
    written = [r.getMessage() for n in range(MAX_FOLDED + 1) for r in folder.take(record(f"{n}")) for _ in (1,)]
    assert len(written) == MAX_FOLDED + 1
    assert [r.getMessage() for r in folder.take(record("0"))] == ["0"]


def test_a_full_queue_drops_counts_and_never_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging_setup, "QUEUE_RECORDS", 10)
    collected = Collected()
    collected.gate.clear()
    writer = LogWriter([collected])
    for number in range(30):
        writer.entrance.handle(record(f"{number}"))
    assert writer.dropped >= 19
    collected.gate.set()
    writer.close()
    assert "0" in collected.texts
    assert any("log records were dropped" in text for text in collected.texts)


def test_what_was_logged_is_written_at_the_end(
    tmp_path: Path, quiet_root: None, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.log"
    writer = setup_logging(LogConfig(level=LogLevel.INFO, format=LogFormat.TEXT, file=str(file)))
    log = logging.getLogger("oht50d.test")
    log.debug("not wanted")
    for _ in range(3):
        log.warning("spoken %s", "twice", extra={"event": "test.said"})
    try:
        raise ValueError("deep")
    except ValueError:
        log.exception("it broke")
    writer.close()
    writer.close()
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["message"].splitlines()[0] for line in lines] == [
        "spoken twice",
        "it broke",
        "spoken twice (repeated 2 times)",
    ]
    assert lines[0]["event"] == "test.said"
    assert "ValueError: deep" in lines[1]["message"]
    assert "WARNING oht50d.test: spoken twice event=test.said" in capfd.readouterr().err


@pytest.mark.parametrize("has_reader", [False, True])
def test_a_log_file_that_was_swapped_for_a_fifo_is_told_without_waiting(has_reader: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.log")
    reader = os.open(tmp_path / "x.log", os.O_RDONLY | os.O_NONBLOCK) if has_reader else None
    config = LogConfig(file=str(tmp_path / "x.log"))
    assert "cannot be written" in logging_setup.log_file_trouble(config)
    with pytest.raises(OSError):
        logging_setup._file_handler(config)
    if reader is not None:
        os.close(reader)


def test_a_log_file_that_cannot_be_written_is_told(
    tmp_path: Path, quiet_root: None, capfd: pytest.CaptureFixture[str]
) -> None:
    setup_logging(LogConfig(format=LogFormat.JSON, file=str(tmp_path / "no" / "x.log"))).close()
    assert "cannot be written" in json.loads(capfd.readouterr().err)["message"]


def test_without_a_journal_socket_the_journal_format_is_json(
    tmp_path: Path, quiet_root: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logging_setup, "is_journal", lambda _: True)
    monkeypatch.setattr(logging_setup, "JOURNAL_SOCKET", tmp_path / "absent")
    writer = setup_logging(LogConfig())
    logging.getLogger("oht50d.test").info("here")
    writer.close()
    assert json.loads(capfd.readouterr().err)["message"] == "here"
