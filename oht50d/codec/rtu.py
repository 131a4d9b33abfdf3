"""Modbus RTU framing, sans I/O: requests to bytes and bytes to replies (master half), and the device half.

The same frames are used in a TCP stream (RTU over TCP). `RtuFraming` and `ModbusServer` each own one bounded receive
buffer; nothing else here has state, but for a bounded memory of the frames of functions 3, 6 and 16.
Source: MODBUS over Serial Line Specification and Implementation Guide V1.02, sections 2.5.1 (frame of at most 256
bytes, address first, CRC last and low byte first) and 2.5.1.1 (silence of 3.5 characters, fixed at 1.75 ms above 19200
baud; a character has 11 bits there). A reply's length follows from the request or from the reply itself, so framing
needs no time.
"""

from functools import lru_cache
from struct import Struct

from attrs import frozen

from oht50d.codec import modbus_pdu as pdu
from oht50d.codec.modbus_crc import crc16
from oht50d.codec.modbus_pdu import MalformedFrame, ReplyMismatch, ServerFrame
from oht50d.model.bus import BusReply, BusRequest, ReadRegisters, ReadReply, WriteRegister, WriteRegisters, WriteReply
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_FRAME_BYTES",
    "MalformedFrame",
    "ModbusClient",
    "ModbusServer",
    "ReplyMismatch",
    "RtuFraming",
    "ServerFrame",
    "character_ns",
    "crc16",
    "encode_reply",
    "encode_request",
    "reply_length",
    "silence_ns",
]

MAX_FRAME_BYTES = 256
EXCEPTION_FRAME_BYTES = 5
REMEMBERED_FRAMES = 512
_FRAMING_BYTES = 3
_READ_OVERHEAD_BYTES = 5
_WRITE_OVERHEAD_BYTES = 9
_REQUEST_BYTES = 8
_CRC_STRUCT = Struct("<H")
_FIXED_SILENCE_NS = 1_750_000
_FIXED_SILENCE_ABOVE_BAUD = 19_200
_GUIDE_CHARACTER_BITS = 11


def character_ns(baud: int, bits: int = 10) -> int:
    """Nanoseconds of one character (8N1: 10 bits), rounded up."""
    return -(-bits * 1_000_000_000 // baud)


def silence_ns(baud: int) -> int:
    """The silence t3.5 that separates frames: 1.75 ms above 19200 baud, else 3.5 characters of 11 bits."""
    if baud > _FIXED_SILENCE_ABOVE_BAUD:
        return _FIXED_SILENCE_NS
    return -(-7 * _GUIDE_CHARACTER_BITS * 1_000_000_000 // (2 * baud))


def encode_request(request: BusRequest) -> bytes:
    """The whole frame of a request, CRC included. Raises LocalProtocolError if the protocol does not allow it."""
    if type(request) is ReadRegisters:
        return _read_frame(request.unit, request.address, request.count)
    write = _known_write(request)
    return _request_frame(request) if write is None else write.frame


def encode_reply(reply: BusReply) -> bytes:
    """The whole frame of a device's reply, CRC included. Raises LocalProtocolError for values that fit no reply."""
    pdu.require_replying_unit(reply, pdu.SERIAL_UNITS)
    return _framed(reply.unit, pdu.encode_reply_pdu(reply))


def reply_length(request: BusRequest) -> int:
    """Bytes of the normal reply's frame, the most it can have where the device chooses; 0 for a broadcast."""
    if type(request) is ReadRegisters:
        return _READ_OVERHEAD_BYTES + 2 * request.count
    if request.unit == pdu.BROADCAST_UNIT:
        return 0
    return _FRAMING_BYTES + pdu.reply_pdu_length(request)


# A plan reads the same blocks and writes the same words again and again. Beyond the bound the frame that was used
# longest ago is forgotten; what the protocol does not allow is never remembered.


@lru_cache(maxsize=REMEMBERED_FRAMES)
def _read_frame(unit: int, address: int, count: int) -> bytes:
    return _request_frame(ReadRegisters(unit, address, count))


@frozen
class _KnownWrite:
    """A register write: its frame, and the only reply that it can have but an exception."""

    frame: bytes
    echo: bytes
    reply: WriteReply


def _known_write(request: BusRequest) -> _KnownWrite | None:
    if type(request) is WriteRegister:
        return _write_one(request.unit, request.address, request.word)
    if type(request) is WriteRegisters:
        return _write_many(request.unit, request.address, request.words)
    return None


@lru_cache(maxsize=REMEMBERED_FRAMES)
def _write_one(unit: int, address: int, word: int) -> _KnownWrite:
    frame = _request_frame(WriteRegister(unit, address, word))
    return _KnownWrite(frame, frame, WriteReply(unit, address, 1, word))


@lru_cache(maxsize=REMEMBERED_FRAMES)
def _write_many(unit: int, address: int, words: tuple[int, ...]) -> _KnownWrite:
    reply = WriteReply(unit, address, len(words), None)
    frame = _request_frame(WriteRegisters(unit, address, words))
    return _KnownWrite(frame, _framed(unit, pdu.encode_reply_pdu(reply)), reply)


def _request_frame(request: BusRequest) -> bytes:
    pdu.require_unit(request, pdu.SERIAL_UNITS)
    return _framed(request.unit, pdu.encode_request_pdu(request))


def _framed(unit: int, body: bytes) -> bytes:
    frame = bytes((unit,)) + body
    return frame + _CRC_STRUCT.pack(crc16(frame))


class RtuFraming:
    """The master's half: at most one outstanding request, at most one frame in the buffer."""

    __slots__ = ("_buffer", "_length", "_request", "_write")

    is_numbered = False
    late_replies = 0

    def __init__(self) -> None:
        self._buffer = b""
        self._request: BusRequest | None = None
        self._write: _KnownWrite | None = None
        self._length = 0

    @staticmethod
    def encode(request: BusRequest) -> bytes:
        """See the function `encode_request` of this module."""
        return encode_request(request)

    @staticmethod
    def reply_bytes(request: BusRequest) -> int:
        """See the function `reply_length` of this module."""
        return reply_length(request)

    def expect(self, request: BusRequest) -> None:
        """Wait for the reply to `request` from now on; what was outstanding or buffered is forgotten.

        Raises LocalProtocolError for a broadcast, which has no reply, and for what the protocol does not allow.
        """
        if request.unit == pdu.BROADCAST_UNIT:
            raise LocalProtocolError("a broadcast has no reply")
        self._write = _known_write(request)
        self._buffer = b""
        self._request = request
        self._length = reply_length(request)

    def reset(self) -> None:
        """Forget the outstanding request and every buffered byte."""
        self._buffer = b""
        self._request = None
        self._write = None

    def receive_data(self, data: bytes) -> BusReply | None:
        """The reply once its last byte is in, None while bytes are missing; `data` may be split anywhere.

        Raises RemoteProtocolError for a wrong CRC, for bytes beyond the frame and for bytes that nobody asked for;
        its subclass ReplyMismatch for a wrong unit, function, byte count or echo, as soon as that shows. After a raise
        and after a reply nothing is outstanding.
        """
        request = self._request
        frame = self._buffer + data if self._buffer else data
        # What nearly every exchange of a running plan is goes through no further call; everything else is told apart
        # below, by the same rules.
        if (
            type(request) is ReadRegisters
            and len(frame) == self._length
            and frame[0] == request.unit
            and frame[1] == 3
            and frame[2] == 2 * request.count
            and not crc16(frame)
        ):
            self._buffer = b""
            self._request = None
            return ReadReply(request.unit, pdu.WORD_STRUCTS[request.count].unpack_from(frame, 3))
        write = self._write
        if write is not None and frame == write.echo:
            self.reset()
            return write.reply
        return self._receive(request, frame) if data else None

    def _receive(self, request: BusRequest | None, frame: bytes) -> BusReply | None:
        if request is None:
            raise RemoteProtocolError("bytes without a request")
        try:
            reply = self._evaluate(request, frame)
        except RemoteProtocolError:
            self.reset()
            raise
        if reply is None:
            self._buffer = frame
        else:
            self.reset()
        return reply

    def _evaluate(self, request: BusRequest, frame: bytes) -> BusReply | None:
        if len(frame) > MAX_FRAME_BYTES:
            raise RemoteProtocolError("more bytes than a frame has")
        length = self._frame_length(request, frame)
        if len(frame) < length:
            return None
        if len(frame) > length:
            raise RemoteProtocolError("bytes after the end of the frame")
        reply = pdu.decode_reply_pdu(request, frame[1:-2])
        if crc16(frame):
            raise RemoteProtocolError("wrong CRC")
        return reply

    def _frame_length(self, request: BusRequest, frame: bytes) -> int:
        """How long the frame that begins like this must be; raises ReplyMismatch as early as the bytes allow."""
        if frame[0] != request.unit:
            raise ReplyMismatch(f"unit {frame[0]} instead of {request.unit}")
        if len(frame) < 2:
            return self._length
        if frame[1] == request.function | pdu.EXCEPTION_FLAG:
            return EXCEPTION_FRAME_BYTES
        if frame[1] != request.function:
            raise ReplyMismatch(f"function {frame[1]} instead of {request.function}")
        if pdu.has_variable_reply(request):
            return _FRAMING_BYTES + pdu.length_so_far(frame[1:])
        byte_count = self._length - _READ_OVERHEAD_BYTES
        if pdu.has_byte_count(request) and len(frame) > 2 and frame[2] != byte_count:
            raise ReplyMismatch(f"byte count {frame[2]} instead of {byte_count}")
        return self._length


def begins_with_frame(octets: bytes) -> bool:
    """True if a request or reply with a right CRC is the first of these bytes, or all of them."""
    lengths = {len(octets), EXCEPTION_FRAME_BYTES, _REQUEST_BYTES}
    lengths |= {_READ_OVERHEAD_BYTES + count for count in octets[2:3]}
    lengths |= {_WRITE_OVERHEAD_BYTES + count for count in octets[6:7]}
    return any(4 <= length <= len(octets) and not crc16(octets[:length]) for length in lengths)


ModbusClient = RtuFraming
"""The name that this half had while there was one framing."""


class ModbusServer:
    """The device half, for the simulator: cuts requests out of a byte stream by function code; bounded buffer."""

    __slots__ = ("_buffer", "_served")

    def __init__(self, served: frozenset[int] = pdu.SERVED_FUNCTIONS) -> None:
        """`served` are function codes; others are refused with exception 1."""
        self._buffer = bytearray()
        self._served = served & pdu.SERVED_FUNCTIONS

    def reset(self) -> None:
        """Forget a half-received frame, as a device does after a silence of 1.5 characters."""
        self._buffer.clear()

    def receive_data(self, data: bytes) -> list[ServerFrame]:
        """Every request that is complete now, in order; a wrong CRC or an unknown function drops the whole buffer."""
        frames: list[ServerFrame] = []
        for start in range(0, len(data), MAX_FRAME_BYTES):
            self._buffer += data[start : start + MAX_FRAME_BYTES]
            while (frame := self._next_frame()) is not None:
                frames.append(frame)
        return frames

    @staticmethod
    def encode_reply(reply: BusReply) -> bytes:
        """See the function `encode_reply` of this module."""
        return encode_reply(reply)

    def _next_frame(self) -> ServerFrame | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        body_length = pdu.request_length(buffer[1:])
        if body_length is None or body_length > pdu.MAX_PDU_BYTES:
            return self._drop_all("a function that cannot be delimited")
        length = _FRAMING_BYTES + body_length
        if len(buffer) < length:
            return None
        frame = bytes(buffer[:length])
        if crc16(frame):
            return self._drop_all("wrong CRC")
        del buffer[:length]
        return pdu.read_request(frame[0], frame[1:-2], raw=frame, units=pdu.SERIAL_UNITS, served=self._served)

    def _drop_all(self, why: str) -> MalformedFrame:
        raw = bytes(self._buffer)
        self._buffer.clear()
        return MalformedFrame(raw, why)
