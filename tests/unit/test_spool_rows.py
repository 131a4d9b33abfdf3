"""What becomes of rows on their way into the spool: bounded, plain JSON, UTC in one form."""

import json
import math

import pytest

from oht50d.drivers.spool_rows import encode_json, encode_row
from oht50d.drivers.wall_clock import parse_utc_ms, utc_text
from oht50d.model.records import EventRow, GapRow, Severity, TelemetryRow


def test_utc_is_brought_to_one_form() -> None:
    row = TelemetryRow("2024-05-01T14:00:00.1234+02:00", 5, {})
    encoded = encode_row(row, "robot", "boot")
    assert encoded["utc"] == "2024-05-01T12:00:00.123Z"
    assert utc_text(int(str(encoded["utc_ms"]))) == encoded["utc"]


def test_a_time_without_offset_is_utc() -> None:
    assert parse_utc_ms("2024-05-01T12:00:00") == parse_utc_ms("2024-05-01T12:00:00Z")


def test_a_row_whose_time_is_no_time_is_kept_with_the_present_one() -> None:
    encoded = encode_row(GapRow("yesterday", 2**80, "telemetry", -4, "x" * 9999), "robot", "boot")
    assert str(encoded["utc"]).endswith("Z")
    assert (encoded["monotonic_ns"], encoded["count"], len(str(encoded["reason"]))) == (2**63 - 1, 0, 4096)


def test_an_event_keeps_everything() -> None:
    row = EventRow("2024-05-01T12:00:00Z", 1, "a.b", Severity.CRITICAL, "m", "uid:3", {"n": math.nan, "s": {1}})
    encoded = encode_row(row, "robot", "boot")
    assert (encoded["kind"], encoded["severity"], encoded["actor"]) == ("a.b", "critical", "uid:3")
    assert json.loads(str(encoded["details_json"])) == {"n": None, "s": [1]}


def test_text_that_is_no_utf8_is_made_so() -> None:
    row = EventRow("2024-05-01T12:00:00Z", 1, "a.b", Severity.INFO, "port \udc80", "x", {"name": "\udc80"})
    encoded = encode_row(row, "robot", "boot")
    assert encoded["message"] == "port ?"
    str(encoded["details_json"]).encode("utf-8")


@pytest.mark.parametrize("depth", [3, 100_000])
def test_json_never_raises(depth: int) -> None:
    tree: dict[str, object] = {}
    for _ in range(depth):
        tree = {"t": tree}
    assert isinstance(json.loads(encode_json(tree)), dict)


def test_what_refers_to_itself_is_told() -> None:
    tree: dict[str, object] = {}
    tree["self"] = tree
    assert "unprintable" in json.loads(encode_json(tree))


def test_long_details_are_cut() -> None:
    text = encode_json({"much": "x" * 100_000})
    assert len(text) < 65_536
    assert json.loads(text)["truncated"].startswith('{"much":"xxx')
