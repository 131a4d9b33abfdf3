"""The Modbus RTU codec against golden frames and against every shape that a reply must not have."""

import json
from pathlib import Path
from typing import Any

import pytest

from oht50d.codec import modbus_pdu
from oht50d.codec.rtu import (
    MAX_FRAME_BYTES,
    MalformedFrame,
    ModbusServer,
    ReplyMismatch,
    RtuFraming,
    begins_with_frame,
    character_ns,
    crc16,
    encode_reply,
    encode_request,
    reply_length,
    silence_ns,
)
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    DeviceIdAccess,
    DeviceIdentificationReply,
    DeviceObject,
    ExceptionReply,
    ReadCoils,
    ReadDeviceIdentification,
    ReadRegisters,
    ReadReply,
    ReportServerId,
    ServerIdReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "modbus_rtu.json").read_text())
READ = ReadRegisters(17, 107, 3)
READ_FRAME = bytes.fromhex("11 03 06 02 2B 00 00 00 64 C8 BA")


def request_of(entry: dict[str, Any]) -> BusRequest:
    match entry["kind"]:
        case "read":
            return ReadRegisters(entry["unit"], entry["address"], entry["count"])
        case "write":
            return WriteRegister(entry["unit"], entry["address"], entry["word"])
        case _:
            return WriteRegisters(entry["unit"], entry["address"], tuple(entry["words"]))


def reply_of(unit: int, entry: dict[str, Any]) -> BusReply:
    match entry["kind"]:
        case "read":
            return ReadReply(unit, tuple(entry["words"]))
        case "write":
            return WriteReply(unit, entry["address"], entry["count"], entry["word"])
        case _:
            return ExceptionReply(unit, entry["function"], entry["code"])


def with_crc(body: bytes) -> bytes:
    return body + crc16(body).to_bytes(2, "little")


def receive(request: BusRequest, frame: bytes) -> BusReply | None:
    client = RtuFraming()
    client.expect(request)
    return client.receive_data(frame)


@pytest.mark.parametrize("entry", GOLDEN["crc"], ids=lambda entry: entry["source"])
def test_crc_of_the_standard(entry: dict[str, str]) -> None:
    assert crc16(bytes.fromhex(entry["bytes"])) == int(entry["crc"], 16)


def test_crc_of_more_bytes_than_a_frame_continues_the_same_sum() -> None:
    def bitwise(octets: bytes) -> int:
        crc = 0xFFFF
        for octet in octets:
            crc ^= octet
            for _ in range(8):
                crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
        return crc

    for length in (255, 256, 257, 258, 1001):
        octets = bytes(index * 7 & 0xFF for index in range(length))
        assert crc16(octets) == bitwise(octets)


@pytest.mark.parametrize("entry", GOLDEN["exchanges"], ids=lambda entry: entry["source"])
def test_golden_exchange_in_both_directions(entry: dict[str, Any]) -> None:
    request = request_of(entry["request"])
    reply = reply_of(request.unit, entry["reply"])
    request_frame, reply_frame = bytes.fromhex(entry["request_frame"]), bytes.fromhex(entry["reply_frame"])
    assert encode_request(request) == request_frame
    assert encode_reply(reply) == reply_frame
    assert ModbusServer.encode_reply(reply) == reply_frame
    assert receive(request, reply_frame) == reply
    assert ModbusServer().receive_data(request_frame) == [request]
    if not isinstance(reply, ExceptionReply):
        assert reply_length(request) == len(reply_frame)


def test_longest_frames_fit_the_limit() -> None:
    assert reply_length(ReadRegisters(1, 0, 125)) == 255
    assert len(encode_request(WriteRegisters(1, 0, (0,) * 123))) == 255 <= MAX_FRAME_BYTES


@pytest.mark.parametrize(
    "request_",
    [
        ReadRegisters(0, 0, 1),
        ReadRegisters(248, 0, 1),
        ReadRegisters(1, 0, 0),
        ReadRegisters(1, 0, 126),
        ReadRegisters(1, -1, 1),
        ReadRegisters(1, 0xFFFF, 2),
        WriteRegister(-1, 0, 0),
        WriteRegister(1, 0x10000, 0),
        WriteRegister(1, 0, 0x10000),
        WriteRegister(1, 0, -1),
        WriteRegisters(1, 0, ()),
        WriteRegisters(1, 0, (0,) * 124),
        WriteRegisters(1, 0, (0, 65536)),
        WriteRegisters(1, 0xFFFF, (0, 0)),
    ],
)
def test_what_the_protocol_forbids_is_not_encoded(request_: BusRequest) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request(request_)


@pytest.mark.parametrize(
    "reply",
    [
        ReadReply(0, (1,)),
        ReadReply(248, (1,)),
        ReadReply(1, ()),
        ReadReply(1, (0x10000,)),
        WriteReply(1, 0, 0, None),
        WriteReply(1, 0, 1, 0x10000),
        ExceptionReply(1, 0, 1),
        ExceptionReply(1, 0x83, 1),
        ExceptionReply(1, 3, 0),
        ExceptionReply(1, 3, 12),
    ],
)
def test_what_no_device_may_answer_is_not_encoded(reply: BusReply) -> None:
    with pytest.raises(LocalProtocolError):
        encode_reply(reply)


def test_broadcast_is_encoded_but_has_no_reply() -> None:
    broadcast = WriteRegister(0, 1, 2)
    assert encode_request(broadcast)[0] == 0
    assert reply_length(broadcast) == 0
    with pytest.raises(LocalProtocolError):
        RtuFraming().expect(broadcast)


@pytest.mark.parametrize("cut", range(1, len(READ_FRAME)))
def test_reply_split_at_any_byte(cut: int) -> None:
    client = RtuFraming()
    client.expect(READ)
    assert client.receive_data(READ_FRAME[:cut]) is None
    assert client.receive_data(b"") is None
    assert client.receive_data(READ_FRAME[cut:]) == ReadReply(17, (555, 0, 100))


def test_exception_is_recognised_before_the_normal_length_is_in() -> None:
    reply = receive(ReadRegisters(10, 1185, 40), bytes.fromhex("0A 83 02 B1 33"))
    assert reply == ExceptionReply(10, 3, 2)


@pytest.mark.parametrize(
    ("request_", "body", "words"),
    [
        (READ, "12", "unit 18 instead of 17"),
        (READ, "11 04", "function 4 instead of 3"),
        (READ, "11 86", "function 134 instead of 3"),
        (READ, "11 03 04", "byte count 4 instead of 6"),
        (READ, "12 03 06 02 2B 00 00 00 64", "unit 18 instead of 17"),
        (READ, "11 04 06 02 2B 00 00 00 64", "function 4 instead of 3"),
        (READ, "11 03 04 02 2B 00 00 00 64", "byte count 4 instead of 6"),
        (READ, "11 83 0C", "exception code 12"),
        (READ, "11 83 00", "exception code 0"),
        (WriteRegister(17, 1, 3), "11 06 00 02 00 03", "echoed address 0x0002 instead of 0x0001"),
        (WriteRegister(17, 1, 3), "11 06 00 01 00 04", "echoed word 0x0004 instead of 0x0003"),
        (WriteRegisters(17, 1, (1, 2)), "11 10 00 02 00 02", "echoed address 0x0002 instead of 0x0001"),
        (WriteRegisters(17, 1, (1, 2)), "11 10 00 01 00 03", "echoed count 0x0003 instead of 0x0002"),
    ],
)
def test_reply_to_something_else_is_a_mismatch(request_: BusRequest, body: str, words: str) -> None:
    raw = bytes.fromhex(body)
    with pytest.raises(ReplyMismatch, match=words):
        receive(request_, with_crc(raw) if len(raw) > 2 else raw)


@pytest.mark.parametrize("index", range(3, len(READ_FRAME)))
def test_flipped_bit_in_words_or_crc_is_noise(index: int) -> None:
    flipped = bytearray(READ_FRAME)
    flipped[index] ^= 0x10
    with pytest.raises(RemoteProtocolError, match="CRC") as raised:
        receive(READ, bytes(flipped))
    assert not isinstance(raised.value, ReplyMismatch)


def test_bytes_after_the_frame_are_noise_and_forget_the_request() -> None:
    client = RtuFraming()
    client.expect(READ)
    with pytest.raises(RemoteProtocolError, match="after the end"):
        client.receive_data(READ_FRAME + b"\0")
    with pytest.raises(RemoteProtocolError, match="without a request"):
        client.receive_data(READ_FRAME)
    client.expect(READ)
    assert client.receive_data(READ_FRAME) == ReadReply(17, (555, 0, 100))


def test_bytes_beyond_any_frame_are_refused_before_they_are_kept() -> None:
    with pytest.raises(RemoteProtocolError, match="more bytes than a frame has"):
        receive(READ, READ_FRAME[:4] + bytes(MAX_FRAME_BYTES))


def test_bytes_without_a_request_and_after_a_reset_are_refused() -> None:
    client = RtuFraming()
    assert client.receive_data(b"") is None
    with pytest.raises(RemoteProtocolError, match="without a request"):
        client.receive_data(b"\x11")
    client.expect(READ)
    client.receive_data(READ_FRAME[:4])
    client.reset()
    with pytest.raises(RemoteProtocolError, match="without a request"):
        client.receive_data(READ_FRAME[4:])


@pytest.mark.parametrize("request_", [READ, WriteRegister(17, 1, 3), WriteRegisters(17, 1, (1, 2))])
def test_the_same_reply_again_is_refused(request_: BusRequest) -> None:
    replies: dict[BusRequest, BusReply] = {
        READ: ReadReply(17, (555, 0, 100)),
        WriteRegister(17, 1, 3): WriteReply(17, 1, 1, 3),
        WriteRegisters(17, 1, (1, 2)): WriteReply(17, 1, 2, None),
    }
    frame = encode_reply(replies[request_])
    framing = RtuFraming()
    framing.expect(request_)
    assert framing.receive_data(frame) == replies[request_]
    with pytest.raises(RemoteProtocolError, match="without a request"):
        framing.receive_data(frame)
    with pytest.raises(RemoteProtocolError, match="after the end"):
        receive(request_, frame + frame)


@pytest.mark.parametrize("request_", [WriteRegister(17, 1, 0x10000), WriteRegisters(17, 0xFFFF, (1, 2))])
def test_what_cannot_be_sent_is_not_expected(request_: BusRequest) -> None:
    with pytest.raises(LocalProtocolError):
        RtuFraming().expect(request_)


def test_expecting_again_forgets_the_older_bytes() -> None:
    client = RtuFraming()
    client.expect(READ)
    client.receive_data(READ_FRAME[:4])
    client.expect(READ)
    assert client.receive_data(READ_FRAME) == ReadReply(17, (555, 0, 100))


def test_decoding_a_pdu_of_another_shape_is_a_mismatch() -> None:
    for body in (b"", b"\x03", b"\x03\x06", bytes(8), b"\x03\x04" + bytes(6)):
        with pytest.raises(ReplyMismatch):
            modbus_pdu.decode_reply_pdu(READ, body)


def test_server_takes_frames_back_to_back_and_split() -> None:
    first, second = ReadRegisters(3, 0, 8), WriteRegisters(4, 1, (1, 2, 3))
    stream = encode_request(first) + encode_request(second)
    for cut in range(len(stream)):
        server = ModbusServer()
        assert server.receive_data(stream[:cut]) + server.receive_data(stream[cut:]) == [first, second]


def test_server_drops_everything_after_a_wrong_crc() -> None:
    server = ModbusServer()
    broken = bytearray(encode_request(READ))
    broken[-1] ^= 1
    raw = bytes(broken) + b"\x01\x02"
    assert server.receive_data(raw) == [MalformedFrame(raw, "wrong CRC")]
    assert server.receive_data(encode_request(READ)) == [READ]


@pytest.mark.parametrize(
    ("body", "why", "code"),
    [
        ("03 03 00 00 00 00", "0 registers", 3),
        ("03 03 00 00 00 7E", "126 registers", 3),
        ("03 03 FF FF 00 02", "leave the 16-bit address space", 2),
        ("03 10 00 00 00 02 02 00 01", "byte count 2 instead of 4", 3),
        ("03 10 00 00 00 00 00", "0 registers", 3),
        ("03 10 FF FF 00 02 04 00 01 00 02", "leave the 16-bit address space", 2),
        ("F8 06 00 00 00 01", "unit 248", None),
        ("00 03 00 00 00 01", "unit 0", None),
    ],
)
def test_server_says_why_and_what_a_device_answers(body: str, why: str, code: int | None) -> None:
    raw = with_crc(bytes.fromhex(body))
    (frame,) = ModbusServer().receive_data(raw)
    assert isinstance(frame, MalformedFrame)
    assert why in frame.why
    assert (frame.raw, frame.exception_code) == (raw, code)


def test_server_gives_up_on_a_function_that_it_cannot_delimit() -> None:
    server = ModbusServer()
    assert server.receive_data(b"\x03\x55\x00") == []
    assert server.receive_data(b"\x00\x00") == [
        MalformedFrame(b"\x03\x55\x00\x00\x00", "a function that cannot be delimited")
    ]
    (frame,) = server.receive_data(bytes.fromhex("03 10 00 00 00 7B FF 00"))
    assert frame == MalformedFrame(bytes.fromhex("03 10 00 00 00 7B FF 00"), "a function that cannot be delimited")


def test_server_forgets_half_a_frame_at_a_reset() -> None:
    server = ModbusServer()
    server.receive_data(b"\x01\x03\x00\x00\x00")
    server.reset()
    assert server.receive_data(encode_request(READ)) == [READ]


WHO = ReportServerId(17)
WHAT = ReadDeviceIdentification(17, DeviceIdAccess.BASIC)
WHO_FRAME = with_crc(bytes.fromhex("11 11 04 2A FF 01 02"))
WHAT_FRAME = with_crc(bytes.fromhex("11 2B 0E 01 01 00 00 02 00 02 41 42 01 01 43"))


@pytest.mark.parametrize(
    ("request_", "frame", "reply"),
    [
        (WHO, WHO_FRAME, ServerIdReply(17, b"\x2a\xff\x01\x02")),
        (
            WHAT,
            WHAT_FRAME,
            DeviceIdentificationReply(
                17, DeviceIdAccess.BASIC, 1, None, (DeviceObject(0, b"AB"), DeviceObject(1, b"C"))
            ),
        ),
    ],
)
def test_a_reply_that_says_how_long_it_is_ends_at_its_last_byte(
    request_: BusRequest, frame: bytes, reply: BusReply
) -> None:
    framing = RtuFraming()
    framing.expect(request_)
    pieces = [frame[place : place + 1] for place in range(len(frame))]
    assert [framing.receive_data(piece) for piece in pieces] == [None] * (len(frame) - 1) + [reply]
    with pytest.raises(RemoteProtocolError, match="after the end"):
        receive(request_, frame + b"\0")
    with pytest.raises(RemoteProtocolError, match="CRC"):
        receive(request_, frame[:-1] + bytes((frame[-1] ^ 1,)))
    exception = ExceptionReply(17, request_.function, 1)
    assert receive(request_, encode_reply(exception)) == exception


@pytest.mark.parametrize(
    ("request_", "body"),
    [(WHO, "11 11 FC"), (WHAT, "11 2B 0E 01 01 00 00 7C"), (WHAT, "11 2B 0E 01 01 00 00 01 00 F5")],
)
def test_a_reply_that_would_be_longer_than_a_frame_is_refused_at_once(request_: BusRequest, body: str) -> None:
    with pytest.raises(ReplyMismatch, match="fits no PDU"):
        receive(request_, bytes.fromhex(body))


def test_the_longest_identification_fits_a_frame() -> None:
    framing = RtuFraming()
    framing.expect(WHO)
    reply = ServerIdReply(17, bytes(251))
    assert framing.receive_data(encode_reply(reply)[:255]) is None
    assert framing.receive_data(encode_reply(reply)[255:]) == reply


def test_the_byte_count_of_bits_is_checked_as_soon_as_it_is_in() -> None:
    with pytest.raises(ReplyMismatch, match="byte count 2 instead of 3"):
        receive(ReadCoils(17, 19, 19), bytes.fromhex("11 01 02"))


def test_frames_that_are_read_again_and_again_are_the_same_bytes_and_checked_each_time() -> None:
    assert encode_request(READ) is encode_request(ReadRegisters(17, 107, 3))
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            encode_request(ReadRegisters(17, 107, 126))
    assert [encode_request(ReadRegisters(17, address, 3))[2:4] for address in range(2000)] == [
        address.to_bytes(2, "big") for address in range(2000)
    ]


def test_times_of_the_line() -> None:
    assert character_ns(115_200) == 86_806
    assert character_ns(9_600, bits=11) == 1_145_834
    assert silence_ns(115_200) == silence_ns(38_400) == 1_750_000
    assert silence_ns(19_200) == 2_005_209
    assert silence_ns(9_600) == 4_010_417


@pytest.mark.parametrize(
    "frame",
    [
        encode_request(ReadRegisters(3, 0x100, 9)),
        encode_request(WriteRegisters(3, 0x100, (1, 2))),
        encode_request(ReportServerId(3)),
        encode_reply(ReadReply(3, (1, 2, 3))),
        encode_reply(ExceptionReply(3, 3, 2)),
    ],
)
def test_a_frame_is_known_by_its_crc_whatever_follows(frame: bytes) -> None:
    assert begins_with_frame(frame)
    assert begins_with_frame(frame + b"\x55\xaa") is (len(frame) != 4)
    assert not begins_with_frame(b"\x00" + frame)
    assert not begins_with_frame(frame[:-1])
    assert not begins_with_frame(frame[:-1] + bytes((frame[-1] ^ 1,)))
