"""Functions on 16-bit registers: 3, 4, 6, 16, 22 and 23, both directions of both halves (no state).

Source: MODBUS Application Protocol Specification V1.1b3, sections 6.3, 6.4, 6.6, 6.12, 6.16 and 6.17.
"""

from typing import assert_never

from oht50d.codec.modbus_pdu.limits import (
    ECHO,
    HEAD,
    MAX_READ_COUNT,
    MAX_READ_WRITE_COUNT,
    MAX_WRITE_COUNT,
    WORD_STRUCTS,
    ReplyMismatch,
    refuse_byte_count,
    refuse_span,
    require_echo,
    require_length,
    require_span,
    require_words,
)
from oht50d.model.bus import (
    MaskWriteRegister,
    MaskWriteReply,
    ReadInputRegisters,
    ReadRegisters,
    ReadReply,
    ReadWriteRegisters,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.errors import LocalProtocolError

WordRequest = (
    ReadRegisters | ReadInputRegisters | WriteRegister | WriteRegisters | MaskWriteRegister | ReadWriteRegisters
)
WordReply = ReadReply | WriteReply | MaskWriteReply

_MASK_BYTES = 7


def encode_request(request: WordRequest) -> bytes:
    """Function code and body. Raises LocalProtocolError if the protocol does not allow it."""
    match request:
        case ReadRegisters() | ReadInputRegisters():
            require_span(request.address, request.count, MAX_READ_COUNT)
            return HEAD.pack(request.function, request.address, request.count)
        case WriteRegister():
            require_words((request.address, request.word))
            return HEAD.pack(request.function, request.address, request.word)
        case WriteRegisters():
            require_span(request.address, len(request.words), MAX_WRITE_COUNT)
            return HEAD.pack(request.function, request.address, len(request.words)) + _counted(request.words)
        case MaskWriteRegister():
            return _mask_body(request)
        case ReadWriteRegisters():
            require_span(request.read_address, request.read_count, MAX_READ_COUNT)
            require_span(request.write_address, len(request.words), MAX_READ_WRITE_COUNT)
            head = HEAD.pack(request.function, request.read_address, request.read_count)
            return head + ECHO.pack(request.write_address, len(request.words)) + _counted(request.words)
        case _:
            assert_never(request)


def reply_length(request: WordRequest) -> int:
    """Bytes of the normal reply's PDU."""
    match request:
        case ReadRegisters() | ReadInputRegisters():
            return 2 + 2 * request.count
        case ReadWriteRegisters():
            return 2 + 2 * request.read_count
        case MaskWriteRegister():
            return _MASK_BYTES
        case WriteRegister() | WriteRegisters():
            return HEAD.size
        case _:
            assert_never(request)


def decode_reply(request: WordRequest, pdu: bytes) -> WordReply:
    """The reply out of one PDU of the request's function. Raises ReplyMismatch for another length, count or echo."""
    length = reply_length(request)
    require_length(pdu, length)
    match request:
        case ReadRegisters() | ReadInputRegisters() | ReadWriteRegisters():
            if pdu[1] != length - 2:
                raise ReplyMismatch(f"byte count {pdu[1]} instead of {length - 2}")
            return ReadReply(request.unit, WORD_STRUCTS[length // 2 - 1].unpack_from(pdu, 2), request.function)
        case MaskWriteRegister():
            require_echo(pdu, request.address, request.and_mask, "AND mask")
            (or_mask,) = WORD_STRUCTS[1].unpack_from(pdu, 5)
            if or_mask != request.or_mask:
                raise ReplyMismatch(f"echoed OR mask {or_mask:#06x} instead of {request.or_mask:#06x}")
            return MaskWriteReply(request.unit, request.address, request.and_mask, or_mask)
        case WriteRegister():
            require_echo(pdu, request.address, request.word)
            return WriteReply(request.unit, request.address, 1, request.word)
        case WriteRegisters():
            require_echo(pdu, request.address, len(request.words), "count")
            return WriteReply(request.unit, request.address, len(request.words), None)
        case _:
            assert_never(request)


def encode_reply(reply: WordReply) -> bytes:
    """Function code and body of a device's reply. Raises LocalProtocolError for values that fit no reply."""
    match reply:
        case ReadReply():
            if reply.function not in (3, 4, 23):
                raise LocalProtocolError(f"function {reply.function} does not read registers")
            require_span(0, len(reply.words), MAX_READ_COUNT)
            return bytes((reply.function,)) + _counted(reply.words)
        case WriteReply():
            require_span(reply.address, reply.count, MAX_WRITE_COUNT)
            if reply.word is None:
                return HEAD.pack(reply.function, reply.address, reply.count)
            require_words((reply.word,))
            return HEAD.pack(reply.function, reply.address, reply.word)
        case MaskWriteReply():
            return _mask_body(reply)
        case _:
            assert_never(reply)


def decode_read(unit: int, pdu: bytes) -> ReadRegisters | ReadInputRegisters:
    """Functions 3 and 4 as a device hears them. Raises RequestRefused, like the three below."""
    address, count = ECHO.unpack_from(pdu, 1)
    refuse_span(address, count, MAX_READ_COUNT)
    kind = ReadRegisters if pdu[0] == ReadRegisters.function else ReadInputRegisters
    return kind(unit, address, count)


def decode_write(unit: int, pdu: bytes) -> WriteRegister:
    """Function 6 as a device hears it."""
    address, word = ECHO.unpack_from(pdu, 1)
    return WriteRegister(unit, address, word)


def decode_write_many(unit: int, pdu: bytes) -> WriteRegisters:
    """Function 16 as a device hears it."""
    address, count = ECHO.unpack_from(pdu, 1)
    refuse_byte_count(pdu[5], 2 * count)
    refuse_span(address, count, MAX_WRITE_COUNT)
    return WriteRegisters(unit, address, WORD_STRUCTS[count].unpack_from(pdu, 6))


def decode_mask_write(unit: int, pdu: bytes) -> MaskWriteRegister:
    """Function 22 as a device hears it."""
    return MaskWriteRegister(unit, *WORD_STRUCTS[3].unpack_from(pdu, 1))


def decode_read_write(unit: int, pdu: bytes) -> ReadWriteRegisters:
    """Function 23 as a device hears it."""
    read_address, read_count, write_address, count = WORD_STRUCTS[4].unpack_from(pdu, 1)
    refuse_byte_count(pdu[9], 2 * count)
    refuse_span(read_address, read_count, MAX_READ_COUNT)
    refuse_span(write_address, count, MAX_READ_WRITE_COUNT)
    words = WORD_STRUCTS[count].unpack_from(pdu, 10)
    return ReadWriteRegisters(unit, read_address, read_count, write_address, words)


def _counted(words: tuple[int, ...]) -> bytes:
    require_words(words)
    return bytes((2 * len(words),)) + WORD_STRUCTS[len(words)].pack(*words)


def _mask_body(masks: MaskWriteRegister | MaskWriteReply) -> bytes:
    fields = (masks.address, masks.and_mask, masks.or_mask)
    require_words(fields)
    return bytes((masks.function,)) + WORD_STRUCTS[3].pack(*fields)
