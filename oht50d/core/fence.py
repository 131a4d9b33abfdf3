"""The fence against late and repeated replies (ARCHITECTURE, The wire; owner: wire schedule).

A serial slave answers in order. After a time-out the reply may still come, so no request of the same shape (unit,
function, length) goes out until a valid reply of a shape that was not outstanding has proved that older ones are gone,
or until the unit was quiet for `max_late_ns`. Bytes that nobody asked for may be a reply that comes twice: the shape
that was answered last counts as outstanding then, and for a minute no two requests of one shape follow each other at
that unit. Polls of one shape and unit never follow each other directly on the line, so that no second copy fits.
"""

from typing import assert_never

from oht50d.codec.modbus_pdu.bits import bytes_of
from oht50d.model.bus import (
    BusRequest,
    DeviceIdAccess,
    MaskWriteRegister,
    ReadCoils,
    ReadDeviceIdentification,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadRequest,
    ReadWriteRegisters,
    RegisterWrite,
    ReportServerId,
    WriteCoil,
    WriteCoils,
    WriteRegister,
    WriteRegisters,
)

Shape = tuple[int, ...]

IDENTITY_FIRST = 0x0100
"""The system block that every module has (domain registers, 0x0100 to 0x0108): probes of nine lengths fit."""
IDENTITY_COUNT = 9

SUSPECT_NS = 60_000_000_000
"""For how long a unit that has sent what nobody asked for is asked with changing shapes only."""
COPY_NS = 20_000_000
"""A second copy of a reply comes within this time; what comes before the next frame is thrown away anyway."""


def shape_of(request: BusRequest) -> Shape:
    """(function, what its reply is checked for): two replies of one unit with equal shapes cannot be told apart."""
    if isinstance(request, ReadRegisters):
        return 3, request.count
    if isinstance(request, ReadRequest | ReadWriteRegisters):
        return _shape_of_contents(request)
    return _shape_of_echo(request)


def _shape_of_contents(request: ReadRequest | ReadWriteRegisters) -> Shape:
    """Replies that carry what was read: told apart by their length, or by what they say that they are."""
    match request:
        case ReadRegisters() | ReadInputRegisters():
            return request.function, request.count
        case ReadWriteRegisters():
            return request.function, request.read_count
        case ReadCoils() | ReadDiscreteInputs():
            # By bytes: a reply with more bits of the same bytes differs only if they are not zero.
            return request.function, bytes_of(request.count)
        case ReportServerId():
            return (request.function,)
        case ReadDeviceIdentification():
            # A stream may begin anywhere in the list, so its object number tells nothing.
            is_one = request.access is DeviceIdAccess.INDIVIDUAL
            return request.function, request.access, request.object_id if is_one else 0
        case _:
            assert_never(request)


def _shape_of_echo(request: RegisterWrite | WriteCoil | WriteCoils | MaskWriteRegister) -> Shape:
    """Replies that repeat their request."""
    match request:
        case WriteRegister() | WriteRegisters():
            return request.function, request.address
        case WriteCoil():
            return request.function, request.address, int(request.is_on)
        case WriteCoils():
            return request.function, request.address, len(request.bits)
        case MaskWriteRegister():
            return request.function, request.address, request.and_mask, request.or_mask
        case _:
            assert_never(request)


class Fence:
    """Outstanding shapes by unit; bounded by the number of shapes that are ever requested."""

    def __init__(self, max_late_ns: int) -> None:
        self._max_late_ns = max_late_ns
        self._outstanding: dict[int, dict[Shape, int]] = {}
        self._answered: dict[int, Shape] = {}
        self._suspect_until: dict[int, int] = {}
        self._last: tuple[int, Shape] | None = None
        self._last_ns = 0

    def missed(self, request: BusRequest, now_ns: int) -> None:
        """`request` timed out or was abandoned: its reply may still arrive."""
        self._outstanding.setdefault(request.unit, {})[shape_of(request)] = now_ns

    def answered(self, request: BusRequest) -> None:
        """A valid reply to a request whose shape was free: everything older is gone."""
        self._outstanding.pop(request.unit, None)
        self._answered[request.unit] = shape_of(request)

    def unexpected(self, unit: int, now_ns: int) -> None:
        """Bytes came that nobody waited for, most likely of `unit`."""
        shape = self._answered.get(unit)
        if shape is not None:
            self._outstanding.setdefault(unit, {})[shape] = now_ns
            self._suspect_until[unit] = now_ns + SUSPECT_NS

    def exchanged(self, request: BusRequest, now_ns: int) -> None:
        """The exchange that was made last on the line, whatever came of it."""
        self._last, self._last_ns = (request.unit, shape_of(request)), now_ns

    def follows_itself(self, request: BusRequest, now_ns: int) -> bool:
        """True if a second copy of the reply just received would pass for the reply to `request`."""
        return now_ns - self._last_ns < COPY_NS and self._last == (request.unit, shape_of(request))

    def is_free(self, request: BusRequest, now_ns: int) -> bool:
        """True if a reply to `request` could be neither a late nor a repeated one."""
        self._forget_old(request.unit, now_ns)
        shape = shape_of(request)
        is_suspect = now_ns < self._suspect_until.get(request.unit, 0)
        if is_suspect and shape == self._answered.get(request.unit):
            return False
        return shape not in self._outstanding.get(request.unit, {})

    def probe(self, unit: int, now_ns: int) -> ReadRegisters | None:
        """A harmless read whose shape is free; None if the unit must stay quiet first."""
        for count in range(1, IDENTITY_COUNT + 1):
            request = ReadRegisters(unit, IDENTITY_FIRST, count)
            if self.is_free(request, now_ns) and not self.follows_itself(request, now_ns):
                return request
        return None

    def _forget_old(self, unit: int, now_ns: int) -> None:
        shapes = self._outstanding.get(unit)
        if shapes is not None and now_ns - max(shapes.values()) >= self._max_late_ns:
            del self._outstanding[unit]
