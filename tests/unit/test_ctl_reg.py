"""`oht50ctl reg`: what it asks, what it prints, and its exit codes."""

import json
from typing import Any

import pytest

from oht50d.app import ctl, ctl_reg


def value(
    name: str | None = "velocity_x", raw: int = 7, quality: str | None = "good", **changes: object
) -> dict[str, Any]:
    shown = raw if quality == "good" else None
    return {"address": 51, "name": name, "value": shown, "unit": "mm/s", "raw": raw, "quality": quality,
            "age_s": 0.012} | changes  # fmt: skip


def register(*values: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {"name": "velocity.x", "unit": 5, "address": 51, "count": len(values), "space": "holding", "outcome": "read",
            "reason": "", "is_polled": False, "attempts": 1, "values": list(values)} | changes  # fmt: skip


def written(**changes: object) -> dict[str, Any]:
    worded = {"value": 7, "raw": 7, "quality": "good"}
    return {
        "name": "dock.magnetic_declination", "unit": 5, "address": 0x25, "count": 1, "register": "magnetic_declination",
        "is_dry_run": False, "wanted": worded, "before": {"value": 0, "raw": 0, "quality": "good"}, "after": worded,
        "takes": "-180 to 180 deg", "frame": "05 06 00 25 00 07 d8 47", "outcome": "verified", "reason": "",
        "was_sent": True, "is_echoed": True,
    } | changes  # fmt: skip


class Daemon:
    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def __call__(self, _path: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if not self.answers:
            raise KeyboardInterrupt
        return {"ok": True, "data": self.answers.pop(0)}


def run(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(ctl, "ask", daemon)
    monkeypatch.setattr(ctl_reg.time, "sleep", lambda _s: None)
    return ctl.main([*words])


def test_get_shows_value_unit_quality_and_age(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon({"registers": [register(value())]})
    assert run(daemon, monkeypatch, "reg", "get", "velocity.x") == 0
    assert daemon.asked == [{"op": "reg_get", "names": ["velocity.x"], "space": "holding"}]
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "velocity.x",
        "7",
        "mm/s",
        "0x0007",
        "good",
        "12",
        "ms",
        "ago",
    ]


def test_get_of_several_by_number_and_of_a_pair(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = register(value(), value(None, 9, None, address=52), name="5:51:2")
    pair = register(value("serial_low", 1), value("serial_high", 2), name="dock.serial_number", number=131073)
    daemon = Daemon({"registers": [raw, pair]})
    assert run(daemon, monkeypatch, "reg", "get", "5:51:2", "dock.serial_number", "--input") == 0
    assert daemon.asked[0]["space"] == "input"
    out = capsys.readouterr().out
    assert "0x05:0x0033 velocity_x" in out
    assert "0x05:0x0034" in out
    assert "131073" in out


def test_a_value_that_is_not_good_is_a_warning_and_one_that_failed_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stuck = {"registers": [register(value(quality="stuck"))]}
    assert run(Daemon(stuck), monkeypatch, "reg", "get", "x") == 2
    assert "7 (stuck)" in capsys.readouterr().out
    failed = {"registers": [register(outcome="failed", reason="no reply")]}
    assert run(Daemon(failed), monkeypatch, "reg", "get", "x") == 1
    assert "FAILED: no reply" in capsys.readouterr().out
    assert run(Daemon(failed), monkeypatch, "--json", "reg", "get", "x") == 1
    assert json.loads(capsys.readouterr().out) == failed


@pytest.mark.parametrize(
    ("outcome", "code"), [("verified", 0), ("mismatch", 1), ("unknown", 2), ("rejected", 1), ("something new", 1)]
)
def test_a_write_tells_its_outcome(
    outcome: str, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon(written(outcome=outcome, reason="because"))
    assert run(daemon, monkeypatch, "reg", "set", "dock.magnetic_declination", "-7") == code
    assert daemon.asked == [{"op": "reg_set", "name": "dock.magnetic_declination", "value": "-7"}]
    out = capsys.readouterr().out
    assert f"{outcome.upper()}: because" in out
    assert "before     0 (0x0000)" in out


def test_a_dry_run_shows_the_frame(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    daemon = Daemon(written(is_dry_run=True, outcome="dry_run", before_age_s=1.5))
    assert run(daemon, monkeypatch, "reg", "set", "x", "7", "--dry-run") == 0
    assert daemon.asked[0]["op"] == "reg_dry_run"
    out = capsys.readouterr().out
    assert "05 06 00 25 00 07 d8 47" in out
    assert "1.5 s ago" in out
    assert "nothing was sent" in out


def test_what_is_not_known_is_unknown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {"value": None, "raw": None, "quality": None}
    assert run(Daemon(written(outcome="unknown", after=nothing)), monkeypatch, "reg", "set", "x", "7") == 2
    assert "after      unknown" in capsys.readouterr().out
    dry = written(is_dry_run=True, outcome="dry_run", before=nothing, before_age_s=None)
    assert run(Daemon(dry), monkeypatch, "reg", "set", "x", "7", "--dry-run") == 0
    assert "now        unknown" in capsys.readouterr().out


def test_the_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "module": "dock", "unit": 5, "address": 0x30, "name": "dock.position_x", "role": "position.x", "access": "rw",
        "is_motion": True, "poll": "position", "takes": "-1 to 1", "description": "where", "value": 3000, "raw": 3000,
        "quality": "good", "age_s": 0.05, "unit_of_value": "mm",
    }  # fmt: skip
    never = row | {"name": "dock.other", "value": None, "raw": None, "quality": None, "age_s": None, "is_motion": False}
    daemon = Daemon({"registers": [row, never]})
    assert run(daemon, monkeypatch, "reg", "list", "dock") == 0
    assert daemon.asked == [{"op": "reg_list", "module": "dock"}]
    first, second = (line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert first[:6] == ["0x05:0x0030", "dock.position_x", "rw", "MOTION", "3000", "mm"]
    assert second[3:6] == ["unknown", "never", "read"]


def test_watch_shows_every_look_or_only_changes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looks = [{"registers": [register(value(raw=raw))]} for raw in (7, 7, 8)]
    daemon = Daemon(*looks)
    assert run(daemon, monkeypatch, "reg", "watch", "velocity.x", "--every", "0.2") == 0
    assert daemon.asked[0]["max_age_s"] == 0.2
    assert capsys.readouterr().out.splitlines() == [f"velocity.x {raw} mm/s (12 ms ago)" for raw in (7, 7, 8)]
    assert run(Daemon(*looks), monkeypatch, "reg", "watch", "velocity.x", "--changes") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    failed = {"registers": [register(outcome="failed", reason="no reply")]}
    assert run(Daemon(*looks, failed), monkeypatch, "reg", "watch", "velocity.x") == 1
    assert "FAILED: no reply" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["reg"],
        ["reg", "get"],
        ["reg", "set", "x"],
        ["reg", "watch"],
        ["reg", "watch", "x", "--every", "0"],
        ["reg", "put"],
    ],
)
def test_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(words)
    assert ended.value.code == 64
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["get", "0x05:0x10000"],
        ["get", "300:1"],
        ["get", "velocity.x", "0x05:0x33:126"],
        ["watch", "0:1"],
        ["set", "0x05:0x10000", "1"],
    ],
)
def test_a_place_out_of_its_range_is_usage_and_asks_nothing(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon = Daemon()
    assert run(daemon, monkeypatch, "reg", *words) == 64
    assert daemon.asked == []
    told = capsys.readouterr().err
    assert any(part in told for part in ("a bus address is 1 to 247", "1 to 40 registers"))


@pytest.mark.parametrize(("code", "ends"), [("INVALID_COMMAND", 64), ("NOT_FOUND", 1), ("SAFETY_VIOLATION", 1)])
def test_what_the_daemon_calls_wrong_is_usage(
    code: str, ends: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ctl, "ask", lambda *_: {"ok": False, "error": {"code": code, "message": "because"}})
    assert ctl.main(["reg", "set", "dock.magnetic_declination", "500"]) == ends
    assert "because" in capsys.readouterr().err


def test_two_tables_at_once_are_usage() -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(["reg", "get", "0x05:1", "--coil", "--discrete"])
    assert ended.value.code == 64


def test_a_pace_of_nothing_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ctl.main(["reg", "watch", "x", "--every", "0"])
    assert "0 is not above 0 and at most 3600" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--json", "reg", "list"], ["reg", "--json", "list"], ["reg", "list", "--json"]])
def test_json_is_asked_for_anywhere(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(Daemon({"registers": []}), monkeypatch, *words) == 0
    assert json.loads(capsys.readouterr().out) == {"registers": []}
