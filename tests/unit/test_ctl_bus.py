"""`oht50ctl bus`: what it asks for, page by page, and what it prints or captures; the daemon is a list of frames."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oht50d.app import ctl, trace_pager
from oht50d.app.ctl_bus import captured
from oht50d.app.exit_codes import ExitCode

UTC_NS = 1_700_000_000_000_000_000
PAGE = 10
REQUEST, REPLY = "0503003300017181", "050302000779 86".replace(" ", "")


class Ring:
    """Answers like the daemon: `kept` is the oldest frame that is there."""

    def __init__(self, count: int, kept: int = 0) -> None:
        self.kept = kept
        self.frames = [self.frame(number) for number in range(count)]
        self.asked: list[dict[str, Any]] = []
        self.on_ask: Any = lambda: None

    @staticmethod
    def frame(number: int, **changes: object) -> dict[str, Any]:
        is_request = number % 2 == 0
        return {
            "n": number, "at_ns": number * 1_000_000, "way": "sent" if is_request else "received",
            "note": "sent" if is_request else "valid", "purpose": "poll", "hex": REQUEST if is_request else REPLY,
            "unit": 5, "module": "dock", "function": 3,
            "words": "read registers 0x0033" if is_request else "1 word", "crc": "good",
            "gap_ms": 1.75, "latency_ms": None if is_request else 3.217,
            "values": [] if is_request else [
                {"address": 51, "name": "velocity_x", "value": -7, "unit": "mm/s", "raw": 65529, "quality": "good"}
            ],
        } | changes  # fmt: skip

    def __call__(self, _path: str, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        self.on_ask()
        first = request.get("from")
        if "seconds" in request:
            first = len(self.frames) - int(request["seconds"] * 1000)
        if first is None:
            first = max(self.kept, len(self.frames) - request.get("limit", PAGE))
        lost = max(0, self.kept - first)
        begin = first + lost
        end = min(len(self.frames), begin + min(PAGE, request.get("limit", PAGE)))
        found = [
            one for one in self.frames[begin:end] if not request.get("errors") or one["note"] not in ("sent", "valid")
        ]
        data = {
            "frames": found, "next": end, "newest": len(self.frames), "first_kept": self.kept, "lost": lost,
            "utc_minus_monotonic_ns": UTC_NS, "now_ns": 0, "port": "/dev/ttyOHT485", "is_tcp": False,
        }  # fmt: skip
        return {"ok": True, "data": data}


def run(ring: Any, monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(ctl, "ask", ring)
    monkeypatch.setattr(trace_pager, "FOLLOW_S", 0.0)
    return ctl.main([*words])


def shown(out: str) -> list[int]:
    return [int(line.split()[0][1:]) for line in out.splitlines() if line.startswith("#")]


def test_one_line_a_frame(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Ring(2), monkeypatch, "bus", "trace") == 0
    asked, told = capsys.readouterr().out.splitlines()
    assert asked.split() == [
        "#0",
        "22:13:20.000",
        "1.75",
        "ms",
        "->",
        "0x05",
        "dock",
        "poll",
        "read",
        "registers",
        "0x0033",
    ]
    assert told.endswith("1 word: velocity_x -7 mm/s")
    assert "+3.22 ms" in told


def test_the_newest_forty_without_a_span(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Ring(95), monkeypatch, "bus", "trace") == 0
    assert shown(capsys.readouterr().out) == list(range(55, 95))
    assert run(Ring(95, kept=90), monkeypatch, "bus", "trace", "--last", "20") == 0
    assert shown(capsys.readouterr().out) == list(range(90, 95))


def test_seconds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Ring(95), monkeypatch, "bus", "trace", "--seconds", "0.03") == 0
    assert shown(capsys.readouterr().out) == list(range(65, 95))


def test_a_filter_looks_through_the_whole_ring(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Ring(95)
    for number in (3, 31, 33, 77):
        ring.frames[number] |= {"note": "timeout", "words": "no reply", "values": [], "hex": ""}
    assert run(ring, monkeypatch, "bus", "trace", "--errors", "--last", "2", "--unit", "0x05", "--function", "3") == 0
    out = capsys.readouterr().out
    assert shown(out) == [33, 77]
    assert "[TIMEOUT] no reply" in out
    assert {"errors": True, "unit": 5, "function": 3}.items() <= ring.asked[1].items()


def test_what_fell_out_while_it_was_read_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Ring(95)

    def overrun() -> None:
        ring.kept = 70 if len(ring.asked) > 2 else 0

    ring.on_ask = overrun
    assert run(ring, monkeypatch, "bus", "trace", "--seconds", "0.095") == ExitCode.WARNINGS
    out = capsys.readouterr().out
    assert shown(out) == [*range(10), *range(70, 95)]
    assert "60 frames had fallen out" in out


def test_follow_goes_on_until_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Ring(4)

    def grow() -> None:
        if len(ring.frames) >= 30:
            raise KeyboardInterrupt
        ring.frames += [Ring.frame(len(ring.frames) + more) for more in range(3)]

    ring.on_ask = grow
    assert run(ring, monkeypatch, "bus", "trace", "--follow", "--last", "2") == 0
    found = shown(capsys.readouterr().out)
    assert found == list(range(found[0], found[0] + len(found)))
    assert len(found) > 15


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Ring(3), monkeypatch, "--json", "bus", "trace") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["n"] for line in lines] == [0, 1, 2]
    assert lines[0]["utc"] == "2023-11-14T22:13:20.000Z"


def test_long_lines_show_every_value_and_byte(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ring = Ring(2)
    values = [{"address": n, "name": None, "value": None, "unit": "", "raw": n, "quality": None} for n in range(9)]
    ring.frames[1]["values"] = [*values, {"address": 9, "name": "x", "value": None, "raw": 3, "quality": "stuck"}]
    assert run(ring, monkeypatch, "bus", "trace") == 0
    out = capsys.readouterr().out
    assert "0x0005 0x0005, 4 more" in out
    assert run(ring, monkeypatch, "bus", "trace", "--long") == 0
    out = capsys.readouterr().out
    assert "0x0008 0x0008, x 3 (stuck)" in out
    assert "05 03 02 00 07 79 86" in out


def test_a_capture_holds_the_frames_that_have_bytes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ring = Ring(6)
    ring.frames[3] |= {"note": "timeout", "hex": ""}
    ring.frames[4] |= {"way": "line", "note": "closed", "hex": "6c6f7374"}
    file = tmp_path / "bus.pcapng"
    assert run(ring, monkeypatch, "bus", "trace", "--pcap", str(file)) == 0
    assert "4 frames" in capsys.readouterr().out
    fields = [word for name in ("frame.time_epoch", "frame.comment", "mbrtu.unit_id") for word in ("-e", name)]
    done = subprocess.run(
        ["tshark", "-n", "-r", str(file), "-T", "fields", *fields], capture_output=True, text=True, check=True
    )
    assert [line.split("\t") for line in done.stdout.splitlines()] == [
        ["1700000000.000000000", "#0 poll sent", "5"],
        ["1700000000.001000000", "#1 poll valid", "5"],
        ["1700000000.002000000", "#2 poll sent: timeout", "5"],
        ["1700000000.005000000", "#5 poll valid", "5"],
    ]


def test_what_others_said_goes_the_right_way() -> None:
    heard = [{"way": "overheard", "note": note, "hex": "01020304"} for note in ("request", "reply", "noise")]
    assert [frame.is_from_master for frame in captured(enumerate(heard))] == [True, False, False]


def test_a_capture_that_cannot_be_written_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for path, why in (
        (tmp_path / "no" / "such", "No such file"), (tmp_path, "Is a directory"), ("/dev/full", "No space left")
    ):  # fmt: skip
        assert run(Ring(2), monkeypatch, "bus", "trace", "--pcap", str(path)) == ExitCode.IO
        told = capsys.readouterr()
        assert why in told.err
        assert told.out == ""


@pytest.mark.parametrize(("words", "count"), [([], 95), (["--last", "7"], 7), (["--seconds", "0.03"], 30)])
def test_a_capture_to_standard_output_holds_all_that_is_kept(
    words: list[str], count: int, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(Ring(95), monkeypatch, "bus", "trace", "--pcap", "-", *words) == 0
    told = capfdbinary.readouterr()
    assert told.out.startswith(b"\x0a\x0d\x0d\x0a")
    assert told.out.count(b"#") == count
    assert told.err == b"%d frames in standard output\n" % count


def test_a_capture_that_is_interrupted_says_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ring = Ring(4)

    def interrupt() -> None:
        if len(ring.asked) > 3:
            raise KeyboardInterrupt

    ring.on_ask = interrupt
    assert run(ring, monkeypatch, "bus", "trace", "--follow", "--pcap", str(tmp_path / "x")) == 0
    assert "frames in " in capsys.readouterr().out


def test_nothing_to_show_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(Ring(4), monkeypatch, "bus", "trace", "--errors") == 0
    assert capsys.readouterr() == ("", "oht50ctl: no such frame\n")


def test_a_module_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ring = Ring(4)

    def answer(path: str, request: dict[str, Any]) -> dict[str, Any]:
        if request["op"] == "reg_list":
            assert request["module"] == "dock"
            return {"ok": True, "data": {"registers": [{"unit": 5}, {"unit": 5}]}}
        return ring(path, request)

    assert run(answer, monkeypatch, "bus", "trace", "--unit", "dock") == 0
    assert ring.asked[1]["unit"] == 5


def test_a_refusal_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = {"ok": False, "error": {"code": "INSUFFICIENT_PERMISSIONS", "message": "no"}}
    assert run(lambda *_: error, monkeypatch, "bus", "stats") == 77
    assert "no (INSUFFICIENT_PERMISSIONS)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["bus"],
        ["bus", "dance"],
        ["bus", "trace", "--last", "0"],
        ["bus", "trace", "--last", "5", "--seconds", "5"],
        ["bus", "trace", "--seconds", "0"],
        ["bus", "trace", "--seconds", "x"],
        ["bus", "trace", "--seconds", "nan"],
        ["bus", "trace", "--unit", "248"],
        ["bus", "trace", "--function", "0"],
        ["bus", "trace", "--pcap", ""],
    ],
)
def test_usage_is_64(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ctl.main(words)
    assert ended.value.code == 64
    assert "usage" in capsys.readouterr().err


STATS = {
    "port": "/dev/ttyOHT485", "is_open": True, "is_listen_only": False, "is_simulated": False, "transactions": 40,
    "early_frames": 0, "unexpected_bytes": 2, "headroom": 0.123, "given_way": ["imu to 500 ms"],
    "refusal": "too slow", "window_s": 10, "since_start": None,
    "recent": {"characters": 0.5, "silence": 0.2, "waiting": 0.2, "idle": 0.1, "dead": 0.05, "span_s": 10.0},
    "modules": [
        {
            "unit": 5, "module": "dock", "requests": 40, "replies": 30, "timeouts": 1, "crc_errors": 2, "mismatches": 3,
            "abandoned": 4, "retries": 5, "exceptions": {"2": 6}, "is_dead": False, "turnaround_mean_ms": 1.2,
            "turnaround_p99_ms": None, "turnaround": {"up_to_ms": [1.0, 2.0], "counts": [0, 29, 1]},
        },
        {
            "unit": 0x44, "module": None, "requests": 3, "replies": 0, "timeouts": 3, "crc_errors": 0, "mismatches": 0,
            "abandoned": 0, "retries": 0, "exceptions": {}, "is_dead": True, "turnaround_mean_ms": None,
            "turnaround_p99_ms": None, "turnaround": {"up_to_ms": [1.0, 2.0], "counts": [0, 0, 0]},
        },
        {
            "unit": 0x06, "module": None, "requests": 1, "replies": 0, "timeouts": 1, "crc_errors": 0, "mismatches": 0,
            "abandoned": 0, "retries": 0, "exceptions": {}, "is_dead": False, "turnaround_mean_ms": None,
            "turnaround_p99_ms": None, "turnaround": {"up_to_ms": [1.0, 2.0], "counts": [0, 0, 0]},
        },
    ],
    "trace": {"frames": 100, "dropped": 7, "bytes": 2048, "max_frames": 60000, "max_bytes": 8388608},
    "errands": {"read": 3, "waiting": 0},
}  # fmt: skip


def test_statistics_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lambda *_: {"ok": True, "data": STATS}, monkeypatch, "bus", "stats") == 0
    out = capsys.readouterr().out
    assert "headroom      12.3 %" in out
    assert "given way     imu to 500 ms" in out
    assert "motion        REFUSED: too slow" in out
    assert "characters 50.0 %, silence 20.0 %, waiting 20.0 %, idle 10.0 %, dead 5.0 %" in out
    assert "since start   unknown" in out
    assert "100 frames (2 KiB) kept, 7 older ones fell out" in out
    rows = [line.split() for line in out.splitlines() if line.startswith("0x")]
    assert rows[0] == ["0x05", "dock", "40", "30", "1", "2", "3", "4", "5", "2:", "6", "answers"]
    assert rows[1][-2:] == ["never", "answered"]
    assert rows[2][-2:] == ["never", "answered"]
    assert rows[3] == ["0x05", "1.2", "ms", "unknown", "29", "1"]
    assert "<=2 ms" in out
    assert "<=1 ms" not in out
    assert ">2 ms" in out


@pytest.mark.parametrize(
    ("module", "replies", "exceptions", "state"),
    [
        (None, 0, {}, "never answered"), (None, 3, {}, "DEAD"), (None, 0, {"2": 1}, "DEAD"), ("dock", 0, {}, "DEAD"),
        ("dock", 3, {}, "DEAD"),
    ],
)  # fmt: skip
def test_only_who_is_bound_or_has_answered_can_be_dead(
    module: str | None, replies: int, exceptions: dict[str, int], state: str,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    row = {"unit": 7, "module": module, "replies": replies, "exceptions": exceptions, "is_dead": True}
    assert run(lambda *_: {"ok": True, "data": STATS | {"modules": [row]}}, monkeypatch, "bus", "stats") == 0
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("0x07"))
    assert told.endswith(f"  {state}")


def test_statistics_of_a_bus_without_a_module(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = STATS | {"modules": [], "is_open": False, "is_listen_only": True}
    assert run(lambda *_: {"ok": True, "data": data}, monkeypatch, "bus", "stats") == 0
    out = capsys.readouterr().out
    assert "LISTEN-ONLY on /dev/ttyOHT485" in out
    assert "headroom      none: nothing is polled" in out
