"""How long exchanges take the wire (pure, no state).

Source: PERFORMANCE.md (RS485) and MODBUS over Serial Line V1.02, section 2.5.1.1: request, silence, turnaround of the
device, reply, silence.
"""

from collections.abc import Iterable

from attrs import frozen

from oht50d.codec.rtu import character_ns, encode_request, reply_length, silence_ns
from oht50d.core.poll_rates import RATES
from oht50d.model.bus import BusRequest
from oht50d.model.registers import RegisterBlock

READ_REQUEST_BYTES = 8
_READ_REPLY_BYTES = 5


@frozen
class LineSpeed:
    """A character and the silence between frames in nanoseconds; both 0 on a transport that has neither."""

    character_ns: int
    silence_ns: int

    @classmethod
    def of_baud(cls, baud: int) -> "LineSpeed":
        return cls(character_ns(baud), silence_ns(baud))

    def exchange_ns(self, octets: int, turnaround_ns: int) -> int:
        """The whole time that an exchange of so many bytes takes, both silences included."""
        return octets * self.character_ns + 2 * self.silence_ns + turnaround_ns

    def request_ns(self, request: BusRequest, turnaround_ns: int) -> int:
        """The whole time that one answered request takes."""
        return self.exchange_ns(len(encode_request(request)) + reply_length(request), turnaround_ns)

    def read_ns(self, count: int, turnaround_ns: int) -> int:
        """The whole time of reading `count` registers."""
        return self.exchange_ns(READ_REQUEST_BYTES + _READ_REPLY_BYTES + 2 * count, turnaround_ns)

    def turnaround_of_read(self, count: int, taken_ns: int) -> int:
        """The turnaround of a read whose reply was complete `taken_ns` after its first byte went out."""
        return taken_ns + self.silence_ns - self.read_ns(count, 0)

    def wait_ns(self, request: BusRequest, whole_ns: int) -> int:
        """`Slot.timeout_ns` with which an exchange, the silence after it included, ends after `whole_ns`."""
        return whole_ns - self.request_ns(request, 0) + self.silence_ns

    def whole_ns(self, request: BusRequest, timeout_ns: int) -> int:
        """What an exchange takes that nobody answers within `Slot.timeout_ns`."""
        return timeout_ns + self.request_ns(request, 0) - self.silence_ns


def transaction_ns(baud: int, request_bytes: int, reply_bytes: int, turnaround_ns: int) -> int:
    """The whole time that one exchange takes the wire."""
    return LineSpeed.of_baud(baud).exchange_ns(request_bytes + reply_bytes, turnaround_ns)


def block_ns(block: RegisterBlock, baud: int, turnaround_ns: int) -> int:
    """The time that reading one block takes the wire."""
    return LineSpeed.of_baud(baud).read_ns(block.count, turnaround_ns)


def worst_block_ns(blocks: Iterable[RegisterBlock], baud: int, turnaround_ns: int) -> int:
    """The longest that a stop can wait behind a poll; 0 without blocks."""
    return max((block_ns(block, baud, turnaround_ns) for block in blocks), default=0)


def plan_utilisation(
    blocks: Iterable[RegisterBlock], baud: int, turnaround_ns: int, *, is_moving: bool = True
) -> float:
    """The share of the wire (1.0 is all of it) that polling at the full rates takes."""
    return sum(
        block_ns(block, baud, turnaround_ns) / RATES[block.poll].period_ns(is_moving=is_moving) for block in blocks
    )
