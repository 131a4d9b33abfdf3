"""Modbus RTU framing, sans I/O: requests to bytes and bytes to replies (master half), and the device half.

`ModbusClient` and `ModbusServer` each own one bounded receive buffer; nothing else here has state.
Source: MODBUS over Serial Line Specification and Implementation Guide V1.02, sections 2.5.1 (frame of at most 256
bytes, address first, CRC last and low byte first), 2.5.1.1 (silence of 3.5 characters, fixed at 1.75 ms above 19200
baud; a character has 11 bits there) and 6.2.2 (CRC-16: polynomial 0xA001 reflected, start 0xFFFF). A reply's length
follows from the request, so framing needs no time.
"""

from array import array
from collections.abc import Iterable
from struct import Struct

from attrs import frozen

from oht50d.codec import modbus_pdu as pdu
from oht50d.codec.modbus_pdu import ReplyMismatch
from oht50d.model.bus import BusReply, BusRequest, ReadRegisters, WriteRegister, WriteRegisters
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

__all__ = [
    "MAX_FRAME_BYTES",
    "MalformedFrame",
    "ModbusClient",
    "ModbusServer",
    "ReplyMismatch",
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
_FRAMING_BYTES = 3
_CRC_POLYNOMIAL = 0xA001
_CRC_START = 0xFFFF
_CRC_STRUCT = Struct("<H")
_WORD_PAIRS = tuple(Struct(f"<{count}H") for count in range(MAX_FRAME_BYTES // 2 + 1))
_FIXED_SILENCE_NS = 1_750_000
_FIXED_SILENCE_ABOVE_BAUD = 19_200
_GUIDE_CHARACTER_BITS = 11


def _shifted(value_16: int, bits: int) -> int:
    for _ in range(bits):
        value_16 = value_16 >> 1 ^ (_CRC_POLYNOMIAL if value_16 & 1 else 0)
    return value_16


def _two_byte_table() -> "array[int]":
    """The CRC step of two bytes at once, for all 65536 states; linear, so it is the sum of two small tables."""
    low = [_shifted(byte, 16) for byte in range(256)]
    high = [_shifted(byte << 8, 16) for byte in range(256)]
    return array("H", [above ^ below for above in high for below in low])


_ONE_BYTE = tuple(_shifted(byte, 8) for byte in range(256))
_TWO_BYTES = _two_byte_table()


def crc16(octets: bytes | bytearray) -> int:
    """CRC-16 of Modbus over any number of bytes; over a whole frame with its CRC it is 0."""
    crc = _CRC_START
    whole = len(octets)
    for words in _little_endian_words(octets, whole):
        for word in words:
            crc = _TWO_BYTES[crc ^ word]
    if whole & 1:
        crc = crc >> 8 ^ _ONE_BYTE[(crc ^ octets[-1]) & 0xFF]
    return crc


def _little_endian_words(octets: bytes | bytearray, whole: int) -> Iterable[Iterable[int]]:
    if whole <= MAX_FRAME_BYTES:
        return (_WORD_PAIRS[whole >> 1].unpack_from(octets),)
    return Struct("<H").iter_unpack(memoryview(octets)[: whole & ~1])


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
    return _framed(request.unit, pdu.encode_request_pdu(request))


def encode_reply(reply: BusReply) -> bytes:
    """The whole frame of a device's reply, CRC included. Raises LocalProtocolError for values that fit no reply."""
    if not 1 <= reply.unit <= pdu.MAX_UNIT:
        raise LocalProtocolError(f"unit {reply.unit} cannot reply")
    return _framed(reply.unit, pdu.encode_reply_pdu(reply))


def reply_length(request: BusRequest) -> int:
    """Bytes of the normal reply's frame; 0 for a broadcast, which nobody answers."""
    return 0 if request.unit == pdu.BROADCAST_UNIT else _FRAMING_BYTES + pdu.reply_pdu_length(request)


def _framed(unit: int, body: bytes) -> bytes:
    frame = bytes((unit,)) + body
    return frame + _CRC_STRUCT.pack(crc16(frame))


class ModbusClient:
    """The master's receive side: at most one outstanding request, at most one frame in the buffer."""

    __slots__ = ("_buffer", "_function", "_length", "_request")

    def __init__(self) -> None:
        self._buffer = b""
        self._request: BusRequest | None = None
        self._function = 0
        self._length = 0

    def expect(self, request: BusRequest) -> None:
        """Wait for the reply to `request` from now on; what was outstanding or buffered is forgotten.

        Raises LocalProtocolError for a broadcast: it has no reply.
        """
        if request.unit == pdu.BROADCAST_UNIT:
            raise LocalProtocolError("a broadcast has no reply")
        self._buffer = b""
        self._request = request
        self._function = pdu.function_of(request)
        self._length = reply_length(request)

    def reset(self) -> None:
        """Forget the outstanding request and every buffered byte."""
        self._buffer = b""
        self._request = None

    def receive_data(self, data: bytes) -> BusReply | None:
        """The reply once its last byte is in, None while bytes are missing; `data` may be split anywhere.

        Raises RemoteProtocolError for a wrong CRC, for bytes beyond the frame and for bytes that nobody asked for;
        its subclass ReplyMismatch for a wrong unit, function, byte count or echo, as soon as that shows. After a raise
        and after a reply nothing is outstanding.
        """
        if not data:
            return None
        request = self._request
        if request is None:
            raise RemoteProtocolError("bytes without a request")
        if len(self._buffer) + len(data) > MAX_FRAME_BYTES:
            self.reset()
            raise RemoteProtocolError("more bytes than a frame has")
        frame = self._buffer = self._buffer + data if self._buffer else bytes(data)
        try:
            reply = self._evaluate(request, frame)
        except RemoteProtocolError:
            self.reset()
            raise
        if reply is not None:
            self.reset()
        return reply

    def _evaluate(self, request: BusRequest, frame: bytes) -> BusReply | None:
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
        if frame[1] == self._function | pdu.EXCEPTION_FLAG:
            return EXCEPTION_FRAME_BYTES
        if frame[1] != self._function:
            raise ReplyMismatch(f"function {frame[1]} instead of {self._function}")
        if self._function == pdu.FUNCTION_READ and len(frame) > 2 and frame[2] != self._length - EXCEPTION_FRAME_BYTES:
            raise ReplyMismatch(f"byte count {frame[2]} instead of {self._length - EXCEPTION_FRAME_BYTES}")
        return self._length


@frozen
class MalformedFrame:
    """Bytes that are no request a device serves. `exception_code` is what a device answers; None: it stays silent."""

    raw: bytes
    why: str
    exception_code: int | None = None


ServerFrame = BusRequest | MalformedFrame

_FIXED_REQUEST_BYTES = {1: 8, 2: 8, 3: 8, 4: 8, 5: 8, 6: 8, 7: 4, 8: 8, 11: 4, 12: 4, 17: 4, 22: 10, 24: 6, 43: 7}
_COUNTED_REQUESTS = {15: (6, 9), 16: (6, 9), 20: (2, 5), 21: (2, 5), 23: (10, 13)}
_ILLEGAL_FUNCTION = 1
_ILLEGAL_ADDRESS = 2
_ILLEGAL_VALUE = 3


class ModbusServer:
    """The device half, for the simulator: cuts requests out of a byte stream by function code; bounded buffer."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

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
        length = _request_length(buffer)
        if length is None or length > MAX_FRAME_BYTES:
            return self._drop_all("a function that cannot be delimited")
        if len(buffer) < length:
            return None
        frame = bytes(buffer[:length])
        if crc16(frame):
            return self._drop_all("wrong CRC")
        del buffer[:length]
        return _decode_request(frame)

    def _drop_all(self, why: str) -> MalformedFrame:
        raw = bytes(self._buffer)
        self._buffer.clear()
        return MalformedFrame(raw, why)


def _request_length(buffer: bytearray) -> int | None:
    """Bytes of the request that begins like this (V1.1b3, section 6); the least so far if its count is not in yet."""
    fixed = _FIXED_REQUEST_BYTES.get(buffer[1])
    if fixed is not None:
        return fixed
    counted = _COUNTED_REQUESTS.get(buffer[1])
    if counted is None:
        return None
    position, overhead = counted
    return overhead + buffer[position] if len(buffer) > position else overhead


def _decode_request(frame: bytes) -> ServerFrame:
    """One whole frame with a good CRC as a request, or what a device would refuse."""
    unit, function = frame[0], frame[1]
    if function not in (pdu.FUNCTION_READ, pdu.FUNCTION_WRITE, pdu.FUNCTION_WRITE_MANY):
        return MalformedFrame(frame, f"function {function} is not served", _ILLEGAL_FUNCTION)
    address, second = pdu.unpack_words(frame, 2, 2)
    if function == pdu.FUNCTION_READ:
        return _checked(frame, ReadRegisters(unit, address, second), second <= pdu.MAX_READ_COUNT)
    if function == pdu.FUNCTION_WRITE:
        return _checked(frame, WriteRegister(unit, address, second), True)
    if frame[6] != 2 * second or not 1 <= second <= pdu.MAX_WRITE_COUNT:
        return MalformedFrame(frame, f"byte count {frame[6]} for {second} registers", _ILLEGAL_VALUE)
    return _checked(frame, WriteRegisters(unit, address, pdu.unpack_words(frame, 7, second)), True)


def _checked(frame: bytes, request: BusRequest, is_count_legal: bool) -> ServerFrame:
    """The request if a device may serve it, else why not (V1.1b3, figures 13 and 22: count first, then address)."""
    try:
        pdu.encode_request_pdu(request)
    except LocalProtocolError as error:
        if not 1 <= frame[0] <= pdu.MAX_UNIT:
            return MalformedFrame(frame, str(error))
        is_value = not is_count_legal or pdu.reply_count(request) == 0
        return MalformedFrame(frame, str(error), _ILLEGAL_VALUE if is_value else _ILLEGAL_ADDRESS)
    return request
