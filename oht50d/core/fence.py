"""The fence against late and repeated replies (ARCHITECTURE, The wire; owner: wire schedule).

Assumed is what a serial line does: the replies of one unit come in the order of its requests; each may be late by any
time, damaged, or lost. A shape (function and length) waits from the moment when a request of it goes out. A reply of
a shape that nothing older waits for answers the present request, and everything older is gone: such a reply is *exact*.
Only exact replies carry values, and nothing is freed by time. A shape that waits is asked for only after a probe of
another one: a harmless read that is repeated, always the same, until it is answered. Whichever of its repeats the
answer belongs to, all that went out before the first one is gone; so a unit never runs out of shapes, however long it
was dead.

A unit that has sent what nobody waited for may send replies twice: for a minute the shape that was answered last waits
too, so that no two requests of one shape follow each other at that unit and a copy that comes in order fits nowhere.
"""

from collections.abc import Mapping
from typing import assert_never

from attrs import define, evolve, field

from oht50d.codec.modbus_pdu.bits import bytes_of
from oht50d.codec.rtu import crc16
from oht50d.model.bus import (
    BusRequest,
    DeviceIdAccess,
    ExceptionReply,
    ExchangeResult,
    Failure,
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
"""The system block that every module has (domain registers, 0x0100 to 0x0108); a map may say better."""
IDENTITY_COUNT = 9
EXCEPTION_FLAG = 0x80
SHORTEST_FRAME_BYTES = 5
"""Application protocol V1.1b3, section 7: a refusal is the function code with its highest bit, and one byte."""
MAX_SHAPES = 64
"""Shapes of one unit that may wait at a time; beyond that it gets probes only."""

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


@define
class _Span:
    """The oldest and the newest request of one shape whose replies may still come, by number."""

    first: int
    last: int


@define
class _UnitLine:
    """What may still come from one unit. `waiting` holds the present request too, from sending to its reply."""

    waiting: dict[Shape, _Span] = field(factory=dict)
    number: int = 0
    current: Shape | None = None
    answered: tuple[Shape, int] | None = None
    suspect_until_ns: int = 0

    def send(self, shape: Shape) -> None:
        number = self.number = self.number + 1
        self.current = shape
        span = self.waiting.get(shape)
        if span is None:
            self.waiting[shape] = _Span(number, number)
        else:
            span.last = number

    def accept(self, shape: Shape, now_ns: int) -> bool:
        """A reply of this shape came; True if it is exact."""
        span = self.waiting.get(shape)
        if span is None:
            return False
        if span.first == self.number:
            self._settle(shape, now_ns)
            return True
        self._drop_older(span.first)
        return False

    def accept_refusal(self, function: int, now_ns: int) -> bool:
        """An exception of this function came; True if it is exact.

        Any request of the function may have caused it. It answers the oldest of them or a later one, so the oldest is
        gone unless replies come twice.
        """
        refusal = (function | EXCEPTION_FLAG,)
        causes = [shape for shape in self.waiting if shape[0] == function and self.is_unanswered(shape)]
        causes += [refusal] * (refusal in self.waiting)
        if not causes:
            return False
        shape = min(causes, key=lambda shape: self.waiting[shape].first)
        oldest = self.waiting[shape]
        if oldest.first == self.number:
            self._settle(refusal, now_ns)
            return True
        if now_ns >= self.suspect_until_ns:
            self._drop_older(oldest.first)
            if oldest.first == oldest.last:
                del self.waiting[shape]
        return False

    def suspect(self, now_ns: int) -> None:
        """A reply that nobody waits for: a late one if any is due, else what was answered last comes again."""
        is_late = any(span.first < self.number or shape != self.current for shape, span in self.waiting.items())
        if self.answered is None or (is_late and now_ns >= self.suspect_until_ns):
            return
        shape, number = self.answered
        span = self.waiting.setdefault(shape, _Span(number, number))
        span.first = min(span.first, number)
        self.suspect_until_ns = now_ns + SUSPECT_NS

    def is_unanswered(self, shape: Shape) -> bool:
        """True if a request of this shape waits that was not answered, so more than a copy."""
        span = self.waiting.get(shape)
        return span is not None and (shape, span.last) != self.answered

    def _settle(self, shape: Shape, now_ns: int) -> None:
        """An exact reply: nothing may come any more but, from a unit that is suspect, this one again."""
        self.waiting.clear()
        self.answered = shape, self.number
        if now_ns < self.suspect_until_ns:
            self.waiting[shape] = _Span(self.number, self.number)

    def _drop_older(self, number: int) -> None:
        """Replies come in order: what was asked before `number` is gone."""
        self.waiting = {shape: span for shape, span in self.waiting.items() if span.last >= number}


class Fence:
    """The shapes that wait, by unit; bounded by `MAX_SHAPES` of each unit."""

    def __init__(self) -> None:
        self._probe_reads: dict[int, ReadRegisters] = {}
        self._units: dict[int, _UnitLine] = {}
        self._last: tuple[int, Shape] | None = None
        self._last_ns = 0

    def probe_with(self, read: ReadRegisters) -> None:
        """Beginnings of this read, which its unit is known to answer, are the probes for it."""
        self._probe_reads[read.unit] = read

    def sent(self, request: BusRequest) -> None:
        """`request` goes out now: its reply may come at any time, even if the port is closed before."""
        if request.unit:
            self._line(request.unit).send(shape_of(request))

    def attributed(self, result: ExchangeResult) -> ExchangeResult:
        """The outcome of the request that was sent last, with the failure `FENCED` in place of a reply that may belong
        to an older request.

        An echo that is not exact is left as it is: what was written is judged by its read-back.
        """
        request, reply = result.request, result.reply
        shape = shape_of(request)
        self._last, self._last_ns = (request.unit, shape), result.ended_ns
        line = self._line(request.unit)
        line.current = None
        if reply is None or not request.unit:
            return result
        if isinstance(reply, ExceptionReply):
            is_exact = line.accept_refusal(shape[0], result.ended_ns)
        else:
            is_exact = line.accept(shape, result.ended_ns) or not isinstance(request, ReadRequest | ReadWriteRegisters)
        return result if is_exact else evolve(result, reply=None, failure=Failure.FENCED)

    def unexpected(self, octets: bytes, now_ns: int) -> None:
        """Bytes came that nobody waited for: a whole reply of a known unit is late or comes twice."""
        if len(octets) >= SHORTEST_FRAME_BYTES and octets[0] in self._units and not crc16(octets):
            self._units[octets[0]].suspect(now_ns)

    def follows_itself(self, request: BusRequest, now_ns: int) -> bool:
        """True if a second copy of the reply just received would pass for the reply to `request`."""
        return now_ns - self._last_ns < COPY_NS and self._last == (request.unit, shape_of(request))

    def is_free(self, request: BusRequest) -> bool:
        """True if a reply to `request` would be exact."""
        line = self._units.get(request.unit)
        return line is None or (shape_of(request) not in line.waiting and len(line.waiting) < MAX_SHAPES)

    def is_suspect(self, unit: int, now_ns: int) -> bool:
        """True while a unit is taken for one whose replies may come twice."""
        return unit in self._units and now_ns < self._units[unit].suspect_until_ns

    def probe(self, wanted: BusRequest, now_ns: int) -> ReadRegisters:
        """The harmless read of another shape whose answer frees `wanted`: the one that is being repeated, else a free
        one."""
        line = self._line(wanted.unit)
        reads = [read for read in self._probes(wanted.unit) if shape_of(read) != shape_of(wanted)]
        repeated = [read for read in reads if line.is_unanswered(shape_of(read))]
        repeated.sort(key=lambda read: line.waiting[shape_of(read)].first)
        if repeated and self._is_newest(line.waiting, shape_of(repeated[-1])):
            return repeated[-1]
        for read in reads:
            if self.is_free(read) and not self.follows_itself(read, now_ns):
                return read
        return repeated[-1] if repeated else reads[0]

    @staticmethod
    def _is_newest(waiting: Mapping[Shape, _Span], shape: Shape) -> bool:
        """True if an answer of `shape` proves that everything else is gone."""
        first = waiting[shape].first
        return all(span.last < first for other, span in waiting.items() if other != shape)

    def _probes(self, unit: int) -> list[ReadRegisters]:
        """One a length: of what the unit is known to answer, and beyond that of what every module should have."""
        known = self._probe_reads.get(unit, ReadRegisters(unit, IDENTITY_FIRST, IDENTITY_COUNT))
        longest = max(known.count, IDENTITY_COUNT)
        firsts = {count: known.address if count <= known.count else IDENTITY_FIRST for count in range(1, longest + 1)}
        return [ReadRegisters(unit, first, count) for count, first in firsts.items()]

    def _line(self, unit: int) -> _UnitLine:
        return self._units.setdefault(unit, _UnitLine())
