"""Modbus TCP framing: headers, numbers, late replies and a stream that is out of step."""

import pytest

from oht50d.codec.framing import Framing, RtuFraming, TcpFraming
from oht50d.codec.mbap import MAX_ADU_BYTES, TcpRequest, TcpServer
from oht50d.codec.modbus_pdu import MalformedFrame, ReplyMismatch
from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ReadCoils,
    ReadDeviceIdentification,
    ReadRegisters,
    ReadReply,
    ReportServerId,
    WriteRegister,
    WriteReply,
)
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

READ = ReadRegisters(17, 107, 3)
REPLY = ReadReply(17, (555, 0, 100))


def asked(request: BusRequest = READ, times: int = 1) -> TcpFraming:
    """A connection on which the request went out `times` times; the last one is outstanding."""
    framing = TcpFraming()
    for _ in range(times):
        framing.encode(request)
    framing.expect(request)
    return framing


def answer(number: int, reply: BusReply = REPLY) -> bytes:
    return TcpServer.encode_reply(number, reply)


def test_numbers_rise_from_one_and_wrap() -> None:
    framing = TcpFraming()
    numbers = [int.from_bytes(framing.encode(READ)[:2], "big") for _ in range(0x10001)]
    assert numbers[:2] == [1, 2]
    assert numbers[-2:] == [0, 1]
    framing.expect(READ)
    assert framing.receive_data(answer(0xFFFF) + answer(0)) is None
    assert framing.receive_data(answer(1)) == REPLY
    assert framing.late_replies == 2


def test_a_late_reply_is_skipped_and_counted_and_the_next_one_taken() -> None:
    framing = asked(times=3)
    assert framing.receive_data(answer(1) + answer(2)) is None
    assert framing.receive_data(answer(3)) == REPLY
    assert framing.late_replies == 2


def test_late_reply_and_reply_in_one_piece() -> None:
    framing = asked(times=2)
    assert framing.receive_data(answer(1, ReadReply(17, (9, 9, 9))) + answer(2)) == REPLY


def test_the_same_reply_again_is_late() -> None:
    framing = asked()
    assert framing.receive_data(answer(1) + answer(1)) == REPLY
    assert framing.receive_data(answer(1)) is None
    assert framing.late_replies == 2


def test_a_late_reply_that_was_cut_by_the_next_request_keeps_the_stream_in_step() -> None:
    framing = asked()
    late = answer(1)
    assert framing.receive_data(late[:9]) is None
    framing.encode(READ)
    framing.expect(READ)
    assert framing.receive_data(late[9:] + answer(2)) == REPLY


def test_expecting_the_same_request_again_keeps_its_number() -> None:
    framing = asked()
    with pytest.raises(ReplyMismatch):
        framing.receive_data(answer(1, ReadReply(18, (1, 2, 3))))
    framing.expect(READ)
    assert framing.receive_data(answer(1)) == REPLY


@pytest.mark.parametrize("number", [2, 3, 0x7FFF, 0xFFFF, 0])
def test_a_number_that_was_never_used_ends_the_connection(number: int) -> None:
    framing = asked()
    with pytest.raises(RemoteProtocolError, match="never begun") as raised:
        framing.receive_data(answer(number))
    assert not isinstance(raised.value, ReplyMismatch)


def test_bytes_before_any_request_end_the_connection() -> None:
    framing = TcpFraming()
    assert framing.receive_data(b"") is None
    with pytest.raises(RemoteProtocolError, match="never begun"):
        framing.receive_data(answer(0))


@pytest.mark.parametrize(
    ("head", "why"),
    [
        ("0001 01", "protocol id"),
        ("0001 0001", "protocol id 0001 is not Modbus"),
        ("0001 FFFF 0003 11", "protocol id ffff"),
        ("0001 0000 0000", "a length of 0 bytes"),
        ("0001 0000 0001 11", "a length of 1 bytes"),
        ("0001 0000 00FF", "a length of 255 bytes"),
        ("0001 0000 FFFF", "a length of 65535 bytes"),
    ],
)
def test_a_header_that_cannot_be_one_is_refused_as_soon_as_it_shows(head: str, why: str) -> None:
    raw = bytes.fromhex(head)
    framing = asked()
    with pytest.raises(RemoteProtocolError, match=why) as raised:
        framing.receive_data(raw)
    assert not isinstance(raised.value, ReplyMismatch)
    server = TcpServer()
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="no Modbus frame begins here"):
            server.receive_data(raw)


def test_a_reply_with_rubbish_behind_it_is_not_taken() -> None:
    framing = asked()
    with pytest.raises(RemoteProtocolError):
        framing.receive_data(answer(1) + b"\1\2\3\4\5\6")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (ReadReply(18, (555, 0, 100)), "unit 18 instead of 17"),
        (ReadReply(17, (555, 0)), "length 6 instead of 8"),
        (WriteReply(17, 107, 1, 3), "function 6 instead of 3"),
        (ExceptionReply(17, 4, 2), "function 132 instead of 3"),
    ],
)
def test_the_right_number_on_the_wrong_reply_is_a_mismatch_and_the_stream_stays_in_step(
    reply: BusReply, why: str
) -> None:
    framing = asked()
    with pytest.raises(ReplyMismatch, match=why):
        framing.receive_data(answer(1, reply))
    framing.encode(READ)
    framing.expect(READ)
    assert framing.receive_data(answer(2)) == REPLY


def test_what_follows_a_mismatch_in_one_piece_is_not_lost() -> None:
    framing = asked(times=2)
    late = answer(1)
    with pytest.raises(ReplyMismatch):
        framing.receive_data(answer(2, ReadReply(18, (1, 2, 3))) + late[:8])
    framing.expect(READ)
    assert framing.receive_data(late[8:] + answer(2)) == REPLY


def test_an_exception_is_a_reply() -> None:
    assert asked().receive_data(answer(1, ExceptionReply(17, 3, 2))) == ExceptionReply(17, 3, 2)


def test_reset_is_a_new_connection() -> None:
    framing = asked()
    framing.receive_data(answer(1)[:5])
    framing.reset()
    with pytest.raises(LocalProtocolError, match="nothing was sent"):
        framing.expect(READ)
    framing.encode(READ)
    framing.expect(READ)
    assert framing.receive_data(answer(2)) == REPLY


def test_expecting_needs_a_request_that_can_be_answered() -> None:
    framing = TcpFraming()
    with pytest.raises(LocalProtocolError, match="nothing was sent"):
        framing.expect(READ)
    framing.encode(WriteRegister(0, 1, 2))
    with pytest.raises(LocalProtocolError, match="broadcast"):
        framing.expect(WriteRegister(0, 1, 2))


def test_unit_255_is_a_device_of_its_own_on_tcp_only() -> None:
    request = ReadRegisters(255, 4, 1)
    framing = TcpFraming()
    frame = framing.encode(request)
    framing.expect(request)
    assert TcpServer().receive_data(frame) == [TcpRequest(1, request)]
    assert framing.receive_data(answer(1, ReadReply(255, (5,)))) == ReadReply(255, (5,))
    with pytest.raises(LocalProtocolError):
        RtuFraming().encode(request)


@pytest.mark.parametrize("unit", [-1, 0, 248, 254, 256])
def test_units_that_nobody_has_are_not_addressed(unit: int) -> None:
    with pytest.raises(LocalProtocolError):
        TcpFraming().encode(ReadRegisters(unit, 0, 1))
    with pytest.raises(LocalProtocolError):
        TcpServer.encode_reply(1, ReadReply(unit, (1,)))


def test_lengths_on_the_wire() -> None:
    framing: Framing = TcpFraming()
    assert framing.reply_bytes(READ) == len(answer(1)) == 15
    assert framing.reply_bytes(ReadCoils(1, 0, 9)) == 11
    assert framing.reply_bytes(ReportServerId(1)) == MAX_ADU_BYTES == 260
    assert framing.reply_bytes(WriteRegister(0, 1, 2)) == 0
    serial: Framing = RtuFraming()
    assert serial.reply_bytes(ReadDeviceIdentification(1)) == 256
    assert (framing.is_numbered, serial.is_numbered) == (True, False)
    assert (framing.late_replies, serial.late_replies) == (0, 0)


def test_a_device_gets_what_came_before_the_damage() -> None:
    server = TcpServer()
    frame = TcpFraming().encode(READ)
    assert server.receive_data(frame + b"\0\2\0\1") == [TcpRequest(1, READ)]
    with pytest.raises(RemoteProtocolError):
        server.receive_data(frame)


def test_a_body_of_another_length_than_its_function_is_refused() -> None:
    raw = bytes.fromhex("0007 0000 0007 11 03 006B 0003 00")
    assert TcpServer().receive_data(raw) == [
        TcpRequest(7, MalformedFrame(raw, "6 bytes are no request of function 3", 3))
    ]
    assert TcpServer(frozenset({6})).receive_data(raw) == [
        TcpRequest(7, MalformedFrame(raw, "function 3 is not served", 1))
    ]
