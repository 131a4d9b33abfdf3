"""What somebody outside asked of a register, and what came of it (no state; carried out by `core/errands.py`)."""

import enum

from attrs import frozen

from oht50d.model.bus import BusReply, ReadRequest, WriteRegister


class ErrandOutcome(enum.Enum):
    """How an errand ended. Of a write: VERIFIED reads back what was written, MISMATCH something else, UNKNOWN nothing;
    REJECTED means that it never went out or that the module refused it."""

    READ = "read"
    FAILED = "failed"
    VERIFIED = "verified"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"
    REJECTED = "rejected"


@frozen
class ReadErrand:
    """Read this once; a lost reply is asked for again."""

    request: ReadRequest


@frozen
class WriteErrand:
    """Write this once, never twice, and read it back. `mask` is what of the word counts (0xFF for an 8-bit register);
    one that cannot be read is not read before and not read back."""

    request: WriteRegister
    mask: int = 0xFFFF
    is_readable: bool = True


Errand = ReadErrand | WriteErrand


@frozen
class ErrandResult:
    """`reply` is that of a read; `before` and `after` are the words around a write, None where not known.

    `was_sent` is False only where certainly no byte of the write went out; `is_echoed` says that its echo was heard.
    """

    outcome: ErrandOutcome
    reason: str = ""
    reply: BusReply | None = None
    before: int | None = None
    after: int | None = None
    was_sent: bool = False
    is_echoed: bool = False
    requested_ns: int | None = None
    received_ns: int | None = None
    attempts: int = 0
