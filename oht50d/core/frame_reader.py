"""Traced frames decoded for people: who, what, values with names and units, CRC, gaps and latencies (pure).

A `FrameReader` owns what it remembers of the frames before: the request that is open and when the line became free. It
must be shown the frames in order; a page that begins in the middle is begun a few frames earlier (`REWIND_FRAMES`).
"""

from collections.abc import Mapping

from attrs import frozen

from oht50d.codec.modbus_pdu import (
    SERVED_FUNCTIONS,
    TCP_UNITS,
    MalformedFrame,
    ReplyMismatch,
    decode_reply_pdu,
    read_request,
)
from oht50d.codec.registers import decode_register
from oht50d.codec.rtu import crc16
from oht50d.core.bus_trace import TracedFrame
from oht50d.core.frame_event import Note, Way
from oht50d.core.frame_words import exception_words, function_words, reply_words, request_words
from oht50d.model import bus
from oht50d.model.bus import BusReply, BusRequest
from oht50d.model.registers import ModuleMap, Quality, RegisterSpec, RegisterValue

REWIND_FRAMES = 8
ERROR_NOTES = frozenset(
    {Note.EARLY, Note.EXCEPTION, Note.CRC, Note.MISMATCH, Note.TIMEOUT, Note.ABANDONED, Note.UNEXPECTED, Note.STALE,
     Note.CLOSED, Note.NOISE}
)  # fmt: skip
_HEADER_BYTES = 6
"""What stands before the unit in a Modbus TCP frame."""
_LEAST_BODY_BYTES = 2


@frozen
class FrameValue:
    """One register in a frame; `spec` is None where no map names it."""

    address: int
    word: int
    spec: RegisterSpec | None
    value: RegisterValue | None
    quality: Quality | None


@frozen
class DecodedFrame:
    """One frame in words. `is_crc_good` is None where there is no CRC; `gap_ns` is the quiet before it, `latency_ns`
    the time from the end of the request to the end of the reply."""

    frame: TracedFrame
    unit: int | None
    function: int | None
    words: str
    values: tuple[FrameValue, ...]
    is_crc_good: bool | None
    gap_ns: int | None
    latency_ns: int | None


class FrameReader:
    """`decode` frame by frame; `skip` for those that are not shown."""

    def __init__(self, maps: Mapping[int, ModuleMap], character_ns: int, *, is_tcp: bool = False) -> None:
        self._maps = maps
        self._character_ns = character_ns
        self._is_tcp = is_tcp
        self._asked: bytes = b""
        self._asked_end_ns: int | None = None
        self._free_ns: int | None = None

    def unit_and_function(self, frame: TracedFrame) -> tuple[int, int] | None:
        """Whose exchange a frame belongs to, cheaply: of what came in, the one that was asked. None for the line's own
        events and for bytes that nobody had asked for."""
        body = self._body(frame.octets)
        if frame.way is Way.RECEIVED and frame.purpose is not None and self._asked:
            body = self._asked
        if frame.way is Way.LINE or len(body) < 2:
            return None
        return body[0], body[1] & 0x7F

    def skip(self, frame: TracedFrame) -> None:
        """Remember what the frames behind it need."""
        ends_ns = frame.at_ns
        if frame.way is Way.SENT or (frame.way is Way.OVERHEARD and frame.note is Note.REQUEST):
            ends_ns += len(frame.octets) * self._character_ns if frame.way is Way.SENT else 0
            self._asked, self._asked_end_ns = self._body(frame.octets), ends_ns
        if frame.octets:
            self._free_ns = ends_ns

    def decode(self, frame: TracedFrame) -> DecodedFrame:
        """Everything about one frame."""
        body = self._body(frame.octets)
        who = self.unit_and_function(frame)
        is_good = self._crc(frame)
        gap_ns, latency_ns = self._gap_ns(frame), self._latency_ns(frame)
        words, values = self._content(frame, body, is_good=is_good)
        self.skip(frame)
        unit, function = (None, None) if who is None else who
        return DecodedFrame(frame, unit, function, words, values, is_good, gap_ns, latency_ns)

    # -- content

    def _content(
        self, frame: TracedFrame, body: bytes, *, is_good: bool | None
    ) -> tuple[str, tuple[FrameValue, ...]]:  # fmt: skip
        if frame.way is Way.LINE:
            return f"port {frame.note.name.lower()}: {frame.octets.decode('ascii', 'replace')}", ()
        is_request = frame.way is Way.SENT or frame.note is Note.REQUEST
        if is_request and is_good is not False:
            return self._request(frame.octets, body)
        if frame.note in (Note.VALID, Note.EXCEPTION, Note.REPLY) and len(body) > _LEAST_BODY_BYTES:
            return self._reply(body)
        return _trouble(frame), ()

    def _request(self, octets: bytes, body: bytes) -> tuple[str, tuple[FrameValue, ...]]:
        request = _request_in(body, octets)
        if isinstance(request, MalformedFrame):
            return request.why, ()
        return request_words(request), self._written(request)

    def _reply(self, body: bytes) -> tuple[str, tuple[FrameValue, ...]]:
        request = _request_in(self._asked, self._asked) if self._asked else None
        if body[1] & 0x80:
            return exception_words(body[2]), ()
        if request is None or isinstance(request, MalformedFrame):
            return f"reply to {function_words(body[1])}, whose request was not heard", ()
        try:
            reply = decode_reply_pdu(request, body[1:])
        except ReplyMismatch as mismatch:
            return f"no reply to what was asked: {mismatch}", ()
        return reply_words(reply), self._read(request, reply)

    def _written(self, request: BusRequest) -> tuple[FrameValue, ...]:
        match request:
            case bus.WriteRegister():
                return self._values(request.unit, request.address, (request.word,))
            case bus.WriteRegisters():
                return self._values(request.unit, request.address, request.words)
            case bus.ReadWriteRegisters():
                return self._values(request.unit, request.write_address, request.words)
        return ()

    def _read(self, request: BusRequest, reply: BusReply) -> tuple[FrameValue, ...]:
        if not isinstance(reply, bus.ReadReply):
            return ()
        match request:
            case bus.ReadRegisters():
                return self._values(request.unit, request.address, reply.words)
            case bus.ReadWriteRegisters():
                return self._values(request.unit, request.read_address, reply.words)
            case bus.ReadInputRegisters():
                return self._values(0, request.address, reply.words)
        return ()

    def _values(self, unit: int, first: int, words: tuple[int, ...]) -> tuple[FrameValue, ...]:
        module = self._maps.get(unit)
        found = []
        for address, word in enumerate(words, first):
            spec = None if module is None else module.by_address.get(address)
            value, quality = (None, None) if spec is None else decode_register(spec, word)
            found.append(FrameValue(address, word, spec, value, quality))
        return tuple(found)

    # -- the bytes and their times

    def _body(self, octets: bytes) -> bytes:
        """Unit and PDU."""
        return octets[_HEADER_BYTES:] if self._is_tcp else octets[:-2]

    def _crc(self, frame: TracedFrame) -> bool | None:
        if self._is_tcp or frame.way is Way.LINE or len(frame.octets) < 4:
            return None
        return crc16(frame.octets) == 0

    def _gap_ns(self, frame: TracedFrame) -> int | None:
        """Of what was received the last byte's time is known, so that its characters are taken off."""
        if self._free_ns is None or not frame.octets or frame.way is Way.LINE:
            return None
        took_ns = 0 if frame.way is Way.SENT else len(frame.octets) * self._character_ns
        return frame.at_ns - took_ns - self._free_ns

    def _latency_ns(self, frame: TracedFrame) -> int | None:
        is_reply = (frame.way is Way.RECEIVED and frame.purpose is not None) or frame.note is Note.REPLY
        return frame.at_ns - self._asked_end_ns if is_reply and self._asked_end_ns is not None else None


def _request_in(body: bytes, octets: bytes) -> BusRequest | MalformedFrame:
    if len(body) < 2:
        return MalformedFrame(octets, "too short for a request")
    return read_request(body[0], body[1:], raw=octets, units=TCP_UNITS, served=SERVED_FUNCTIONS)


def _trouble(frame: TracedFrame) -> str:
    count = len(frame.octets)
    some = f" after {count} bytes" if count else ""
    words = {
        Note.CRC: f"damaged reply, {count} bytes" if count else "only damaged bytes",
        Note.MISMATCH: f"a reply to something else, {count} bytes" if count else "only a reply to something else",
        Note.TIMEOUT: f"no reply{some}",
        Note.ABANDONED: f"given up for a stop{some}",
        Note.UNEXPECTED: f"{count} bytes that nobody had asked for",
        Note.STALE: "a reply that was seen too late: this process was not running",
        Note.NOISE: f"{count} bytes that are no frame",
    }
    return words.get(frame.note, f"{count} bytes with a wrong CRC")
