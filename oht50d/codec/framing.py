"""The seam between the bus owner and the ways to frame Modbus on a wire (no state of its own).

| transport | framing |
|---|---|
| serial line | `RtuFraming` |
| RTU over TCP: the serial line's frames, CRC and all, in a stream | `RtuFraming` |
| Modbus TCP | `TcpFraming` |

Sources: MODBUS over Serial Line V1.02, section 2.5.1; MODBUS Messaging on TCP/IP V1.0b, section 3.1.3. RTU over TCP is
no standard; gateways that pass frames through unchanged speak it.
"""

from typing import Protocol

from oht50d.codec.mbap import TcpFraming
from oht50d.codec.rtu import RtuFraming
from oht50d.model.bus import BusReply, BusRequest

__all__ = ["Framing", "RtuFraming", "TcpFraming"]


class Framing(Protocol):
    """The master's half of one link. For each exchange: `encode`, send, `expect`, then `receive_data` until it answers.

    A broadcast is encoded and sent, and nothing is expected.
    """

    @property
    def is_numbered(self) -> bool:
        """True if replies bear the number of their request.

        Then a late reply is known for what it is and no fence is needed; and every byte that arrives has to be given to
        `receive_data`, also between two exchanges, because a byte that is thrown away puts the stream out of step.
        """
        ...

    @property
    def late_replies(self) -> int:
        """Replies that were skipped because their number is an older one; 0 without numbers."""
        ...

    def encode(self, request: BusRequest) -> bytes:
        """The bytes to send. Raises LocalProtocolError if the protocol does not allow the request."""
        ...

    def reply_bytes(self, request: BusRequest) -> int:
        """Bytes of the reply on the wire, for time-outs: exact, or the most it can have where the device chooses."""
        ...

    def expect(self, request: BusRequest) -> None:
        """Wait for the reply to the request that was encoded last. Raises LocalProtocolError for a broadcast."""
        ...

    def receive_data(self, data: bytes) -> BusReply | None:
        """The reply once it is whole, None before. Raises ReplyMismatch for the reply to something else, and
        RemoteProtocolError for anything that is no reply; then nothing is outstanding."""
        ...

    def reset(self) -> None:
        """Forget the outstanding request and every buffered byte: the link is a new one, or its input was dropped."""
        ...
