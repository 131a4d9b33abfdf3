"""Modbus TCP framing, sans I/O: the MBAP header, the master's half and the device's half.

`TcpFraming` and `TcpServer` each own the receive buffer and the numbers of one connection; a buffer never keeps a
whole frame. Source: MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (transaction id, protocol id
0, length of what follows, unit id; all big-endian) and MODBUS Application Protocol Specification V1.1b3, section 4.1 (a
frame has at most 260 bytes).

In a stream nothing but the length says where the next frame begins. Whoever once reads a header that cannot be one is
out of step for good: the connection has to be closed.
"""

from struct import Struct

from attrs import frozen

from oht50d.codec import modbus_pdu as pdu
from oht50d.codec.modbus_pdu import ReplyMismatch, ServerFrame
from oht50d.model.bus import BusReply, BusRequest
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

HEADER_BYTES = 7
MAX_ADU_BYTES = HEADER_BYTES + pdu.MAX_PDU_BYTES

_HEADER = Struct(">HHHB")
_PREFIX_BYTES = 6
_NUMBERS = 0x10000
_HALF_OF_NUMBERS = 0x8000


@frozen
class Adu:
    """One frame of the stream, its header checked."""

    number: int
    unit: int
    body: bytes
    raw: bytes


@frozen
class TcpRequest:
    """What a device received, and the transaction id that its reply must bear."""

    number: int
    frame: ServerFrame


def encode_adu(number: int, unit: int, body: bytes) -> bytes:
    """A frame with its header."""
    return _HEADER.pack(number, 0, 1 + len(body), unit) + body


def take_adu(buffer: bytearray) -> Adu | None:
    """Cut the first frame off; None while it is not whole. Raises RemoteProtocolError for what cannot be a header."""
    if any(buffer[2:4]):
        raise RemoteProtocolError(f"protocol id {buffer[2:4].hex()} is not Modbus")
    if len(buffer) < _PREFIX_BYTES:
        return None
    length = buffer[4] << 8 | buffer[5]
    if not 2 <= length <= 1 + pdu.MAX_PDU_BYTES:
        raise RemoteProtocolError(f"a length of {length} bytes fits no frame")
    end = _PREFIX_BYTES + length
    if len(buffer) < end:
        return None
    raw = bytes(buffer[:end])
    del buffer[:end]
    return Adu(raw[0] << 8 | raw[1], raw[_PREFIX_BYTES], raw[HEADER_BYTES:], raw)


class TcpFraming:
    """The master's half of one connection: at most one outstanding request.

    `late_replies` counts frames that answer an older request, or the same one again: they are skipped.
    """

    __slots__ = ("_awaited", "_buffer", "_issued", "_number", "_request", "late_replies")

    is_numbered = True

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._request: BusRequest | None = None
        self._awaited: int | None = None
        self._number = 0
        self._issued = 0
        self.late_replies = 0

    def encode(self, request: BusRequest) -> bytes:
        """The whole frame, under the next transaction id. Raises LocalProtocolError like `encode_request_pdu`."""
        pdu.require_unit(request, pdu.TCP_UNITS)
        body = pdu.encode_request_pdu(request)
        self._number = (self._number + 1) % _NUMBERS
        self._issued = min(self._issued + 1, _HALF_OF_NUMBERS)
        return encode_adu(self._number, request.unit, body)

    @staticmethod
    def reply_bytes(request: BusRequest) -> int:
        """Bytes of the normal reply's frame, the most it can have where the device chooses; 0 for a broadcast."""
        return 0 if request.unit == pdu.BROADCAST_UNIT else HEADER_BYTES + pdu.reply_pdu_length(request)

    def expect(self, request: BusRequest) -> None:
        """Wait for the reply to `request`, which was encoded last; what was outstanding is forgotten, bytes are not.

        Raises LocalProtocolError for a broadcast, which has no reply, and before anything was encoded.
        """
        if request.unit == pdu.BROADCAST_UNIT:
            raise LocalProtocolError("a broadcast has no reply")
        if not self._issued:
            raise LocalProtocolError("nothing was sent that could be answered")
        self._request = request
        self._awaited = self._number

    def reset(self) -> None:
        """A new connection: forget the outstanding request, every buffered byte and which numbers were used."""
        self._buffer.clear()
        self._forget()
        self._issued = 0

    def receive_data(self, data: bytes) -> BusReply | None:
        """The reply once its last byte is in, None while it is missing; `data` may hold part of a frame or several.

        Raises ReplyMismatch for a frame that bears the number of the request and does not answer it; the stream is
        still in step. Raises RemoteProtocolError for a wrong protocol id or length and for a number that was never
        used: the connection is of no use any more. After a raise and after a reply nothing is outstanding.
        """
        self._buffer += data
        reply: BusReply | None = None
        mismatch: ReplyMismatch | None = None
        try:
            while (adu := take_adu(self._buffer)) is not None:
                if adu.number != self._awaited or self._request is None:
                    self._skip(adu.number)
                    continue
                request = self._request
                self._forget()
                try:
                    reply = _reply_in(adu, request)
                except ReplyMismatch as found:
                    mismatch = found
        except RemoteProtocolError:
            self.reset()
            raise
        if mismatch is not None:
            raise mismatch
        return reply

    def _skip(self, number: int) -> None:
        if (self._number - number) % _NUMBERS >= self._issued:
            raise RemoteProtocolError(f"a reply to transaction {number}, which was never begun")
        self.late_replies += 1

    def _forget(self) -> None:
        self._request = None
        self._awaited = None


def _reply_in(adu: Adu, request: BusRequest) -> BusReply:
    if adu.unit != request.unit:
        raise ReplyMismatch(f"unit {adu.unit} instead of {request.unit}")
    return pdu.decode_reply_pdu(request, adu.body)


class TcpServer:
    """The device's half of one connection: cuts requests out of the stream."""

    __slots__ = ("_buffer", "_is_out_of_step", "_served")

    def __init__(self, served: frozenset[int] = pdu.SERVED_FUNCTIONS) -> None:
        """`served` are function codes; others are refused with exception 1."""
        self._buffer = bytearray()
        self._is_out_of_step = False
        self._served = served & pdu.SERVED_FUNCTIONS

    def receive_data(self, data: bytes) -> list[TcpRequest]:
        """Every request that is complete now, in order.

        Raises RemoteProtocolError once a header cannot be one, at the next call if requests came before it; then for
        ever: the connection has to be closed.
        """
        found: list[TcpRequest] = []
        if not self._is_out_of_step:
            self._buffer += data
            try:
                while (adu := take_adu(self._buffer)) is not None:
                    found.append(TcpRequest(adu.number, self._read(adu)))
            except RemoteProtocolError:
                self._is_out_of_step = True
                self._buffer.clear()
        if self._is_out_of_step and not found:
            raise RemoteProtocolError("no Modbus frame begins here")
        return found

    def _read(self, adu: Adu) -> ServerFrame:
        return pdu.read_request(adu.unit, adu.body, raw=adu.raw, units=pdu.TCP_UNITS, served=self._served)

    @staticmethod
    def encode_reply(number: int, reply: BusReply) -> bytes:
        """A device's reply to transaction `number`. Raises LocalProtocolError for values that fit no reply."""
        pdu.require_replying_unit(reply, pdu.TCP_UNITS)
        return encode_adu(number, reply.unit, pdu.encode_reply_pdu(reply))
