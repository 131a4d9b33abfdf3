"""The RTU codec against pymodbus, another implementation, in both directions and without sockets."""

import hypothesis.strategies as st
from hypothesis import given
from pymodbus.framer.rtu import FramerRTU
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

from oht50d.codec.rtu import ModbusClient, ModbusServer, crc16, encode_reply, encode_request
from oht50d.model.bus import (
    BusRequest,
    ExceptionReply,
    ReadRegisters,
    ReadReply,
    WriteRegister,
    WriteRegisters,
    WriteReply,
)

WORDS = st.integers(0, 0xFFFF)
UNITS = st.integers(1, 247)
ADDRESSES = st.integers(0, 0x10000 - 125)
WORD_LISTS = st.lists(WORDS, min_size=1, max_size=123)


def frame_of(message: ModbusPDU) -> bytes:
    return FramerRTU(DecodePDU(False)).buildFrame(message)


def peer_reads(frame: bytes, unit: int, *, is_server: bool) -> ModbusPDU:
    used, message = FramerRTU(DecodePDU(is_server)).handleFrame(frame, unit, 0)
    assert used == len(frame)
    assert message is not None
    return message


@given(st.binary(min_size=1, max_size=300))
def test_crc_agrees(octets: bytes) -> None:
    assert crc16(octets).to_bytes(2, "little") == FramerRTU.compute_CRC(octets).to_bytes(2, "big")


@given(UNITS, ADDRESSES, st.integers(1, 125), st.data())
def test_reading(unit: int, address: int, count: int, data: st.DataObject) -> None:
    words = data.draw(st.lists(WORDS, min_size=count, max_size=count))
    request = ReadRegisters(unit, address, count)
    theirs = ReadHoldingRegistersRequest(dev_id=unit, address=address, count=count)
    assert encode_request(request) == frame_of(theirs)
    assert ModbusServer().receive_data(frame_of(theirs)) == [request]
    understood = peer_reads(encode_request(request), unit, is_server=True)
    assert (understood.address, understood.count) == (address, count)

    answer = frame_of(ReadHoldingRegistersResponse(dev_id=unit, registers=words))
    client = ModbusClient()
    client.expect(request)
    assert client.receive_data(answer) == ReadReply(unit, tuple(words))
    assert encode_reply(ReadReply(unit, tuple(words))) == answer
    assert peer_reads(encode_reply(ReadReply(unit, tuple(words))), unit, is_server=False).registers == words


@given(UNITS, ADDRESSES, WORDS)
def test_writing_one(unit: int, address: int, word: int) -> None:
    request = WriteRegister(unit, address, word)
    theirs = WriteSingleRegisterRequest(dev_id=unit, address=address, registers=[word])
    assert encode_request(request) == frame_of(theirs)
    assert ModbusServer().receive_data(frame_of(theirs)) == [request]
    assert peer_reads(encode_request(request), unit, is_server=True).registers == [word]

    answer = frame_of(WriteSingleRegisterResponse(dev_id=unit, address=address, registers=[word]))
    client = ModbusClient()
    client.expect(request)
    assert client.receive_data(answer) == WriteReply(unit, address, 1, word)
    assert encode_reply(WriteReply(unit, address, 1, word)) == answer


@given(UNITS, ADDRESSES, WORD_LISTS)
def test_writing_many(unit: int, address: int, words: list[int]) -> None:
    request = WriteRegisters(unit, address, tuple(words))
    theirs = WriteMultipleRegistersRequest(dev_id=unit, address=address, registers=words)
    assert encode_request(request) == frame_of(theirs)
    assert ModbusServer().receive_data(frame_of(theirs)) == [request]
    assert peer_reads(encode_request(request), unit, is_server=True).registers == words

    answer = frame_of(WriteMultipleRegistersResponse(dev_id=unit, address=address, count=len(words)))
    client = ModbusClient()
    client.expect(request)
    assert client.receive_data(answer) == WriteReply(unit, address, len(words), None)
    assert encode_reply(WriteReply(unit, address, len(words), None)) == answer


@given(UNITS, st.sampled_from([3, 6, 16]), st.integers(1, 11))
def test_exceptions(unit: int, function: int, code: int) -> None:
    answer = frame_of(ExceptionResponse(function, code, device_id=unit))
    requests: dict[int, BusRequest] = {
        3: ReadRegisters(unit, 0, 9),
        6: WriteRegister(unit, 0, 1),
        16: WriteRegisters(unit, 0, (1, 2)),
    }
    client = ModbusClient()
    client.expect(requests[function])
    assert client.receive_data(answer) == ExceptionReply(unit, function, code)
    assert encode_reply(ExceptionReply(unit, function, code)) == answer
    understood = peer_reads(encode_reply(ExceptionReply(unit, function, code)), unit, is_server=False)
    assert (understood.function_code, understood.exception_code) == (function | 0x80, code)
