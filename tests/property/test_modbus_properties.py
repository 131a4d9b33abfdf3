"""Properties of the Modbus codec in both framings: round trips, splits anywhere, nothing but RemoteProtocolError."""

from itertools import count

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import assume, given
from modbus_strategies import CHUNKS, EXCEPTION_CODES, OCTETS, PLACES, REQUESTS, WRITES, cut, exchanges

from oht50d.codec.framing import Framing, RtuFraming, TcpFraming
from oht50d.codec.mbap import MAX_ADU_BYTES, TcpRequest, TcpServer
from oht50d.codec.modbus_pdu import continuation, decode_reply_pdu
from oht50d.codec.rtu import MAX_FRAME_BYTES, MalformedFrame, ModbusServer, crc16, encode_reply, encode_request
from oht50d.core.fence import shape_of
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    DeviceIdAccess,
    DeviceIdentificationReply,
    DeviceObject,
    ExceptionReply,
    ReadDeviceIdentification,
    ReadRegisters,
    ReportServerId,
)
from oht50d.model.errors import RemoteProtocolError

FRAMINGS = (RtuFraming, TcpFraming)
FRAMING_NAMES = ("rtu", "tcp")
VARIABLE = (ReportServerId, ReadDeviceIdentification)
both_framings = pytest.mark.parametrize("kind", FRAMINGS, ids=FRAMING_NAMES)


def reply_frame(framing: Framing, request_frame: bytes, reply: BusReply) -> bytes:
    """What a device on the other end sends."""
    if isinstance(framing, RtuFraming):
        return encode_reply(reply)
    return TcpServer.encode_reply(int.from_bytes(request_frame[:2], "big"), reply)


def ask(framing: Framing, request: BusRequest) -> bytes:
    frame = framing.encode(request)
    framing.expect(request)
    return frame


@both_framings
@given(exchanges(), PLACES)
def test_every_reply_comes_through_every_split_exactly_at_its_last_byte(
    kind: type[RtuFraming | TcpFraming], exchange: tuple[BusRequest, BusReply], places: list[int]
) -> None:
    request, reply = exchange
    framing = kind()
    frame = reply_frame(framing, ask(framing, request), reply)
    if isinstance(request, VARIABLE):
        assert len(frame) <= framing.reply_bytes(request)
    elif not isinstance(reply, ExceptionReply):
        assert len(frame) == framing.reply_bytes(request)
    pieces = [piece for piece in cut(frame, places) if piece]
    assert [framing.receive_data(piece) for piece in pieces] == [None] * (len(pieces) - 1) + [reply]


@given(st.lists(REQUESTS | WRITES.map(lambda write: evolve(write, unit=0)), max_size=4), PLACES)
def test_a_device_finds_every_request_in_every_split(requests: list[BusRequest], places: list[int]) -> None:
    stream = b"".join(encode_request(request) for request in requests)
    server = ModbusServer()
    assert [frame for piece in cut(stream, places) for frame in server.receive_data(piece)] == requests


@given(st.lists(REQUESTS | WRITES.map(lambda write: evolve(write, unit=0)), max_size=4), PLACES)
def test_a_tcp_device_finds_every_request_with_its_number_in_every_split(
    requests: list[BusRequest], places: list[int]
) -> None:
    framing = TcpFraming()
    stream = b"".join(framing.encode(request) for request in requests)
    server = TcpServer()
    found = [entry for piece in cut(stream, places) for entry in server.receive_data(piece)]
    assert found == [TcpRequest(number, request) for number, request in zip(count(1), requests, strict=False)]


@given(exchanges(), st.integers(0, 254), st.integers(1, 255))
def test_one_damaged_byte_never_becomes_a_value(exchange: tuple[BusRequest, BusReply], place: int, mask: int) -> None:
    request, reply = exchange
    frame = bytearray(encode_reply(reply))
    frame[place % len(frame)] ^= mask
    framing = RtuFraming()
    framing.expect(request)
    try:
        received = framing.receive_data(bytes(frame))
    except RemoteProtocolError:
        return
    assert received is None, "a frame with a damaged byte was taken for a reply"


@both_framings
@given(REQUESTS, CHUNKS)
def test_any_bytes_raise_only_remote_protocol_error(
    kind: type[RtuFraming | TcpFraming], request: BusRequest, chunks: list[bytes]
) -> None:
    framing = kind()
    ask(framing, request)
    for chunk in chunks:
        try:
            reply = framing.receive_data(chunk)
        except RemoteProtocolError:
            ask(framing, request)
            continue
        if reply is not None:
            assert reply_frame(framing, ask(framing, request), reply)
        held = framing._buffer  # the bound on memory cannot be seen from outside
        assert len(held) < (MAX_FRAME_BYTES if kind is RtuFraming else MAX_ADU_BYTES)


@given(REQUESTS, st.binary(max_size=253))
def test_any_body_is_a_reply_or_remote_protocol_error(request: BusRequest, body: bytes) -> None:
    for pdu in (body, bytes((request.function,)) + body[1:], bytes((request.function | 0x80,)) + body[1:]):
        try:
            reply = decode_reply_pdu(request, pdu)
        except RemoteProtocolError:
            continue
        assert reply.unit == request.unit
        assert reply.function == request.function


@given(CHUNKS)
def test_a_device_survives_any_bytes_and_its_buffer_is_bounded(chunks: list[bytes]) -> None:
    server = ModbusServer()
    for chunk in chunks:
        for frame in server.receive_data(chunk):
            if isinstance(frame, MalformedFrame):
                assert len(frame.raw) <= 2 * MAX_FRAME_BYTES
    assert len(server._buffer) <= MAX_FRAME_BYTES  # the bound on memory cannot be seen from outside


BODIES = st.lists(st.tuples(st.integers(0, 255), OCTETS, st.binary(min_size=1, max_size=252)), max_size=4)


@given(BODIES)
def test_a_device_answers_any_body_in_a_good_frame(bodies: list[tuple[int, int, bytes]]) -> None:
    """Whatever the CRC or the header lets through is a request, or a refusal that tells the device what to do."""
    tcp = TcpServer()
    for unit, function, body in bodies:
        pdu = bytes((function,)) + body[1:]
        adu = (7).to_bytes(2, "big") + bytes(2) + (1 + len(pdu)).to_bytes(2, "big") + bytes((unit,)) + pdu
        (received,) = tcp.receive_data(adu)
        assert received.number == 7
        if isinstance(received.frame, MalformedFrame):
            assert received.frame.raw == adu
            assert received.frame.exception_code in (None, 1, 2, 3)
        else:
            assert TcpFraming().encode(received.frame)[6:] == adu[6:], "another request would give the same bytes"
        frame = bytes((unit,)) + pdu
        for rtu_frame in ModbusServer().receive_data(frame + crc16(frame).to_bytes(2, "little")):
            if not isinstance(rtu_frame, MalformedFrame):
                assert encode_request(rtu_frame)[:-2] == frame[: len(encode_request(rtu_frame)) - 2]


@given(CHUNKS)
def test_a_tcp_device_survives_any_bytes_and_its_buffer_is_bounded(chunks: list[bytes]) -> None:
    server = TcpServer()
    for chunk in chunks:
        try:
            server.receive_data(chunk)
        except RemoteProtocolError:
            with pytest.raises(RemoteProtocolError):
                server.receive_data(b"")
        assert len(server._buffer) < MAX_ADU_BYTES  # the bound on memory cannot be seen from outside


@given(exchanges(), exchanges(), EXCEPTION_CODES, PLACES)
def test_a_late_tcp_reply_is_never_taken(
    first: tuple[BusRequest, BusReply], second: tuple[BusRequest, BusReply], code: int, places: list[int]
) -> None:
    """Even one that answers the very request that is outstanding now, word for word."""
    framing = TcpFraming()
    late = reply_frame(framing, ask(framing, first[0]), first[1])
    twin = TcpServer.encode_reply(2, ExceptionReply(second[0].unit, second[0].function, code))
    ask(framing, second[0])  # 2 timed out as well
    answer = reply_frame(framing, ask(framing, second[0]), second[1])
    pieces = cut(late + twin + answer + twin, places)
    replies = [reply for piece in pieces if (reply := framing.receive_data(piece)) is not None]
    assert replies == [second[1]]
    assert framing.late_replies == 3


@given(
    st.dictionaries(OCTETS, st.binary(max_size=50), min_size=1, max_size=40),
    st.sampled_from([DeviceIdAccess.BASIC, DeviceIdAccess.REGULAR, DeviceIdAccess.EXTENDED]),
    st.integers(1, 5),
)
def test_a_list_of_any_length_is_read_to_its_end(table: dict[int, bytes], access: DeviceIdAccess, most: int) -> None:
    """A device that gives at most `most` objects at a time; every object is read once, in a bounded number of turns."""
    framing = RtuFraming()
    request: ReadDeviceIdentification | None = ReadDeviceIdentification(9, access)
    found: list[DeviceObject] = []
    for _ in range(len(table)):
        assert request is not None
        left = [DeviceObject(key, table[key]) for key in sorted(table) if key >= request.object_id]
        next_id = left[most].object_id if len(left) > most else None
        framing.expect(request)
        reply = framing.receive_data(
            encode_reply(DeviceIdentificationReply(9, access, 0x83, next_id, tuple(left[:most])))
        )
        assert isinstance(reply, DeviceIdentificationReply)
        found += reply.objects
        request = continuation(request, reply)
        if request is None:
            break
    assert request is None
    assert found == [DeviceObject(key, table[key]) for key in sorted(table)]


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
    assert crc16(bytearray(frame)) == 0


@given(st.integers(1, 247), st.integers(1, 125), st.data())
def test_a_whole_read_goes_the_short_way_to_the_same_end(unit: int, size: int, data: st.DataObject) -> None:
    """Function 3 in one piece is judged in one place of its own: it must refuse what the general rules refuse."""
    request = ReadRegisters(unit, 0, size)
    words = data.draw(st.lists(st.integers(0, 0xFFFF), min_size=size, max_size=size))
    body = bytearray((unit, 3, 2 * size)) + b"".join(word.to_bytes(2, "big") for word in words)
    place, mask = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 255))
    body[place] ^= mask
    frame = bytes(body) + crc16(body).to_bytes(2, "little")
    outcomes = []
    for pieces in ([frame], [frame[:1], frame[1:]], [frame[:-1], frame[-1:]]):
        framing = RtuFraming()
        framing.expect(request)
        try:
            outcomes.append([framing.receive_data(piece) for piece in pieces][-1])
        except RemoteProtocolError:
            outcomes.append(None)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert (outcomes[0] is None) == (mask != 0 and place < 3)


@given(exchanges(), exchanges())
def test_a_late_reply_of_another_shape_is_never_taken(
    first: tuple[BusRequest, BusReply], second: tuple[BusRequest, BusReply]
) -> None:
    """What the fence relies on: replies that it can tell apart are told apart by the codec."""
    late_request, late = first
    asked = evolve(second[0], unit=late_request.unit)
    assume(not isinstance(late, ExceptionReply) and shape_of(asked) != shape_of(late_request))
    framing = RtuFraming()
    framing.expect(asked)
    with pytest.raises(RemoteProtocolError):
        for octet in encode_reply(late) + bytes(MAX_FRAME_BYTES):
            assert framing.receive_data(bytes((octet,))) is None
