"""Hypothesis strategies: every request, with a reply that a device may give to it; and streams cut anywhere."""

from itertools import pairwise

import hypothesis.strategies as st

from oht50d.model.bus import (
    BitsReply,
    BusReply,
    BusRequest,
    DeviceIdAccess,
    DeviceIdentificationReply,
    DeviceObject,
    ExceptionReply,
    MaskWriteRegister,
    MaskWriteReply,
    ReadCoils,
    ReadDeviceIdentification,
    ReadDiscreteInputs,
    ReadInputRegisters,
    ReadRegisters,
    ReadReply,
    ReadWriteRegisters,
    ReportServerId,
    ServerIdReply,
    WriteCoil,
    WriteCoilReply,
    WriteCoils,
    WriteCoilsReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)

OCTETS = st.integers(0, 0xFF)
WORDS = st.integers(0, 0xFFFF)
UNITS = st.integers(1, 247)
COUNTS = st.integers(1, 125)
BIT_COUNTS = st.integers(1, 2000)
EXCEPTION_CODES = st.integers(1, 11)
CHUNKS = st.lists(st.binary(max_size=300), max_size=12)
PLACES = st.lists(st.integers(0, 999), max_size=6)


def addresses(most: int) -> st.SearchStrategy[int]:
    """Addresses that leave room for `most` registers or bits."""
    return st.integers(0, 0x10000 - most)


def words(most: int, least: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(WORDS, min_size=least, max_size=most).map(tuple)


def bits(most: int, least: int = 1) -> st.SearchStrategy[tuple[bool, ...]]:
    """Long tuples of bits are cheap to draw out of one integer."""
    return st.integers(least, most).flatmap(
        lambda count: st.integers(0, (1 << count) - 1).map(
            lambda number: tuple(bool(number >> index & 1) for index in range(count))
        )
    )


WRITES: st.SearchStrategy[BusRequest] = st.one_of(
    st.builds(WriteRegister, UNITS, addresses(1), WORDS),
    st.builds(WriteRegisters, UNITS, addresses(123), words(123)),
    st.builds(WriteCoil, UNITS, addresses(1), st.booleans()),
    st.builds(WriteCoils, UNITS, addresses(1968), bits(1968)),
    st.builds(MaskWriteRegister, UNITS, addresses(1), WORDS, WORDS),
)
REQUESTS: st.SearchStrategy[BusRequest] = st.one_of(
    st.builds(ReadRegisters, UNITS, addresses(125), COUNTS),
    st.builds(ReadInputRegisters, UNITS, addresses(125), COUNTS),
    st.builds(ReadCoils, UNITS, addresses(2000), BIT_COUNTS),
    st.builds(ReadDiscreteInputs, UNITS, addresses(2000), BIT_COUNTS),
    WRITES,
    st.builds(ReportServerId, UNITS),
    st.builds(ReadWriteRegisters, UNITS, addresses(125), COUNTS, addresses(121), words(121)),
    st.builds(ReadDeviceIdentification, UNITS, st.sampled_from(DeviceIdAccess), OCTETS),
)
"""Every kind of request to one device."""


@st.composite
def device_objects(draw: st.DrawFn, request: ReadDeviceIdentification) -> DeviceIdentificationReply:
    """A list that fits one reply."""
    conformity = draw(OCTETS)
    if request.access is DeviceIdAccess.INDIVIDUAL:
        content = draw(st.binary(max_size=244))
        objects: tuple[DeviceObject, ...] = (DeviceObject(request.object_id, content),)
        return DeviceIdentificationReply(request.unit, request.access, conformity, None, objects)
    rooms = draw(st.lists(st.builds(DeviceObject, OCTETS, st.binary(max_size=60)), max_size=60))
    while sum(2 + len(entry.content) for entry in rooms) > 246:
        rooms.pop()
    next_object_id = draw(st.none() | OCTETS)
    return DeviceIdentificationReply(request.unit, request.access, conformity, next_object_id, tuple(rooms))


def normal_replies(request: BusRequest) -> st.SearchStrategy[BusReply]:
    """What a device that carries the request out may answer."""
    unit = request.unit
    match request:
        case ReadRegisters() | ReadInputRegisters():
            return words(request.count, request.count).map(lambda read: ReadReply(unit, read, request.function))
        case ReadWriteRegisters():
            return words(request.read_count, request.read_count).map(lambda read: ReadReply(unit, read, 23))
        case ReadCoils() | ReadDiscreteInputs():
            return bits(request.count, request.count).map(lambda read: BitsReply(unit, request.function, read))
        case ReportServerId():
            return st.binary(min_size=1, max_size=251).map(lambda content: ServerIdReply(unit, content))
        case ReadDeviceIdentification():
            return device_objects(request)
        case _:
            return st.just(echo_of(request))


def echo_of(
    request: WriteRegister | WriteRegisters | WriteCoil | WriteCoils | MaskWriteRegister,
) -> BusReply:
    """The reply to a write."""
    unit = request.unit
    match request:
        case WriteRegister():
            return WriteReply(unit, request.address, 1, request.word)
        case WriteRegisters():
            return WriteReply(unit, request.address, len(request.words), None)
        case WriteCoil():
            return WriteCoilReply(unit, request.address, request.is_on)
        case WriteCoils():
            return WriteCoilsReply(unit, request.address, len(request.bits))
        case MaskWriteRegister():
            return MaskWriteReply(unit, request.address, request.and_mask, request.or_mask)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[BusRequest, BusReply]:
    """A request and its reply, one in four an exception."""
    request = draw(REQUESTS)
    if draw(st.integers(0, 3)) == 0:
        return request, ExceptionReply(request.unit, request.function, draw(EXCEPTION_CODES))
    return request, draw(normal_replies(request))


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    """The same bytes in pieces; some may be empty."""
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[first:last] for first, last in pairwise(edges)]
