"""UTC for the records: RFC 3339 with milliseconds and Z; never used for a decision (no state of its own)."""

import time
from datetime import UTC, datetime


def utc_now_ns() -> int:
    """Nanoseconds since 1970 by the wall clock, which may step."""
    return time.time_ns()


def utc_now_ms() -> int:
    """Milliseconds since 1970 by the wall clock, which may step."""
    return int(datetime.now(UTC).timestamp() * 1000)


def utc_now() -> str:
    """The wall clock as text, `2024-05-01T12:00:00.000Z`."""
    return utc_text(utc_now_ms())


def utc_text(utc_ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 text."""
    seconds, milliseconds = divmod(utc_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


def parse_utc_ms(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 text; one without an offset is taken as UTC; raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)
