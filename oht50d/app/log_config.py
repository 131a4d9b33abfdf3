"""Settings of the log (no state)."""

import enum

from attrs import field, frozen, validators

from oht50d.model.units import matching


class LogLevel(enum.Enum):
    """From which severity on messages are kept."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


class LogFormat(enum.Enum):
    """`journal` is native fields where standard error is the journal, and JSON lines anywhere else."""

    JOURNAL = "journal"
    JSON = "json"
    TEXT = "text"


@frozen(kw_only=True)
class LogConfig:
    """`file` is written beside standard error, as JSON lines, in at most `file_count` files of `file_bytes`."""

    level: LogLevel = LogLevel.INFO
    format: LogFormat = LogFormat.JOURNAL
    file: str = field(default="", validator=matching(r"[^\0]*", "a path"))
    file_bytes: int = field(default=10_000_000, validator=[validators.ge(10_000), validators.le(1_000_000_000)])
    file_count: int = field(default=5, validator=[validators.ge(1), validators.le(100)])
