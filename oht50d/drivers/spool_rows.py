"""The spool's tables and how rows become their parameters and come back (no state).

`utc` is RFC 3339 text for people and sinks, `utc_ms` the same moment for ordering and thinning. `seq` is given by
AUTOINCREMENT and therefore never reused, which is what makes (robot_id, boot_id, seq) a key for every later sink.
"""

import json
import math
from collections.abc import Mapping

from oht50d.drivers.wall_clock import parse_utc_ms, utc_now_ms, utc_text
from oht50d.model.records import EventRow, GapRow, Row, TelemetryRow

SCHEMA_VERSION = "1"

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, content TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS telemetry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, robot_id TEXT NOT NULL, boot_id TEXT NOT NULL, utc TEXT NOT NULL,
    utc_ms INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, values_json TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS telemetry_by_time ON telemetry (utc_ms, seq);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, robot_id TEXT NOT NULL, boot_id TEXT NOT NULL, utc TEXT NOT NULL,
    utc_ms INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL, severity TEXT NOT NULL,
    message TEXT NOT NULL, actor TEXT NOT NULL, details_json TEXT NOT NULL,
    acknowledged_utc TEXT, acknowledged_by TEXT);
CREATE TABLE IF NOT EXISTS gaps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, robot_id TEXT NOT NULL, boot_id TEXT NOT NULL, utc TEXT NOT NULL,
    utc_ms INTEGER NOT NULL, monotonic_ns INTEGER NOT NULL, stream TEXT NOT NULL, count INTEGER NOT NULL,
    reason TEXT NOT NULL);
"""

INSERT_TELEMETRY = """
INSERT INTO telemetry (robot_id, boot_id, utc, utc_ms, monotonic_ns, values_json)
VALUES (:robot_id, :boot_id, :utc, :utc_ms, :monotonic_ns, :values_json)"""

INSERT_EVENT = """
INSERT INTO events (robot_id, boot_id, utc, utc_ms, monotonic_ns, kind, severity, message, actor, details_json)
VALUES (:robot_id, :boot_id, :utc, :utc_ms, :monotonic_ns, :kind, :severity, :message, :actor, :details_json)"""

INSERT_GAP = """
INSERT INTO gaps (robot_id, boot_id, utc, utc_ms, monotonic_ns, stream, count, reason)
VALUES (:robot_id, :boot_id, :utc, :utc_ms, :monotonic_ns, :stream, :count, :reason)"""

# One index step a row of the answer: the cost follows the answer's length, not the length of the history.
SELECT_TELEMETRY_FORWARD = """
WITH RECURSIVE picked (seq, utc_ms) AS (
    SELECT seq, utc_ms FROM (
        SELECT seq, utc_ms FROM telemetry WHERE utc_ms BETWEEN :start AND :end ORDER BY utc_ms, seq LIMIT 1)
    UNION ALL
    SELECT t.seq, t.utc_ms FROM picked AS p JOIN telemetry AS t ON t.seq = (
        SELECT n.seq FROM telemetry AS n
        WHERE n.utc_ms >= (p.utc_ms / :step + 1) * :step AND n.utc_ms <= :end
        ORDER BY n.utc_ms, n.seq LIMIT 1)
    LIMIT :limit)
SELECT t.utc, t.boot_id, t.seq, t.values_json FROM picked JOIN telemetry AS t ON t.seq = picked.seq
ORDER BY t.utc_ms, t.seq"""

SELECT_TELEMETRY_BACKWARD = """
WITH RECURSIVE picked (seq, utc_ms) AS (
    SELECT seq, utc_ms FROM (
        SELECT seq, utc_ms FROM telemetry WHERE utc_ms <= :end ORDER BY utc_ms DESC, seq DESC LIMIT 1)
    UNION ALL
    SELECT t.seq, t.utc_ms FROM picked AS p JOIN telemetry AS t ON t.seq = (
        SELECT n.seq FROM telemetry AS n WHERE n.utc_ms < (p.utc_ms / :step) * :step
        ORDER BY n.utc_ms DESC, n.seq DESC LIMIT 1)
    LIMIT :limit)
SELECT t.utc, t.boot_id, t.seq, t.values_json FROM picked JOIN telemetry AS t ON t.seq = picked.seq
ORDER BY t.utc_ms, t.seq"""

SELECT_EVENTS = """
SELECT seq, boot_id, utc, kind, severity, message, actor, details_json, acknowledged_utc, acknowledged_by
FROM events WHERE seq < coalesce(:before, 9223372036854775807) ORDER BY seq DESC LIMIT :limit"""

ACKNOWLEDGE_EVENT = """
UPDATE events SET acknowledged_utc = :utc, acknowledged_by = :actor WHERE seq = :seq AND acknowledged_utc IS NULL"""

# Only among the oldest by seq: a wall clock that was wrong for a while cannot punch holes into the middle.
DELETE_AGED = {
    "telemetry": """
DELETE FROM telemetry WHERE seq IN (SELECT seq FROM telemetry ORDER BY seq LIMIT :rows) AND utc_ms < :before""",
    "events": """
DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT :rows) AND utc_ms < :before""",
    "gaps": """
DELETE FROM gaps WHERE seq IN (SELECT seq FROM gaps ORDER BY seq LIMIT :rows) AND utc_ms < :before""",
}
DELETE_OLDEST = {
    "telemetry": "DELETE FROM telemetry WHERE seq IN (SELECT seq FROM telemetry ORDER BY seq LIMIT :rows)",
    "events": "DELETE FROM events WHERE seq IN (SELECT seq FROM events ORDER BY seq LIMIT :rows)",
}

SEQUENCE_SPAN = {
    "telemetry": "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM telemetry",
    "events": "SELECT coalesce(min(seq), 0), coalesce(max(seq), 0) FROM events",
}

READ_META = "SELECT content FROM meta WHERE key = :key"
WRITE_META = (
    "INSERT INTO meta (key, content) VALUES (:key, :content) ON CONFLICT (key) DO UPDATE SET content = :content"
)
START_SEQUENCE = "INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"

_MAX_JSON_CHARACTERS = 65_536
_MAX_TEXT_CHARACTERS = 4_096
_INT64 = 2**63 - 1

Parameters = dict[str, str | int | None]


def encode_row(row: Row, robot_id: str, boot_id: str) -> Parameters:
    """The named parameters of one row; never raises for a row of the model's types."""
    utc_ms = _moment_ms(row.utc)
    common: Parameters = {
        "robot_id": robot_id,
        "boot_id": boot_id,
        "utc": utc_text(utc_ms),
        "utc_ms": utc_ms,
        "monotonic_ns": max(-_INT64, min(row.monotonic_ns, _INT64)),
    }
    match row:
        case TelemetryRow():
            return common | {"values_json": encode_json(row.values)}
        case EventRow():
            return common | {
                "kind": _text(row.kind),
                "severity": row.severity.value,
                "message": _text(row.message),
                "actor": _text(row.actor),
                "details_json": encode_json(row.details),
            }
        case GapRow():
            return common | {
                "stream": _text(row.stream),
                "count": max(0, min(row.count, _INT64)),
                "reason": _text(row.reason),
            }


def encode_json(tree: Mapping[str, object]) -> str:
    """JSON text of at most 64 KiB; NaN becomes null, what JSON cannot hold its text, what is too long its head."""
    try:
        text = json.dumps(_plain(tree), separators=(",", ":"), default=str, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        return json.dumps({"unprintable": _text(str(problem))})
    if len(text) > _MAX_JSON_CHARACTERS:
        return json.dumps({"truncated": text[: _MAX_JSON_CHARACTERS // 4]})
    return text


def _plain(node: object) -> object:
    if isinstance(node, float) and not math.isfinite(node):
        return None
    if isinstance(node, Mapping):
        return {str(key): _plain(child) for key, child in node.items()}
    if isinstance(node, list | tuple | set | frozenset):
        return [_plain(child) for child in node]
    return node


def _moment_ms(utc: str) -> int:
    try:
        return parse_utc_ms(utc)
    except (ValueError, TypeError, OverflowError):
        return utc_now_ms()


def _text(words: str) -> str:
    # A lone surrogate (an undecodable byte of a foreign name) is no UTF-8 and SQLite would refuse the whole batch.
    return words[:_MAX_TEXT_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
