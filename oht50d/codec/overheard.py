"""Cuts the frames of others out of what is heard on an RTU line: requests, replies, noise (sans I/O).

`Overhearer` owns one bounded buffer and the request that was heard last. A listener behind a USB adapter does not see
the silences of 3.5 characters, so a frame is cut where its length by function code and its CRC agree; a pause only ends
what cannot become a frame any more.

Sources: MODBUS over Serial Line V1.02, section 2.5.1 (frames of at most 256 bytes, CRC); MODBUS Application Protocol
V1.1b3, section 6 (lengths of requests and replies by function) and section 7 (exceptions).
"""

import enum
from contextlib import suppress

from attrs import frozen

from oht50d.codec import modbus_pdu as pdu
from oht50d.codec.modbus_pdu import EXCEPTION_FLAG, SERIAL_UNITS, ReplyMismatch
from oht50d.codec.rtu import EXCEPTION_FRAME_BYTES, MAX_FRAME_BYTES, crc16

MAX_BUFFER_BYTES = 4 * MAX_FRAME_BYTES
_LEAST_FRAME_BYTES = 4

_FRAMING_BYTES = 3
_FIXED_REPLIES = {5: 8, 6: 8, 7: 5, 8: 8, 11: 8, 15: 8, 16: 8, 22: 10}
_COUNTED_REPLIES = frozenset({1, 2, 3, 4, 12, 17, 20, 21, 23})
_DEVICE_IDENTIFICATION, _MEI_TYPE = 43, 14


class HeardKind(enum.Enum):
    """What was cut out."""

    REQUEST = "request"
    REPLY = "reply"
    NOISE = "noise"


@frozen
class HeardFrame:
    """One frame of somebody else; `request` is the frame that a reply belongs to, None if it was not heard."""

    kind: HeardKind
    octets: bytes
    request: bytes | None = None


def request_length(octets: bytes | bytearray) -> int | None:
    """Bytes of a request frame that begins like this, the least so far while its count is missing; None: unknown."""
    length = pdu.request_length(octets[1:])
    return None if length is None else _FRAMING_BYTES + length


def reply_length(octets: bytes | bytearray) -> int | None:
    """Bytes of a reply frame that begins like this, the least so far while its counts are missing; None: unknown."""
    function = octets[1]
    if function & pdu.EXCEPTION_FLAG:
        return EXCEPTION_FRAME_BYTES
    if function in _COUNTED_REPLIES:
        return 2 + _FRAMING_BYTES + octets[2]
    if function == _DEVICE_IDENTIFICATION and octets[2] == _MEI_TYPE:
        with suppress(ReplyMismatch):
            return _FRAMING_BYTES + pdu.length_so_far(bytes(octets[1:]))
    return _FIXED_REPLIES.get(function)


class Overhearer:
    """`receive_data` as bytes come, `flush` when the line has paused; never raises."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._noise = bytearray()
        self._request: bytes | None = None
        self._echoed: bytes | None = None

    def receive_data(self, data: bytes) -> list[HeardFrame]:
        """Every frame that is whole now, in order; noise is told before the frame that follows it."""
        heard: list[HeardFrame] = []
        for start in range(0, len(data), MAX_FRAME_BYTES):
            self._buffer += data[start : start + MAX_FRAME_BYTES]
            self._cut(heard, is_final=False)
        return heard

    def flush(self) -> list[HeardFrame]:
        """The line has paused for longer than any reply takes: what is left is judged as it stands, the buffer is empty
        afterwards, and no reply is expected any more."""
        heard: list[HeardFrame] = []
        self._cut(heard, is_final=True)
        self._end_noise(heard)
        self._request = self._echoed = None
        return heard

    @property
    def is_waiting(self) -> bool:
        """True while bytes are kept that a pause would end."""
        return bool(self._buffer or self._noise)

    def _cut(self, heard: list[HeardFrame], *, is_final: bool) -> None:
        while self._buffer:
            frame = self._next_frame(is_final=is_final)
            if frame is not None:
                self._end_noise(heard)
                heard.append(frame)
                del self._buffer[: len(frame.octets)]
            elif is_final or not self._may_grow():
                self._skip_byte(heard)
            else:
                return

    def _next_frame(self, *, is_final: bool) -> HeardFrame | None:
        """The frame at the front; a reply to the request that was heard last goes before another request."""
        if len(self._buffer) < _LEAST_FRAME_BYTES or self._buffer[0] not in SERIAL_UNITS:
            return None
        if self._request is not None and self._is_answer(self._request):
            length = reply_length(self._buffer)
            if self._is_frame(length):
                return self._reply(self._front(length), self._request)
            if not is_final and length is not None and len(self._buffer) < length <= MAX_FRAME_BYTES:
                return None
        if self._is_frame(request_length(self._buffer)):
            octets = self._front(request_length(self._buffer))
            self._request, self._echoed = octets if octets[0] else None, None
            return HeardFrame(HeardKind.REQUEST, octets)
        if self._is_frame(reply_length(self._buffer)):
            is_late = self._echoed is not None and self._is_answer(self._echoed)
            return self._reply(self._front(reply_length(self._buffer)), self._echoed if is_late else None)
        return None

    def _reply(self, octets: bytes, request: bytes | None) -> HeardFrame:
        """What looked like the echo of a write may have been the write again: another answer to it is not refused."""
        self._request, self._echoed = None, request if octets == request else None
        return HeardFrame(HeardKind.REPLY, octets, request)

    def _is_answer(self, request: bytes) -> bool:
        """Unit and function, and where the request says how many bytes come: their number."""
        buffer = self._buffer
        if buffer[0] != request[0] or buffer[1] & ~EXCEPTION_FLAG != request[1]:
            return False
        if buffer[1] & EXCEPTION_FLAG:
            return True
        expected = _expected_count(request)
        return expected is None or buffer[2] == expected

    def _is_frame(self, length: int | None) -> bool:
        return length is not None and len(self._buffer) >= length and crc16(self._front(length)) == 0

    def _front(self, length: int | None) -> bytes:
        return bytes(self._buffer[:length])

    def _may_grow(self) -> bool:
        """True while more bytes could make a frame of what is at the front."""
        buffer = self._buffer
        if len(buffer) < _LEAST_FRAME_BYTES:
            return True
        lengths = (request_length(buffer), reply_length(buffer))
        is_possible = any(length is not None and len(buffer) < length <= MAX_FRAME_BYTES for length in lengths)
        return buffer[0] in SERIAL_UNITS and is_possible

    def _skip_byte(self, heard: list[HeardFrame]) -> None:
        self._noise.append(self._buffer[0])
        del self._buffer[0]
        if len(self._noise) >= MAX_BUFFER_BYTES:
            self._end_noise(heard)

    def _end_noise(self, heard: list[HeardFrame]) -> None:
        if self._noise:
            heard.append(HeardFrame(HeardKind.NOISE, bytes(self._noise)))
            self._noise.clear()


def _expected_count(request: bytes) -> int | None:
    """The byte count of the reply that a request asks for; None where it does not say."""
    function = request[1]
    count = int.from_bytes(request[4:6], "big")
    if function in (1, 2):
        return (count + 7) // 8 & 0xFF
    return 2 * count & 0xFF if function in (3, 4, 23) else None
