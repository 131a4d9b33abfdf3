"""The fence against late replies (ARCHITECTURE, The wire; owner: wire schedule).

A serial slave answers in order. After a time-out the reply may still come, so no request of the same shape (unit,
function, length) goes out until a valid reply of a shape that was not outstanding has proved that older ones are gone,
or until the unit was quiet for `max_late_ns`.
"""

from oht50d.model.bus import BusRequest, ReadRegisters, WriteRegister

Shape = tuple[int, int]

IDENTITY_FIRST = 0x0100
"""The system block that every module has (domain registers, 0x0100 to 0x0108): probes of nine lengths fit."""
IDENTITY_COUNT = 9


def shape_of(request: BusRequest) -> Shape:
    """(function, length or address): two replies of one unit with equal shapes cannot be told apart."""
    if isinstance(request, ReadRegisters):
        return 3, request.count
    return (6 if isinstance(request, WriteRegister) else 16), request.address


class Fence:
    """Outstanding shapes by unit; bounded by the number of shapes that are ever requested."""

    def __init__(self, max_late_ns: int) -> None:
        self._max_late_ns = max_late_ns
        self._outstanding: dict[int, dict[Shape, int]] = {}

    def missed(self, request: BusRequest, now_ns: int) -> None:
        """`request` timed out or was abandoned: its reply may still arrive."""
        self._outstanding.setdefault(request.unit, {})[shape_of(request)] = now_ns

    def answered(self, request: BusRequest) -> None:
        """A valid reply to a request whose shape was free: everything older is gone."""
        self._outstanding.pop(request.unit, None)

    def is_free(self, request: BusRequest, now_ns: int) -> bool:
        """True if a reply to `request` could not be a late one."""
        self._forget_old(request.unit, now_ns)
        return shape_of(request) not in self._outstanding.get(request.unit, {})

    def probe(self, unit: int, now_ns: int) -> ReadRegisters | None:
        """A harmless read whose shape is free; None if the unit must stay quiet first."""
        for count in range(1, IDENTITY_COUNT + 1):
            request = ReadRegisters(unit, IDENTITY_FIRST, count)
            if self.is_free(request, now_ns):
                return request
        return None

    def _forget_old(self, unit: int, now_ns: int) -> None:
        shapes = self._outstanding.get(unit)
        if shapes is not None and now_ns - max(shapes.values()) >= self._max_late_ns:
            del self._outstanding[unit]
