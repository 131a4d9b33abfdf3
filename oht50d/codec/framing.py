"""How requests become bytes on a transport and bytes replies: the seam between the line and the codecs (no state)."""

from typing import Protocol

from oht50d.codec.rtu import ModbusClient, encode_request, reply_length
from oht50d.model.bus import BusReply, BusRequest


class Framing(Protocol):
    """The master's half of one connection: at most one outstanding request."""

    def encode(self, request: BusRequest) -> bytes:
        """The whole frame. Raises LocalProtocolError if the protocol does not allow it."""
        ...

    def expect(self, request: BusRequest) -> None:
        """Wait for the reply to `request` from now on; what was outstanding or buffered is forgotten."""
        ...

    def receive_data(self, data: bytes) -> BusReply | None:
        """The reply once its last byte is in. Raises RemoteProtocolError, or ReplyMismatch for another's reply."""
        ...

    def reply_bytes(self, request: BusRequest) -> int:
        """Bytes of the normal reply's frame, at most; 0 for a broadcast."""
        ...


class RtuFraming(ModbusClient):
    """RTU frames, on a serial line or in a stream (RTU over TCP)."""

    __slots__ = ()

    @staticmethod
    def encode(request: BusRequest) -> bytes:
        return encode_request(request)

    @staticmethod
    def reply_bytes(request: BusRequest) -> int:
        return reply_length(request)
