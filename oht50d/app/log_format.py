"""Log records to JSON lines, text lines and native journal fields; secrets are removed here (no state).

Sources: systemd, "Native Journal Protocol" (framing, PRIORITY, MESSAGE_ID); systemd.journal-fields(7). A record's own
fields come by `extra={"event": "link.lost", "oht50_module": 3}`; `event` is the kind of the event, dotted.
"""

import datetime
import json
import logging
import re
import uuid
from collections.abc import Iterator, Mapping

MAX_TEXT = 32_768
_PREFIX = "oht50_"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_EVENT_KINDS = uuid.UUID("0b7a6f0e-6a54-5f59-9d5c-0b6a7d1f50d0")
_SECRET_NAME = re.compile(r"passw|secret|token|authorization|api_?key|cookie|credential", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"eyJ[\w-]{8,}\.[\w-]+\.[\w-]*|(?<=[Bb]earer )\S+|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")
_REMOVED = "[removed]"
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def message_id(event: str) -> str:
    """The journal's MESSAGE_ID of an event kind: the same for ever, 32 hex digits."""
    return uuid.uuid5(_EVENT_KINDS, event).hex


def clean(text: str) -> str:
    """The text without tokens and logins, and bounded."""
    text = _SECRET_TEXT.sub(_REMOVED, text)
    return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " [cut]"


def own_fields(record: logging.LogRecord) -> Iterator[tuple[str, object]]:
    """Names (without prefix) and values that the caller gave by `extra`."""
    for name, found in vars(record).items():
        if name in _STANDARD or found is None:
            continue
        short = name.removeprefix(_PREFIX)
        if _SECRET_NAME.search(short):
            yield short, _REMOVED
        else:
            yield short, found if isinstance(found, bool | int | float) else clean(str(found))


def _whole_message(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and not record.exc_text:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
    return clean(f"{text}\n{record.exc_text}" if record.exc_text else text)


def _utc(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonFormatter(logging.Formatter):
    """One JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = dict(own_fields(record))
        line |= {
            "timestamp": _utc(record),
            "level": record.levelname,
            "logger": record.name,
            "message": _whole_message(record),
        }
        return json.dumps(line, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """One line for a person at a terminal; a traceback follows on its own lines."""

    def format(self, record: logging.LogRecord) -> str:
        words = "".join(f" {name}={found}" for name, found in own_fields(record))
        return f"{_utc(record)} {record.levelname:<7} {record.name}: {_whole_message(record)}{words}"


def journal_fields(record: logging.LogRecord) -> Mapping[str, str]:
    """Fields of the native protocol; own ones get the prefix OHT50_."""
    fields = {
        "MESSAGE": _whole_message(record),
        "PRIORITY": str(_PRIORITIES.get(record.levelno, 5)),
        "SYSLOG_IDENTIFIER": "oht50d",
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": str(record.lineno),
        "CODE_FUNC": record.funcName or "",
    }
    for name, found in own_fields(record):
        fields["OHT50_" + re.sub(r"[^A-Z0-9_]", "_", name.upper())] = str(found)
    if "OHT50_EVENT" in fields:
        fields["MESSAGE_ID"] = message_id(fields["OHT50_EVENT"])
    return fields


def encode_journal(fields: Mapping[str, str]) -> bytes:
    """One datagram: `NAME=text` lines; a text with a newline goes with its length (64 bits, little-endian)."""
    parts = []
    for name, text in fields.items():
        raw = text.encode("utf-8", "replace")
        if b"\n" in raw:
            parts.append(name.encode() + b"\n" + len(raw).to_bytes(8, "little") + raw + b"\n")
        else:
            parts.append(name.encode() + b"=" + raw + b"\n")
    return b"".join(parts)
