"""`oht50ctl` against the real local socket and desk, with doubles behind it; exit codes and what is printed."""

import io
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import trio
from memory_samples import ListedAccounts, ListedHistory, ScriptedCommander, a_snapshot

from oht50d.app import ctl
from oht50d.clock import now_ns
from oht50d.core.local_rights import Peer
from oht50d.drivers.local_socket import LocalSocketConfig, serve_local
from oht50d.model.records import Row
from oht50d.services.local_desk import LocalDesk
from oht50d.services.ports import Accounts, Commander, HistoryReader, RecordSink, SnapshotSource


class FreshSnapshots:
    """A snapshot that is always taken now."""

    def current(self) -> object:
        return a_snapshot(taken_ns=now_ns())


class NoRecords:
    def record(self, row: Row) -> None:
        """Nobody reads them here."""


class Daemon:
    """The socket and the desk in a thread of their own, asked as the uid that a test chooses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.commander = ScriptedCommander(standstill_ms=380.0)
        self.accounts = ListedAccounts()
        self.history = ListedHistory()
        self.uid = 0
        self._ready = threading.Event()
        self._scope = trio.CancelScope()
        self._token: trio.lowlevel.TrioToken | None = None
        self._thread = threading.Thread(target=trio.run, args=(self._serve,), daemon=True)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(30)

    def stop(self) -> None:
        assert self._token is not None
        self._token.run_sync_soon(self._scope.cancel)
        self._thread.join(30)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        desk = LocalDesk(
            snapshots=cast(SnapshotSource, FreshSnapshots()),
            commander=cast(Commander, self.commander),
            history=cast(HistoryReader, self.history),
            accounts=cast(Accounts, self.accounts),
            records=cast(RecordSink, NoRecords()),
            technicians_gid=900,
            utc_now=lambda: "2024-05-01T12:00:00.000Z",
        )

        async def handle(peer: Peer, request: dict[str, object]) -> dict[str, object]:
            return await desk(Peer(peer.pid, self.uid, self.uid, frozenset({self.uid})), request)

        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as nursery:
                config = LocalSocketConfig(path=str(self.path), group="oht50-no-such-group")
                await nursery.start(lambda task_status: serve_local(config, handle, task_status=task_status))
                self._ready.set()


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    running = Daemon(tmp_path / "control.sock")
    running.start()
    monkeypatch.setenv("OHT50_SOCKET", str(running.path))
    yield running
    running.stop()


def test_status(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["status"]) == 0
    printed = capsys.readouterr().out
    assert "OHT-50-001 SIMULATED" in printed
    assert "state      IDLE" in printed
    assert "modules    2 of 2 online" in printed


def test_status_as_json(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--json", "status"], ["status", "--json"]):
        assert ctl.main(words) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "IDLE"


@pytest.mark.parametrize("command", ["status", "modules"])
def test_an_output_that_is_full_is_74_and_one_that_is_closed_is_quiet(command: str, daemon: Daemon) -> None:
    asked = [sys.executable, "-m", "oht50d.app.ctl", command]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(asked, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (74, "oht50ctl: [Errno 28] No space left on device\n")
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(asked, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_stop_works_for_anybody(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.uid = 4711
    assert ctl.main(["stop"]) == 0
    printed = capsys.readouterr().out
    assert "STOP verified" in printed
    assert "standstill 380 ms" in printed
    actor, _ = daemon.commander.stops[0]
    assert actor is not None
    assert actor.uid == 4711


def test_a_stop_that_is_not_confirmed_is_a_warning(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.commander.answer = {"outcome": "unknown", "phase": "not_confirmed", "persisted": False}
    assert ctl.main(["stop"]) == 2
    assert "press the red button" in capsys.readouterr().out


def test_modules_registers_and_events(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.history.found = [
        {
            "seq": seq,
            "utc": "2024-05-01T12:00:00.000Z",
            "severity": "info",
            "kind": "a.b",
            "actor": "x",
            "message": f"m{seq}",
        }
        for seq in range(1, 9)
    ]
    assert ctl.main(["modules"]) == 0
    assert ctl.main(["registers", "0x02"]) == 0
    assert ctl.main(["events", "-n", "3"]) == 0
    printed = capsys.readouterr().out
    assert "0x04" in printed
    assert "battery_soc" in printed
    assert [f"m{seq}" in printed for seq in (8, 6, 5)] == [True, True, False]


def test_a_refusal_is_a_failure_with_its_reason(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["registers", "9"]) == 1
    assert "0x09" in capsys.readouterr().err
    assert ctl.main(["--json", "registers", "9"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["details"]["field"] == "address"


def test_what_is_not_permitted_is_77(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.uid = 4711
    assert ctl.main(["status"]) == 77
    assert "oht50-tech" in capsys.readouterr().err


def test_users(daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery\n"))
    assert ctl.main(["user", "add", "ann", "--role", "operator", "--password-stdin"]) == 0
    assert daemon.accounts.accounts["ann"][1] == "correct horse battery"
    monkeypatch.setattr("getpass.getpass", lambda prompt: "another long secret")
    assert ctl.main(["user", "add", "bob", "--role", "admin"]) == 0
    assert ctl.main(["user", "list"]) == 0
    printed = capsys.readouterr().out
    assert "added ann as operator" in printed
    assert "secret" not in printed
    assert [line.split()[:2] for line in printed.splitlines()[-2:]] == [["ann", "operator"], ["bob", "admin"]]


@pytest.mark.parametrize("option", [[], ["--password-stdin"]])
def test_a_password_that_never_comes_is_told(
    option: list[str], daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(_prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    monkeypatch.setattr("getpass.getpass", ended)
    assert ctl.main(["user", "add", "ann", "--role", "operator", *option]) == 1
    told = capsys.readouterr().err
    assert "no password: standard input has ended" in told
    assert "--password-stdin" in told
    assert daemon.accounts.accounts == {}


def test_an_interrupted_question_does_nothing_and_says_so(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_prompt: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("getpass.getpass", interrupt)
    assert ctl.main(["user", "add", "ann", "--role", "operator"]) == 1
    assert "nothing was done" in capsys.readouterr().err


def test_two_passwords_that_differ_are_not_sent(
    daemon: Daemon, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["first password", "second password"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert ctl.main(["user", "add", "ann", "--role", "operator"]) == 64
    assert "differ" in capsys.readouterr().err
    assert daemon.accounts.accounts == {}


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["registers"],
        ["registers", "two"],
        ["registers", "0"],
        ["registers", "248"],
        ["events", "-n", "0"],
        ["events", "-n", "501"],
        ["events", "-n", "-1"],
        ["user", "add", "ann"],
        ["user", "add", "a", "--role", "king"],
    ],
)
def test_usage_is_64(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(argv)
    assert ended.value.code == 64
    assert "usage" in capsys.readouterr().err


def test_no_daemon_is_69_and_one_sentence_with_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ctl.main(["--socket", str(tmp_path / "nobody"), "status"]) == 69
    told = capsys.readouterr().err
    assert "systemctl start oht50d" in told
    assert told.count("\n") == 1


def test_a_socket_of_somebody_else_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "other"))
        listener.listen(1)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"220 smtp.example\n")

        thread = threading.Thread(target=answer)
        thread.start()
        assert ctl.main(["--socket", str(tmp_path / "other"), "status"]) == 1
        thread.join(30)
    assert "is that the socket of oht50d" in capsys.readouterr().err


def test_a_connection_that_ends_early_is_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(tmp_path / "other"))
        listener.listen(1)

        def hang_up() -> None:
            connection, _ = listener.accept()
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        assert ctl.main(["--socket", str(tmp_path / "other"), "status"]) == 69
        thread.join(30)
    assert "systemctl status oht50d" in capsys.readouterr().err
