"""Requests as a device hears them: where one ends, what it asks, and what is refused (no state).

Source: MODBUS Application Protocol Specification V1.1b3, section 6 (lengths, and the order of checks in its figures:
function, count, address) and section 7 (exceptions 1 to 3). Functions that are not served are delimited too, so that
the requests behind them are found.
"""

from collections.abc import Callable, Mapping

from attrs import frozen

from oht50d.codec.modbus_pdu import bits, identity, words
from oht50d.codec.modbus_pdu.limits import (
    ILLEGAL_FUNCTION,
    ILLEGAL_VALUE,
    RequestRefused,
    is_addressable,
)
from oht50d.model.bus import BusRequest


@frozen
class MalformedFrame:
    """Bytes that are no request a device serves. `exception_code` is what a device answers; None: it stays silent."""

    raw: bytes
    why: str
    exception_code: int | None = None


ServerFrame = BusRequest | MalformedFrame

_FIXED_BYTES: Mapping[int, int] = dict.fromkeys(range(1, 7), 5) | {7: 1, 8: 5, 11: 1, 12: 1, 17: 1, 22: 7, 24: 3, 43: 4}
_COUNTED_BYTES: Mapping[int, tuple[int, int]] = {15: (5, 6), 16: (5, 6), 20: (1, 2), 21: (1, 2), 23: (9, 10)}
"""Where the byte count stands, and the bytes of the PDU without what it counts."""

_DECODERS: Mapping[int, Callable[[int, bytes], BusRequest]] = {
    1: bits.decode_read,
    2: bits.decode_read,
    3: words.decode_read,
    4: words.decode_read,
    5: bits.decode_write,
    6: words.decode_write,
    15: bits.decode_write_many,
    16: words.decode_write_many,
    17: identity.decode_report,
    22: words.decode_mask_write,
    23: words.decode_read_write,
    43: identity.decode_identification,
}
SERVED_FUNCTIONS = frozenset(_DECODERS)


def request_length(pdu: bytes | bytearray) -> int | None:
    """Bytes of the request that begins like this, the least so far if its count is not in yet; None if unknown."""
    fixed = _FIXED_BYTES.get(pdu[0])
    if fixed is not None:
        return fixed
    counted = _COUNTED_BYTES.get(pdu[0])
    if counted is None:
        return None
    position, overhead = counted
    return overhead + pdu[position] if len(pdu) > position else overhead


def read_request(unit: int, pdu: bytes, *, raw: bytes, units: frozenset[int], served: frozenset[int]) -> ServerFrame:
    """One whole PDU as a request, or what a device that serves these functions would refuse; `raw` is its frame."""
    try:
        if not is_addressable(unit, pdu[0], units):
            raise RequestRefused(f"unit {unit} and function {pdu[0]} address nobody", None)
        if pdu[0] not in served:
            raise RequestRefused(f"function {pdu[0]} is not served", ILLEGAL_FUNCTION)
        if len(pdu) != request_length(pdu):
            raise RequestRefused(f"{len(pdu)} bytes are no request of function {pdu[0]}", ILLEGAL_VALUE)
        return _DECODERS[pdu[0]](unit, pdu)
    except RequestRefused as refusal:
        return MalformedFrame(raw, str(refusal), refusal.exception_code)
