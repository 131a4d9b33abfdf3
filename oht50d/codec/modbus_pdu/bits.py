"""Functions on single bits: 1, 2, 5 and 15, both directions of both halves (no state).

The first bit is the lowest of the first byte; what is left of the last byte is zero (section 6.1). A reply with other
padding is refused: it may be the late reply to a longer request of the same byte count.
Source: MODBUS Application Protocol Specification V1.1b3, sections 6.1, 6.2, 6.5 (0xFF00 on, 0x0000 off) and 6.11.
"""

from typing import assert_never

from oht50d.codec.modbus_pdu.limits import (
    ECHO,
    HEAD,
    ILLEGAL_VALUE,
    MAX_READ_BITS,
    MAX_WRITE_BITS,
    ReplyMismatch,
    RequestRefused,
    refuse_byte_count,
    refuse_span,
    require_echo,
    require_length,
    require_span,
)
from oht50d.model.bus import (
    BitsReply,
    ReadCoils,
    ReadDiscreteInputs,
    WriteCoil,
    WriteCoilReply,
    WriteCoils,
    WriteCoilsReply,
)
from oht50d.model.errors import LocalProtocolError

BitRequest = ReadCoils | ReadDiscreteInputs | WriteCoil | WriteCoils
BitReply = BitsReply | WriteCoilReply | WriteCoilsReply

_ON, _OFF = 0xFF00, 0x0000
_MANY_HEAD_BYTES = 6


def encode_request(request: BitRequest) -> bytes:
    """Function code and body. Raises LocalProtocolError if the protocol does not allow it."""
    match request:
        case ReadCoils() | ReadDiscreteInputs():
            require_span(request.address, request.count, MAX_READ_BITS)
            return HEAD.pack(request.function, request.address, request.count)
        case WriteCoil():
            return _one_coil(request)
        case WriteCoils():
            require_span(request.address, len(request.bits), MAX_WRITE_BITS)
            return HEAD.pack(request.function, request.address, len(request.bits)) + _counted(request.bits)
        case _:
            assert_never(request)


def reply_length(request: BitRequest) -> int:
    """Bytes of the normal reply's PDU."""
    match request:
        case ReadCoils() | ReadDiscreteInputs():
            return 2 + bytes_of(request.count)
        case WriteCoil() | WriteCoils():
            return HEAD.size
        case _:
            assert_never(request)


def decode_reply(request: BitRequest, pdu: bytes) -> BitReply:
    """The reply out of one PDU of the request's function. Raises ReplyMismatch for another length, count, echo or
    padding."""
    require_length(pdu, reply_length(request))
    match request:
        case ReadCoils() | ReadDiscreteInputs():
            if pdu[1] != len(pdu) - 2:
                raise ReplyMismatch(f"byte count {pdu[1]} instead of {len(pdu) - 2}")
            bits = _unpacked(pdu[2:], request.count)
            if bits is None:
                raise ReplyMismatch(f"padding after {request.count} bits that is not zero")
            return BitsReply(request.unit, request.function, bits)
        case WriteCoil():
            require_echo(pdu, request.address, _ON if request.is_on else _OFF)
            return WriteCoilReply(request.unit, request.address, request.is_on)
        case WriteCoils():
            require_echo(pdu, request.address, len(request.bits), "count")
            return WriteCoilsReply(request.unit, request.address, len(request.bits))
        case _:
            assert_never(request)


def encode_reply(reply: BitReply) -> bytes:
    """Function code and body of a device's reply. Raises LocalProtocolError for values that fit no reply."""
    match reply:
        case BitsReply():
            if reply.function not in (1, 2):
                raise LocalProtocolError(f"function {reply.function} does not read bits")
            require_span(0, len(reply.bits), MAX_READ_BITS)
            return bytes((reply.function,)) + _counted(reply.bits)
        case WriteCoilReply():
            return _one_coil(reply)
        case WriteCoilsReply():
            require_span(reply.address, reply.count, MAX_WRITE_BITS)
            return HEAD.pack(reply.function, reply.address, reply.count)
        case _:
            assert_never(reply)


def decode_read(unit: int, pdu: bytes) -> ReadCoils | ReadDiscreteInputs:
    """Functions 1 and 2 as a device hears them. Raises RequestRefused, like the two below."""
    address, count = ECHO.unpack_from(pdu, 1)
    refuse_span(address, count, MAX_READ_BITS)
    kind = ReadCoils if pdu[0] == ReadCoils.function else ReadDiscreteInputs
    return kind(unit, address, count)


def decode_write(unit: int, pdu: bytes) -> WriteCoil:
    """Function 5 as a device hears it."""
    address, word = ECHO.unpack_from(pdu, 1)
    if word not in (_ON, _OFF):
        raise RequestRefused(f"{word:#06x} is neither on nor off", ILLEGAL_VALUE)
    return WriteCoil(unit, address, word == _ON)


def decode_write_many(unit: int, pdu: bytes) -> WriteCoils:
    """Function 15 as a device hears it."""
    address, count = ECHO.unpack_from(pdu, 1)
    refuse_byte_count(pdu[5], bytes_of(count))
    refuse_span(address, count, MAX_WRITE_BITS)
    bits = _unpacked(pdu[_MANY_HEAD_BYTES:], count)
    if bits is None:
        raise RequestRefused(f"padding after {count} bits that is not zero", ILLEGAL_VALUE)
    return WriteCoils(unit, address, bits)


def bytes_of(count: int) -> int:
    """Bytes that hold `count` bits."""
    return -(-count // 8)


def _counted(bits: tuple[bool, ...]) -> bytes:
    size = bytes_of(len(bits))
    number = sum(1 << index for index, is_on in enumerate(bits) if is_on)
    return bytes((size,)) + number.to_bytes(size, "little")


def _unpacked(octets: bytes, count: int) -> tuple[bool, ...] | None:
    """The first `count` bits; None if the padding behind them is not zero."""
    number = int.from_bytes(octets, "little")
    return None if number >> count else tuple(bool(number >> index & 1) for index in range(count))


def _one_coil(coil: WriteCoil | WriteCoilReply) -> bytes:
    require_span(coil.address, 1, 1)
    return HEAD.pack(coil.function, coil.address, _ON if coil.is_on else _OFF)
