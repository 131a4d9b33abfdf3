"""Modbus protocol data units without any framing: one door to requests and replies of all functions (no state).

Registers are in `words`, single bits in `bits`, who a device is in `identity`, the device's view of requests in
`device`, limits and errors in `limits`. Source: MODBUS Application Protocol Specification V1.1b3, section 6 (the
functions 1 to 6, 15, 16, 17, 22, 23 and 43/14) and section 7 (an exception is the function with its high bit set and
one code).
"""

from oht50d.codec.modbus_pdu import bits, identity, words
from oht50d.codec.modbus_pdu.device import SERVED_FUNCTIONS, MalformedFrame, ServerFrame, read_request, request_length
from oht50d.codec.modbus_pdu.identity import continuation, length_so_far
from oht50d.codec.modbus_pdu.limits import (
    BROADCAST_UNIT,
    EXCEPTION_FLAG,
    HIGHEST_EXCEPTION_CODE,
    MAX_PDU_BYTES,
    SERIAL_UNITS,
    TCP_UNITS,
    WORD_STRUCTS,
    ReplyMismatch,
    require_replying_unit,
    require_unit,
)
from oht50d.model.bus import BusReply, BusRequest, ExceptionReply
from oht50d.model.errors import LocalProtocolError

__all__ = [
    "BROADCAST_UNIT",
    "EXCEPTION_FLAG",
    "HIGHEST_EXCEPTION_CODE",
    "MAX_PDU_BYTES",
    "SERIAL_UNITS",
    "SERVED_FUNCTIONS",
    "TCP_UNITS",
    "WORD_STRUCTS",
    "MalformedFrame",
    "ReplyMismatch",
    "ServerFrame",
    "continuation",
    "decode_reply_pdu",
    "encode_reply_pdu",
    "encode_request_pdu",
    "has_byte_count",
    "has_variable_reply",
    "length_so_far",
    "read_request",
    "reply_pdu_length",
    "request_length",
    "require_replying_unit",
    "require_unit",
]

_EXCEPTION_PDU_BYTES = 2
_COUNTED_REPLIES = frozenset({1, 2, 3, 4, 23})


def has_byte_count(request: BusRequest) -> bool:
    """True if the second byte of the normal reply says how many bytes follow, and the request says how many must."""
    return request.function in _COUNTED_REPLIES


def has_variable_reply(request: BusRequest) -> bool:
    """True if the length of the normal reply is the device's to choose; `length_so_far` finds it."""
    return isinstance(request, identity.IdentityRequest)


def encode_request_pdu(request: BusRequest) -> bytes:
    """Function code and body of a request. Raises LocalProtocolError if the protocol does not allow it."""
    if isinstance(request, words.WordRequest):
        return words.encode_request(request)
    if isinstance(request, bits.BitRequest):
        return bits.encode_request(request)
    return identity.encode_request(request)


def reply_pdu_length(request: BusRequest) -> int:
    """Bytes of the normal reply's PDU (an exception reply has 2); the most it can have where the device chooses."""
    if isinstance(request, words.WordRequest):
        return words.reply_length(request)
    return bits.reply_length(request) if isinstance(request, bits.BitRequest) else MAX_PDU_BYTES


def decode_reply_pdu(request: BusRequest, pdu: bytes) -> BusReply:
    """The reply to `request` out of one whole PDU. Raises ReplyMismatch for any other shape or echo."""
    function = request.function
    if len(pdu) == _EXCEPTION_PDU_BYTES and pdu[0] == function | EXCEPTION_FLAG:
        if not 1 <= pdu[1] <= HIGHEST_EXCEPTION_CODE:
            raise ReplyMismatch(f"exception code {pdu[1]} does not exist")
        return ExceptionReply(request.unit, function, pdu[1])
    if not pdu or pdu[0] != function:
        raise ReplyMismatch(f"function {pdu[0] if pdu else 'missing'} instead of {function}")
    if isinstance(request, words.WordRequest):
        return words.decode_reply(request, pdu)
    if isinstance(request, bits.BitRequest):
        return bits.decode_reply(request, pdu)
    return identity.decode_reply(request, pdu)


def encode_reply_pdu(reply: BusReply) -> bytes:
    """Function code and body of a device's reply. Raises LocalProtocolError for values that fit no reply."""
    if isinstance(reply, words.WordReply):
        return words.encode_reply(reply)
    if isinstance(reply, bits.BitReply):
        return bits.encode_reply(reply)
    if isinstance(reply, identity.IdentityReply):
        return identity.encode_reply(reply)
    if not (1 <= reply.function < EXCEPTION_FLAG and 1 <= reply.code <= HIGHEST_EXCEPTION_CODE):
        raise LocalProtocolError(f"no exception reply to function {reply.function} with code {reply.code}")
    return bytes((reply.function | EXCEPTION_FLAG, reply.code))
