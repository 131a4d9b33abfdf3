"""Properties of the RTU codec: round trips, splits anywhere, no input raises anything but RemoteProtocolError."""

from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given

from oht50d.codec.rtu import (
    MAX_FRAME_BYTES,
    MalformedFrame,
    ModbusClient,
    ModbusServer,
    crc16,
    encode_reply,
    encode_request,
    reply_length,
)
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.errors import RemoteProtocolError

WORDS = st.integers(0, 0xFFFF)
UNITS = st.integers(1, 247)
ADDRESSES = st.integers(0, 0x10000 - 125)
READS = st.builds(ReadRegisters, UNITS, ADDRESSES, st.integers(1, 125))
WRITES = st.builds(WriteRegister, UNITS, ADDRESSES, WORDS)
MANY = st.builds(WriteRegisters, UNITS, ADDRESSES, st.lists(WORDS, min_size=1, max_size=123).map(tuple))
REQUESTS = st.one_of(READS, WRITES, MANY)
CHUNKS = st.lists(st.binary(max_size=300), max_size=12)


@st.composite
def exchanges(draw: st.DrawFn) -> tuple[BusRequest, BusReply]:
    request = draw(REQUESTS)
    if draw(st.booleans()) and draw(st.booleans()):
        function = {ReadRegisters: 3, WriteRegister: 6, WriteRegisters: 16}[type(request)]
        return request, ExceptionReply(request.unit, function, draw(st.integers(1, 11)))
    if isinstance(request, ReadRegisters):
        words = draw(st.lists(WORDS, min_size=request.count, max_size=request.count))
        return request, ReadReply(request.unit, tuple(words))
    if isinstance(request, WriteRegister):
        return request, WriteReply(request.unit, request.address, 1, request.word)
    return request, WriteReply(request.unit, request.address, len(request.words), None)


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[first:last] for first, last in pairwise(edges)]


@given(exchanges(), st.lists(st.integers(0, 999), max_size=6))
def test_every_reply_comes_through_every_split_exactly_at_its_last_byte(
    exchange: tuple[BusRequest, BusReply], places: list[int]
) -> None:
    request, reply = exchange
    frame = encode_reply(reply)
    if not isinstance(reply, ExceptionReply):
        assert reply_length(request) == len(frame)
    client = ModbusClient()
    client.expect(request)
    pieces = [piece for piece in cut(frame, places) if piece]
    assert [client.receive_data(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [reply]


@given(st.lists(REQUESTS, max_size=4), st.lists(st.integers(0, 999), max_size=6))
def test_a_device_finds_every_request_in_every_split(requests: list[BusRequest], places: list[int]) -> None:
    stream = b"".join(encode_request(request) for request in requests)
    server = ModbusServer()
    found = [frame for piece in cut(stream, places) for frame in server.receive_data(piece)]
    assert found == requests


@given(exchanges(), st.integers(0, 254), st.integers(1, 255))
def test_one_damaged_byte_never_becomes_a_value(exchange: tuple[BusRequest, BusReply], place: int, mask: int) -> None:
    request, reply = exchange
    frame = bytearray(encode_reply(reply))
    frame[place % len(frame)] ^= mask
    client = ModbusClient()
    client.expect(request)
    try:
        received = client.receive_data(bytes(frame))
    except RemoteProtocolError:
        return
    assert received is None, "a frame with a damaged byte was taken for a reply"


@given(REQUESTS, CHUNKS)
def test_any_bytes_raise_only_remote_protocol_error(request: BusRequest, chunks: list[bytes]) -> None:
    client = ModbusClient()
    client.expect(request)
    for chunk in chunks:
        try:
            reply = client.receive_data(chunk)
        except RemoteProtocolError:
            client.expect(request)
            continue
        if reply is not None:
            assert not crc16(encode_reply(reply))
            client.expect(request)


@given(CHUNKS)
def test_a_device_survives_any_bytes_and_its_buffer_is_bounded(chunks: list[bytes]) -> None:
    server = ModbusServer()
    for chunk in chunks:
        for frame in server.receive_data(chunk):
            if isinstance(frame, MalformedFrame):
                assert len(frame.raw) <= 2 * MAX_FRAME_BYTES
    held = bytes(server._buffer)  # the bound on memory cannot be seen from outside
    assert len(held) <= MAX_FRAME_BYTES


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_crc_is_the_bitwise_definition(first: bytes, second: bytes) -> None:
    crc = 0xFFFF
    for octet in first + second:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    assert crc16(first + second) == crc
    frame = first + second + crc.to_bytes(2, "little")
    assert crc16(frame) == 0
