"""The hands at the simulated vehicle: what a script can tell from their exit code."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from oht50d.sim import remote


def hands(monkeypatch: pytest.MonkeyPatch, *replies: str) -> list[object]:
    asked: list[object] = []

    def ask(_control: Path, operation: Mapping[str, object]) -> str:
        asked.append(operation)
        return replies[min(len(asked), len(replies)) - 1]

    monkeypatch.setattr(remote, "ask", ask)
    monkeypatch.setattr(remote, "SETTLE_S", 0)
    monkeypatch.setattr(remote.time, "sleep", lambda _seconds: None)
    return asked


@pytest.mark.parametrize("reply", ['{"error": "no obstacle with this id"}', "", "no JSON"])
def test_a_refusal_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reply: str) -> None:
    hands(monkeypatch, reply)
    assert remote.main(["/x", "clear"]) == 1
    assert capsys.readouterr().err.strip() == reply


def test_the_first_refusal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = hands(monkeypatch, "{}", '{"error": "no"}', "{}")
    assert remote.main(["/x", "reset"]) == 1
    assert len(asked) == 2


def test_what_was_done_ends_with_0(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    hands(monkeypatch, '{"ok": true}')
    assert remote.main(["/x", "box"]) == 0
    assert capsys.readouterr().out == '{"ok": true}\n'


def test_no_simulated_robot_ends_with_69(tmp_path: Path) -> None:
    assert remote.main([str(tmp_path), "plant"]) == 69


@pytest.mark.parametrize("arguments", [["/x"], ["/x", "foo"], []])
def test_a_misuse_ends_with_64(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        remote.main(arguments)
    assert caught.value.code == 64
