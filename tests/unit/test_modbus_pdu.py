"""What each function's codec refuses: values that the protocol forbids, and replies that answer something else."""

import pytest

from oht50d.codec.modbus_pdu import (
    MalformedFrame,
    ReplyMismatch,
    continuation,
    decode_reply_pdu,
    encode_reply_pdu,
    encode_request_pdu,
    has_byte_count,
    has_variable_reply,
    length_so_far,
    reply_pdu_length,
)
from oht50d.codec.rtu import ModbusServer, crc16
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
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

BASIC, EXTENDED, ONE = DeviceIdAccess.BASIC, DeviceIdAccess.EXTENDED, DeviceIdAccess.INDIVIDUAL


@pytest.mark.parametrize(
    "request_",
    [
        ReadCoils(1, 0, 0),
        ReadCoils(1, 0, 2001),
        ReadDiscreteInputs(1, 0xFFFF, 2),
        ReadInputRegisters(1, 0, 126),
        ReadInputRegisters(1, -1, 1),
        WriteCoil(1, 0x10000, True),
        WriteCoils(1, 0, ()),
        WriteCoils(1, 0, (True,) * 1969),
        WriteRegister(1, 0x10000, 0),
        WriteRegister(1, 0, 0x10000),
        MaskWriteRegister(1, 0x10000, 0, 0),
        MaskWriteRegister(1, 0, 0x10000, 0),
        MaskWriteRegister(1, 0, 0, -1),
        ReadWriteRegisters(1, 0, 126, 0, (1,)),
        ReadWriteRegisters(1, 0, 0, 0, (1,)),
        ReadWriteRegisters(1, 0, 1, 0, ()),
        ReadWriteRegisters(1, 0, 1, 0, (0,) * 122),
        ReadWriteRegisters(1, 0xFFFF, 2, 0, (0,)),
        ReadWriteRegisters(1, 0, 1, 0xFFFF, (0, 0)),
        ReadWriteRegisters(1, 0, 1, 0, (0x10000,)),
        ReadDeviceIdentification(1, BASIC, 256),
        ReadDeviceIdentification(1, BASIC, -1),
    ],
)
def test_what_the_protocol_forbids_is_not_encoded(request_: BusRequest) -> None:
    with pytest.raises(LocalProtocolError):
        encode_request_pdu(request_)


@pytest.mark.parametrize(
    "reply",
    [
        BitsReply(1, 3, (True,)),
        BitsReply(1, 1, ()),
        BitsReply(1, 1, (True,) * 2001),
        ReadReply(1, (1,), 16),
        WriteCoilReply(1, 0x10000, True),
        WriteCoilsReply(1, 0, 1969),
        WriteReply(1, 0, 124, None),
        MaskWriteReply(1, 0, 0, 0x10000),
        ServerIdReply(1, b""),
        ServerIdReply(1, bytes(252)),
        DeviceIdentificationReply(1, BASIC, 256, None, ()),
        DeviceIdentificationReply(1, BASIC, 1, 256, ()),
        DeviceIdentificationReply(1, BASIC, 1, None, (DeviceObject(256, b""),)),
        DeviceIdentificationReply(1, BASIC, 1, None, (DeviceObject(0, bytes(245)),)),
        ExceptionReply(1, 0x80, 1),
        ExceptionReply(1, 43, 12),
    ],
)
def test_what_no_device_may_answer_is_not_encoded(reply: BusReply) -> None:
    with pytest.raises(LocalProtocolError):
        encode_reply_pdu(reply)


@pytest.mark.parametrize(
    ("request_", "body", "why"),
    [
        (ReadCoils(1, 0, 19), "01 03 CD 6B 0D", "padding"),
        (ReadCoils(1, 0, 19), "01 02 CD 6B", "length 4 instead of 5"),
        (ReadCoils(1, 0, 19), "01 04 CD 6B 05", "byte count 4 instead of 3"),
        (ReadCoils(1, 0, 19), "02 03 CD 6B 05", "function 2 instead of 1"),
        (ReadDiscreteInputs(1, 0, 8), "02 01", "length 2 instead of 3"),
        (ReadInputRegisters(1, 0, 1), "04 01 00 0A", "byte count 1 instead of 2"),
        (ReadInputRegisters(1, 0, 1), "03 02 00 0A", "function 3 instead of 4"),
        (WriteCoil(1, 172, True), "05 00 AC 00 00", "echoed word 0x0000 instead of 0xff00"),
        (WriteCoil(1, 172, False), "05 00 AC FF 00", "echoed word 0xff00 instead of 0x0000"),
        (WriteCoil(1, 172, True), "05 00 AC FF 01", "echoed word 0xff01"),
        (WriteCoil(1, 172, True), "05 00 AD FF 00", "echoed address"),
        (WriteCoils(1, 19, (True,) * 10), "0F 00 13 00 0B", "echoed count 0x000b instead of 0x000a"),
        (WriteCoils(1, 19, (True,) * 10), "0F 00 14 00 0A", "echoed address 0x0014 instead of 0x0013"),
        (WriteRegisters(1, 1, (1, 2)), "10 00 01 00 03", "echoed count 0x0003 instead of 0x0002"),
        (MaskWriteRegister(1, 4, 0xF2, 0x25), "16 00 05 00 F2 00 25", "echoed address"),
        (MaskWriteRegister(1, 4, 0xF2, 0x25), "16 00 04 00 F3 00 25", "echoed AND mask"),
        (MaskWriteRegister(1, 4, 0xF2, 0x25), "16 00 04 00 F2 00 26", "echoed OR mask 0x0026 instead of 0x0025"),
        (ReadWriteRegisters(1, 0, 2, 9, (1,)), "17 02 00 01", "length 4 instead of 6"),
        (ReadWriteRegisters(1, 0, 2, 9, (1,)), "17 02 00 01 00 02", "byte count 2 instead of 4"),
        (ReportServerId(1), "11 00", "without a run indicator"),
        (ReportServerId(1), "11 03 2A FF", "length 4 instead of 5"),
        (ReportServerId(1), "11 01 2A FF", "length 4 instead of 3"),
        (ReportServerId(1), "11", "length 1 instead of 2"),
        (ReportServerId(1), "11 FF", "fits no PDU"),
        (ReadDeviceIdentification(1), "2B 0D 01 01 00 00 00", "MEI type 13"),
        (ReadDeviceIdentification(1), "2B 0E 02 01 00 00 00", "access code 2"),
        (ReadDeviceIdentification(1), "2B 0E 01 01 01 00 00", "0x01 does not say whether more follows"),
        (ReadDeviceIdentification(1), "2B 0E 01 01 00 00 01", "length 7 instead of 9"),
        (ReadDeviceIdentification(1), "2B 0E 01 01 00 00 01 00 05 41", "length 10 instead of 14"),
        (ReadDeviceIdentification(1), "2B 0E 01 01 00 00 01 00 01 41 42", "length 11 instead of 10"),
        (ReadDeviceIdentification(1), "2B 0E 01 01 00 00 7C", "fits no PDU"),
        (ReadDeviceIdentification(1), "2B", "length 1 instead of 7"),
        (ReadDeviceIdentification(1, ONE, 2), "2B 0E 04 81 00 00 01 03 01 41", "not object 2 alone"),
        (ReadDeviceIdentification(1, ONE, 2), "2B 0E 04 81 00 00 00", "not object 2 alone"),
        (ReadDeviceIdentification(1, ONE, 2), "2B 0E 04 81 00 00 02 02 00 02 00", "not object 2 alone"),
        (ReportServerId(1), "91 0C", "exception code 12"),
        (ReadCoils(1, 0, 1), "82 02", "function 130 instead of 1"),
        (ReadCoils(1, 0, 1), "", "function missing"),
    ],
)
def test_reply_to_something_else_is_a_mismatch(request_: BusRequest, body: str, why: str) -> None:
    with pytest.raises(ReplyMismatch, match=why):
        decode_reply_pdu(request_, bytes.fromhex(body))


def test_what_a_reply_only_tells_is_passed_on_or_left_aside() -> None:
    """An unknown conformity level, and a next object where none follows."""
    reply = decode_reply_pdu(ReadDeviceIdentification(1), bytes.fromhex("2B 0E 01 7F 00 05 00"))
    assert reply == DeviceIdentificationReply(1, BASIC, 0x7F, None, ())


@pytest.mark.parametrize(("size", "expected"), [(1, 3), (8, 3), (9, 4), (2000, 252)])
def test_bits_are_counted_in_whole_bytes(size: int, expected: int) -> None:
    assert reply_pdu_length(ReadCoils(1, 0, size)) == expected
    assert encode_request_pdu(WriteCoils(1, 0, (False,) * min(size, 1968)))[5] == -(-min(size, 1968) // 8)


def test_longest_requests_and_replies_fit_a_pdu() -> None:
    assert len(encode_request_pdu(WriteCoils(1, 0, (True,) * 1968))) == 252
    assert len(encode_request_pdu(ReadWriteRegisters(1, 0, 125, 0, (0,) * 121))) == 252
    assert reply_pdu_length(ReadWriteRegisters(1, 0, 125, 0, (0,))) == 252
    assert len(encode_reply_pdu(ServerIdReply(1, bytes(251)))) == 253
    full = DeviceIdentificationReply(1, BASIC, 1, None, (DeviceObject(0, bytes(244)),))
    assert len(encode_reply_pdu(full)) == 253


def test_lengths_that_the_device_chooses_are_bounded() -> None:
    assert has_variable_reply(ReportServerId(1))
    assert has_variable_reply(ReadDeviceIdentification(1))
    assert not has_variable_reply(ReadCoils(1, 0, 1))
    assert reply_pdu_length(ReportServerId(1)) == reply_pdu_length(ReadDeviceIdentification(1)) == 253
    assert not has_byte_count(ReportServerId(1))
    whole = bytes.fromhex("2B 0E 01 01 00 00 02 00 02 41 42 01 01 43")
    assert [length_so_far(whole[:size]) for size in (1, 6, 7, 8, 9, 12, 13, 14)] == [7, 7, 11, 11, 13, 13, 14, 14]


@pytest.mark.parametrize(
    ("next_object_id", "objects", "expected"),
    [
        (None, (0, 1), None),
        (2, (0, 1), 2),
        (0x80, (0, 1), 0x80),
        (1, (), 1),
    ],
)
def test_where_a_list_continues(next_object_id: int | None, objects: tuple[int, ...], expected: int | None) -> None:
    entries = tuple(DeviceObject(number, b"x") for number in objects)
    request = ReadDeviceIdentification(1, EXTENDED)
    reply = DeviceIdentificationReply(1, EXTENDED, 3, next_object_id, entries)
    following = continuation(request, reply)
    assert following == (None if expected is None else ReadDeviceIdentification(1, EXTENDED, expected))


@pytest.mark.parametrize(("asked", "next_object_id", "objects"), [(0, 1, (0, 1)), (0, 0, ()), (5, 3, (0, 1, 2))])
def test_a_list_that_does_not_get_on_has_no_end(asked: int, next_object_id: int, objects: tuple[int, ...]) -> None:
    entries = tuple(DeviceObject(number, b"x") for number in objects)
    reply = DeviceIdentificationReply(1, BASIC, 1, next_object_id, entries)
    with pytest.raises(RemoteProtocolError, match="has no end"):
        continuation(ReadDeviceIdentification(1, BASIC, asked), reply)


def test_one_object_by_its_number_has_no_continuation() -> None:
    reply = DeviceIdentificationReply(1, ONE, 0x81, 0, (DeviceObject(2, b""),))
    assert continuation(ReadDeviceIdentification(1, ONE, 2), reply) is None


@pytest.mark.parametrize(
    ("body", "why", "code"),
    [
        ("03 01 00 00 07 D1", "2001 registers or bits", 3),
        ("03 02 00 00 00 00", "0 registers or bits", 3),
        ("03 02 FF FF 00 02", "leave the 16-bit address space", 2),
        ("03 04 00 00 00 7E", "126 registers", 3),
        ("03 04 FF FF 00 02", "leave the 16-bit address space", 2),
        ("03 05 00 00 FF 01", "0xff01 is neither on nor off", 3),
        ("03 0F 00 00 00 0A 03 FF 03 00", "byte count 3 instead of 2", 3),
        ("03 0F 00 00 00 00 00", "0 registers or bits", 3),
        ("03 0F 00 00 00 0A 02 FF 07", "padding", 3),
        ("03 0F FF FF 00 02 01 03", "leave the 16-bit address space", 2),
        ("03 17 00 00 00 01 00 00 00 01 04 00 07 00 07", "byte count 4 instead of 2", 3),
        ("03 17 00 00 00 7E 00 00 00 01 02 00 07", "126 registers", 3),
        ("03 17 00 00 00 01 00 00 00 00 00", "0 registers", 3),
        ("03 17 FF FF 00 02 00 00 00 01 02 00 07", "leave the 16-bit address space", 2),
        ("03 17 00 00 00 01 FF FF 00 02 04 00 07 00 07", "leave the 16-bit address space", 2),
        ("03 2B 0D 01 00", "MEI type 13 is not served", 1),
        ("03 2B 0E 00 00", "access code 0", 3),
        ("03 2B 0E 05 00", "access code 5", 3),
        ("03 07", "function 7 is not served", 1),
        ("03 08 00 00 A5 37", "function 8 is not served", 1),
        ("03 14 07 06 00 04 00 01 00 02", "function 20 is not served", 1),
        ("00 01 00 00 00 01", "unit 0 and function 1 address nobody", None),
        ("00 17 00 00 00 01 00 00 00 01 02 00 07", "unit 0 and function 23", None),
        ("00 11", "unit 0 and function 17", None),
        ("FF 05 00 00 FF 00", "unit 255 and function 5", None),
    ],
)
def test_what_a_device_refuses_and_how(body: str, why: str, code: int | None) -> None:
    raw = bytes.fromhex(body)
    raw += crc16(raw).to_bytes(2, "little")
    (frame,) = ModbusServer().receive_data(raw)
    assert isinstance(frame, MalformedFrame)
    assert why in frame.why
    assert (frame.raw, frame.exception_code) == (raw, code)


def test_a_device_may_serve_fewer_functions() -> None:
    raw = bytes.fromhex("03 04 00 00 00 00")
    raw += crc16(raw).to_bytes(2, "little")
    (frame,) = ModbusServer(frozenset({3, 6, 16, 99})).receive_data(raw)
    assert frame == MalformedFrame(raw, "function 4 is not served", 1)


def test_requests_know_their_function() -> None:
    assert ReadRegisters(1, 0, 1).function == 3
    assert WriteReply(1, 0, 1, 5).function == 6
    assert WriteReply(1, 0, 1, None).function == 16
