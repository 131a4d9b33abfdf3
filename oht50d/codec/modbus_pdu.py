"""Modbus protocol data units, requests and replies of functions 3, 6 and 16, without any framing (no state).

Source: MODBUS Application Protocol Specification V1.1b3, sections 4.1 (253 byte PDU), 6.3 (function 3, at most 125
registers), 6.6 (function 6), 6.12 (function 16, at most 123 registers) and 7 (exception codes). Words are big-endian
(section 4.2). Unit addresses: MODBUS over Serial Line V1.02, section 2.2 (0 broadcast, 1 to 247 devices).
"""

from struct import Struct
from typing import assert_never

from oht50d.model.bus import BusReply, BusRequest, ExceptionReply, ReadRegisters, ReadReply, WriteRegister, WriteReply
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

FUNCTION_READ = 3
FUNCTION_WRITE = 6
FUNCTION_WRITE_MANY = 16
EXCEPTION_FLAG = 0x80
MAX_READ_COUNT = 125
MAX_WRITE_COUNT = 123
MAX_UNIT = 247
BROADCAST_UNIT = 0
HIGHEST_EXCEPTION_CODE = 11

_WORD_STRUCTS = tuple(Struct(f">{count}H") for count in range(MAX_READ_COUNT + 1))
_HEAD = Struct(">BHH")
_MANY_HEAD = Struct(">BHHB")
_ECHO = _WORD_STRUCTS[2]
_READ_HEAD_BYTES = 2
_WRITE_REPLY_BYTES = 5


class ReplyMismatch(RemoteProtocolError):
    """Bytes that look like a reply, but not like the reply to the request that is outstanding."""


def function_of(request: BusRequest) -> int:
    """The function code of a request: 3, 6 or 16."""
    if isinstance(request, ReadRegisters):
        return FUNCTION_READ
    return FUNCTION_WRITE if isinstance(request, WriteRegister) else FUNCTION_WRITE_MANY


def encode_request_pdu(request: BusRequest) -> bytes:
    """Function code and body of a request. Raises LocalProtocolError if the protocol does not allow it."""
    if isinstance(request, ReadRegisters):
        _require_unit(request.unit, lowest=1)
        _require_span(request.address, request.count, MAX_READ_COUNT)
        return _HEAD.pack(FUNCTION_READ, request.address, request.count)
    _require_unit(request.unit, lowest=BROADCAST_UNIT)
    if isinstance(request, WriteRegister):
        _require_span(request.address, 1, 1)
        _require_words((request.word,))
        return _HEAD.pack(FUNCTION_WRITE, request.address, request.word)
    count = len(request.words)
    _require_span(request.address, count, MAX_WRITE_COUNT)
    _require_words(request.words)
    return _MANY_HEAD.pack(FUNCTION_WRITE_MANY, request.address, count, 2 * count) + _WORD_STRUCTS[count].pack(
        *request.words
    )


def reply_pdu_length(request: BusRequest) -> int:
    """Bytes of the normal reply's PDU (an exception reply has 2)."""
    return _READ_HEAD_BYTES + 2 * request.count if isinstance(request, ReadRegisters) else _WRITE_REPLY_BYTES


def decode_reply_pdu(request: BusRequest, pdu: bytes) -> BusReply:
    """The reply to `request` out of one whole PDU. Raises ReplyMismatch for any other shape or echo."""
    function = function_of(request)
    if len(pdu) == 2 and pdu[0] == function | EXCEPTION_FLAG:
        if not 1 <= pdu[1] <= HIGHEST_EXCEPTION_CODE:
            raise ReplyMismatch(f"exception code {pdu[1]} does not exist")
        return ExceptionReply(request.unit, function, pdu[1])
    if len(pdu) != reply_pdu_length(request) or pdu[0] != function:
        raise ReplyMismatch("function or length of the reply is not that of the request")
    if isinstance(request, ReadRegisters):
        if pdu[1] != 2 * request.count:
            raise ReplyMismatch(f"byte count {pdu[1]} instead of {2 * request.count}")
        return ReadReply(request.unit, _WORD_STRUCTS[request.count].unpack_from(pdu, 2))
    return _decode_echo(request, pdu)


def encode_reply_pdu(reply: BusReply) -> bytes:
    """Function code and body of a device's reply. Raises LocalProtocolError for values that fit no reply."""
    match reply:
        case ReadReply():
            count = len(reply.words)
            _require_span(0, count, MAX_READ_COUNT)
            _require_words(reply.words)
            return bytes((FUNCTION_READ, 2 * count)) + _WORD_STRUCTS[count].pack(*reply.words)
        case WriteReply():
            _require_span(reply.address, reply.count, MAX_WRITE_COUNT)
            if reply.word is None:
                return _HEAD.pack(FUNCTION_WRITE_MANY, reply.address, reply.count)
            _require_words((reply.word,))
            return _HEAD.pack(FUNCTION_WRITE, reply.address, reply.word)
        case ExceptionReply():
            if not (1 <= reply.function < EXCEPTION_FLAG and 1 <= reply.code <= HIGHEST_EXCEPTION_CODE):
                raise LocalProtocolError(f"no exception reply to function {reply.function} with code {reply.code}")
            return bytes((reply.function | EXCEPTION_FLAG, reply.code))
        case _:
            assert_never(reply)


def unpack_words(octets: bytes | bytearray, offset: int, count: int) -> tuple[int, ...]:
    """`count` (at most 125) big-endian words of `octets` from `offset`; the caller has checked the length."""
    return _WORD_STRUCTS[count].unpack_from(octets, offset)


def _decode_echo(request: BusRequest, pdu: bytes) -> WriteReply:
    address, word = _ECHO.unpack_from(pdu, 1)
    if address != request.address:
        raise ReplyMismatch(f"echoed address {address:#06x} instead of {request.address:#06x}")
    if isinstance(request, WriteRegister):
        if word != request.word:
            raise ReplyMismatch(f"echoed word {word:#06x} instead of {request.word:#06x}")
        return WriteReply(request.unit, address, 1, word)
    count = reply_count(request)
    if word != count:
        raise ReplyMismatch(f"echoed count {word} instead of {count}")
    return WriteReply(request.unit, address, count, None)


def reply_count(request: BusRequest) -> int:
    """How many registers a request touches."""
    if isinstance(request, ReadRegisters):
        return request.count
    return 1 if isinstance(request, WriteRegister) else len(request.words)


def _require_unit(unit: int, *, lowest: int) -> None:
    if not lowest <= unit <= MAX_UNIT:
        raise LocalProtocolError(f"unit {unit} is not in {lowest} to {MAX_UNIT}")


def _require_span(address: int, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise LocalProtocolError(f"{count} registers, allowed are 1 to {most}")
    if not (0 <= address and address + count <= 0x10000):
        raise LocalProtocolError(f"{count} registers from {address} leave the 16-bit address space")


def _require_words(words: tuple[int, ...]) -> None:
    for word in words:
        if not 0 <= word <= 0xFFFF:
            raise LocalProtocolError(f"{word} is not a 16-bit word")
