"""What the Modbus application protocol allows: limits, errors, and the checks before anything is encoded (no state).

Source: MODBUS Application Protocol Specification V1.1b3, sections 4.1 (253 byte PDU), 4.2 (words are big-endian), 6.1
(2000 bits read), 6.3 (125 registers read), 6.11 (1968 coils written), 6.12 (123 registers written), 6.17 (121 written
and 125 read) and 7 (exception codes). Unit addresses and broadcast: MODBUS over Serial Line V1.02, sections 2.1 and 2.2
(0 broadcast, for writes only; 1 to 247 devices); MODBUS Messaging on TCP/IP V1.0b, section 4.4.1.2 (255).
"""

from struct import Struct

from oht50d.model.bus import BusReply, BusRequest
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

EXCEPTION_FLAG = 0x80
MAX_PDU_BYTES = 253
MAX_READ_COUNT = 125
MAX_WRITE_COUNT = 123
MAX_READ_WRITE_COUNT = 121
MAX_READ_BITS = 2000
MAX_WRITE_BITS = 1968
BROADCAST_UNIT = 0
SERIAL_UNITS = frozenset(range(248))
TCP_UNITS = SERIAL_UNITS | {255}
"""255 is a device that is addressed by its IP address alone."""
BROADCAST_FUNCTIONS = frozenset({5, 6, 15, 16, 22})
"""A broadcast has no reply, so only what needs none may be one."""
HIGHEST_EXCEPTION_CODE = 11
ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3

WORD_STRUCTS = tuple(Struct(f">{count}H") for count in range(MAX_READ_COUNT + 1))
HEAD = Struct(">BHH")
ECHO = WORD_STRUCTS[2]


class ReplyMismatch(RemoteProtocolError):
    """Bytes that look like a reply, but not like the reply to the request that is outstanding."""


class RequestRefused(RemoteProtocolError):
    """A request that a device refuses; `exception_code` is what it answers, None if it stays silent."""

    def __init__(self, why: str, exception_code: int | None) -> None:
        self.exception_code = exception_code
        super().__init__(why)


def require_unit(request: BusRequest, units: frozenset[int]) -> None:
    """Raises LocalProtocolError for a unit that this request cannot be sent to."""
    if not is_addressable(request.unit, request.function, units):
        raise LocalProtocolError(f"unit {request.unit} and function {request.function} address nobody")


def require_replying_unit(reply: BusReply, units: frozenset[int]) -> None:
    """Raises LocalProtocolError for a unit that no device has."""
    if reply.unit == BROADCAST_UNIT or reply.unit not in units:
        raise LocalProtocolError(f"unit {reply.unit} cannot reply")


def is_addressable(unit: int, function: int, units: frozenset[int]) -> bool:
    """True if a request of this function can be sent to this unit."""
    return unit in units and (unit != BROADCAST_UNIT or function in BROADCAST_FUNCTIONS)


def require_span(address: int, count: int, most: int) -> None:
    """Raises LocalProtocolError for a count that is not 1 to `most`, or a span that leaves the address space."""
    if not 1 <= count <= most:
        raise LocalProtocolError(f"{count} registers or bits, allowed are 1 to {most}")
    if not (0 <= address and address + count <= 0x10000):
        raise LocalProtocolError(f"{count} registers or bits from {address} leave the 16-bit address space")


def require_words(words: tuple[int, ...]) -> None:
    """Raises LocalProtocolError for a number that is no 16-bit word."""
    for word in words:
        if not 0 <= word <= 0xFFFF:
            raise LocalProtocolError(f"{word} is not a 16-bit word")


def require_octets(*numbers: int) -> None:
    """Raises LocalProtocolError for a number that is no byte."""
    for number in numbers:
        if not 0 <= number <= 0xFF:
            raise LocalProtocolError(f"{number} is not a byte")


def refuse_span(address: int, count: int, most: int) -> None:
    """What a device checks, in the order of the figures of section 6: the count first, then the address."""
    if not 1 <= count <= most:
        raise RequestRefused(f"{count} registers or bits, allowed are 1 to {most}", ILLEGAL_VALUE)
    if address + count > 0x10000:
        raise RequestRefused(
            f"{count} registers or bits from {address} leave the 16-bit address space", ILLEGAL_ADDRESS
        )


def refuse_byte_count(found: int, expected: int) -> None:
    """A byte count that does not fit its count."""
    if found != expected:
        raise RequestRefused(f"byte count {found} instead of {expected}", ILLEGAL_VALUE)


def require_echo(pdu: bytes, address: int, word: int, what: str = "word") -> None:
    """Raises ReplyMismatch unless the reply repeats the address and the word behind it."""
    echoed_address, echoed_word = ECHO.unpack_from(pdu, 1)
    if echoed_address != address:
        raise ReplyMismatch(f"echoed address {echoed_address:#06x} instead of {address:#06x}")
    if echoed_word != word:
        raise ReplyMismatch(f"echoed {what} {echoed_word:#06x} instead of {word:#06x}")


def require_length(pdu: bytes, expected: int) -> None:
    """Raises ReplyMismatch for a reply that is longer or shorter than its request wants it."""
    if len(pdu) != expected:
        raise ReplyMismatch(f"length {len(pdu)} instead of {expected}")
