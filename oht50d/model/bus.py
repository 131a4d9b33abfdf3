"""Requests, replies and results of the field bus (no state)."""

import enum

from attrs import frozen


@frozen
class ReadRegisters:
    """Function 3: `count` holding registers from `address` of `unit`."""

    unit: int
    address: int
    count: int


@frozen
class WriteRegister:
    """Function 6: one holding register."""

    unit: int
    address: int
    word: int


@frozen
class WriteRegisters:
    """Function 16: consecutive holding registers."""

    unit: int
    address: int
    words: tuple[int, ...]


BusRequest = ReadRegisters | WriteRegister | WriteRegisters


@frozen
class ReadReply:
    """The words of a function 3 reply."""

    unit: int
    words: tuple[int, ...]


@frozen
class WriteReply:
    """The echo of a function 6 (count 1, `word`) or 16 (`count`, word None) request."""

    unit: int
    address: int
    count: int
    word: int | None


@frozen
class ExceptionReply:
    """A Modbus exception: `code` 1 to 11 (application protocol V1.1b3, section 7)."""

    unit: int
    function: int
    code: int


BusReply = ReadReply | WriteReply | ExceptionReply


class Failure(enum.Enum):
    """Why an exchange brought no reply that can be used."""

    SILENT = "silent"
    NOISE = "noise"
    MISMATCH = "mismatch"
    ABANDONED = "abandoned"
    FENCED = "fenced"
    LINK_LOST = "link_lost"


@frozen
class ExchangeResult:
    """One exchange on the wire; exactly one of `reply` and `failure` is set. Times are Trio-clock nanoseconds.

    The bytes are those of the frames as they were on the line.
    """

    request: BusRequest
    reply: BusReply | None
    failure: Failure | None
    sent_ns: int
    ended_ns: int
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def is_valid(self) -> bool:
        """True for a reply that carries what was asked for (an exception reply does not)."""
        return self.reply is not None and not isinstance(self.reply, ExceptionReply)
