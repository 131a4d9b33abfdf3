"""Every function against pymodbus, another implementation: encoders and decoders, both ways, without sockets."""

from collections.abc import Callable

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import given
from modbus_strategies import EXCEPTION_CODES, REQUESTS, WRITES, exchanges
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU, ExceptionResponse, ModbusPDU
from pymodbus.pdu import bit_message as their_bits
from pymodbus.pdu import mei_message as their_mei
from pymodbus.pdu import other_message as their_other
from pymodbus.pdu import register_message as theirs

from oht50d.codec.framing import RtuFraming, TcpFraming
from oht50d.codec.mbap import TcpRequest, TcpServer
from oht50d.codec.rtu import ModbusServer, crc16, encode_reply, encode_request
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

BROADCASTS = WRITES.map(lambda write: evolve(write, unit=0))
CONFORMITY = 0x83
"""pymodbus gives no other."""

READ_REQUESTS: dict[type, type[ModbusPDU]] = {
    ReadCoils: their_bits.ReadCoilsRequest,
    ReadDiscreteInputs: their_bits.ReadDiscreteInputsRequest,
    ReadRegisters: theirs.ReadHoldingRegistersRequest,
    ReadInputRegisters: theirs.ReadInputRegistersRequest,
}
WORD_REPLIES: dict[int, type[ModbusPDU]] = {
    3: theirs.ReadHoldingRegistersResponse,
    4: theirs.ReadInputRegistersResponse,
    23: theirs.ReadWriteMultipleRegistersResponse,
}


def their_request(request: BusRequest) -> ModbusPDU:
    """The same request as pymodbus knows it."""
    unit = request.unit
    match request:
        case ReadCoils() | ReadDiscreteInputs() | ReadRegisters() | ReadInputRegisters():
            return READ_REQUESTS[type(request)](dev_id=unit, address=request.address, count=request.count)
        case ReadWriteRegisters():
            return theirs.ReadWriteMultipleRegistersRequest(
                dev_id=unit,
                read_address=request.read_address,
                read_count=request.read_count,
                write_address=request.write_address,
                write_registers=list(request.words),
            )
        case ReportServerId():
            return their_other.ReportDeviceIdRequest(dev_id=unit)
        case ReadDeviceIdentification():
            return their_mei.ReadDeviceInformationRequest(request.access, request.object_id, dev_id=unit)
        case _:
            return their_write(request)


def their_write(request: WriteRegister | WriteRegisters | WriteCoil | WriteCoils | MaskWriteRegister) -> ModbusPDU:
    unit, address = request.unit, request.address
    match request:
        case WriteRegister():
            return theirs.WriteSingleRegisterRequest(dev_id=unit, address=address, registers=[request.word])
        case WriteRegisters():
            return theirs.WriteMultipleRegistersRequest(dev_id=unit, address=address, registers=list(request.words))
        case WriteCoil():
            return their_bits.WriteSingleCoilRequest(dev_id=unit, address=address, bits=[request.is_on])
        case WriteCoils():
            return their_bits.WriteMultipleCoilsRequest(dev_id=unit, address=address, bits=list(request.bits))
        case MaskWriteRegister():
            return theirs.MaskWriteRegisterRequest(address, request.and_mask, request.or_mask, dev_id=unit)


def their_reply(reply: BusReply) -> ModbusPDU:
    """The same reply as pymodbus knows it."""
    unit = reply.unit
    match reply:
        case ReadReply():
            return WORD_REPLIES[reply.function](dev_id=unit, registers=list(reply.words))
        case BitsReply():
            kind = their_bits.ReadCoilsResponse if reply.function == 1 else their_bits.ReadDiscreteInputsResponse
            return kind(dev_id=unit, bits=list(reply.bits))
        case ServerIdReply():
            is_on = reply.content[-1] == 0xFF
            return their_other.ReportDeviceIdResponse(reply.content[:-1], is_on, dev_id=unit)
        case DeviceIdentificationReply():
            return their_identification(reply)
        case ExceptionReply():
            return ExceptionResponse(reply.function, reply.code, device_id=unit)
        case _:
            return their_echo(reply)


def their_identification(reply: DeviceIdentificationReply) -> ModbusPDU:
    information = {entry.object_id: entry.content for entry in reply.objects}
    message = their_mei.ReadDeviceInformationResponse(reply.access, information, dev_id=reply.unit)
    if reply.next_object_id is not None:
        message.more_follows, message.next_object_id = 0xFF, reply.next_object_id
    return message


def their_echo(reply: WriteReply | WriteCoilReply | WriteCoilsReply | MaskWriteReply) -> ModbusPDU:
    unit, address = reply.unit, reply.address
    match reply:
        case WriteReply(word=None):
            return theirs.WriteMultipleRegistersResponse(dev_id=unit, address=address, count=reply.count)
        case WriteReply():
            return theirs.WriteSingleRegisterResponse(dev_id=unit, address=address, registers=[reply.word])
        case WriteCoilReply():
            return their_bits.WriteSingleCoilResponse(dev_id=unit, address=address, bits=[reply.is_on])
        case WriteCoilsReply():
            return their_bits.WriteMultipleCoilsResponse(dev_id=unit, address=address, count=reply.count)
        case MaskWriteReply():
            return theirs.MaskWriteRegisterResponse(address, reply.and_mask, reply.or_mask, dev_id=unit)


TOLD = (
    *("dev_id", "function_code", "exception_code", "address", "registers", "and_mask", "or_mask", "read_address"),
    *("read_count", "write_address", "write_registers", "identifier", "read_code", "object_id", "information"),
    *("conformity", "more_follows", "next_object_id"),
)


def told(message: ModbusPDU, bit_count: int) -> dict[str, object]:
    """What a message of pymodbus says; of decoded bits as many as were asked for, because it keeps the padding."""
    fields: dict[str, object] = {name: getattr(message, name) for name in TOLD if hasattr(message, name)}
    fields["count"] = 0 if message.registers else message.count
    return fields | {"bits": list(message.bits)[:bit_count]}


def frame_of(message: ModbusPDU, *, number: int = 0) -> bytes:
    """`number` 0: RTU, else TCP."""
    message.transaction_id = number
    framer = FramerSocket if number else FramerRTU
    return framer(DecodePDU(False)).buildFrame(message)


def they_read(frame: bytes, *, is_server: bool, number: int = 0) -> ModbusPDU:
    framer = FramerSocket if number else FramerRTU
    used, message = framer(DecodePDU(is_server)).handleFrame(frame, 0, number)
    assert used == len(frame)
    assert message is not None
    assert message.transaction_id == number
    return message


def sendable(reply: BusReply) -> BusReply:
    """The reply as pymodbus can say it: conformity 0x83, run indicator on or off, every object once, room to spare."""
    if isinstance(reply, ServerIdReply):
        return evolve(reply, content=reply.content[:-1] + (b"\xff" if reply.content[-1] & 1 else b"\x00"))
    if isinstance(reply, DeviceIdentificationReply):
        table = {entry.object_id: entry.content for entry in reply.objects}
        objects = [DeviceObject(number, content[:240]) for number, content in table.items()]
        while sum(2 + len(entry.content) for entry in objects) >= 246:
            objects.pop()
        return evolve(reply, conformity=CONFORMITY, objects=tuple(objects))
    return reply


def bit_count_of(request: BusRequest) -> int:
    return request.count if isinstance(request, ReadCoils | ReadDiscreteInputs) else 2000


EXCHANGES = exchanges().map(lambda pair: (pair[0], sendable(pair[1])))


@given(st.binary(min_size=1, max_size=300))
def test_crc_agrees(octets: bytes) -> None:
    assert crc16(octets).to_bytes(2, "little") == FramerRTU.compute_CRC(octets).to_bytes(2, "big")


@given(REQUESTS | BROADCASTS)
def test_requests_agree_on_a_serial_line(request: BusRequest) -> None:
    message = their_request(request)
    frame = frame_of(message)
    assert encode_request(request) == frame
    assert ModbusServer().receive_data(frame) == [request]
    assert told(they_read(encode_request(request), is_server=True), 2000) == told(their_request(request), 2000)


@given(REQUESTS | BROADCASTS, st.integers(1, 0xFFFF))
def test_requests_agree_on_tcp(request: BusRequest, number: int) -> None:
    framing = TcpFraming()
    framing._number = number - 1  # counting up to it takes 60,000 requests
    frame = frame_of(their_request(request), number=number)
    assert framing.encode(request) == frame
    assert TcpServer().receive_data(frame) == [TcpRequest(number, request)]
    assert told(they_read(frame, is_server=True, number=number), 2000) == told(their_request(request), 2000)


@given(EXCHANGES)
def test_replies_agree_on_a_serial_line(exchange: tuple[BusRequest, BusReply]) -> None:
    request, reply = exchange
    frame = frame_of(their_reply(reply))
    assert encode_reply(reply) == frame
    framing = RtuFraming()
    framing.expect(request)
    assert framing.receive_data(frame) == reply
    count = bit_count_of(request)
    assert told(they_read(encode_reply(reply), is_server=False), count) == told(their_reply(reply), count)


@given(EXCHANGES)
def test_replies_agree_on_tcp(exchange: tuple[BusRequest, BusReply]) -> None:
    request, reply = exchange
    framing = TcpFraming()
    framing.encode(request)
    framing.expect(request)
    frame = frame_of(their_reply(reply), number=1)
    assert TcpServer.encode_reply(1, reply) == frame
    assert framing.receive_data(frame) == reply
    count = bit_count_of(request)
    assert told(they_read(frame, is_server=False, number=1), count) == told(their_reply(reply), count)


@given(REQUESTS, EXCEPTION_CODES)
def test_exceptions_agree(request: BusRequest, code: int) -> None:
    reply = ExceptionReply(request.unit, request.function, code)
    for number, ours in ((0, encode_reply(reply)), (9, TcpServer.encode_reply(9, reply))):
        assert frame_of(their_reply(reply), number=number) == ours
        understood = they_read(ours, is_server=False, number=number)
        assert (understood.dev_id, understood.function_code) == (request.unit, request.function | 0x80)
        assert understood.exception_code == code
    framing = RtuFraming()
    framing.expect(request)
    assert framing.receive_data(frame_of(their_reply(reply))) == reply


@pytest.mark.parametrize("access", [DeviceIdAccess.BASIC, DeviceIdAccess.REGULAR, DeviceIdAccess.EXTENDED])
@pytest.mark.parametrize("framed", [0, 1], ids=["rtu", "tcp"])
def test_a_list_that_pymodbus_cuts_is_told_to_go_on(access: DeviceIdAccess, framed: int) -> None:
    """It encodes what fits and names the first object that did not."""
    information = {0: b"a" * 120, 1: b"b" * 120, 2: b"c" * 20}
    request = ReadDeviceIdentification(4, access)
    framing: RtuFraming | TcpFraming = TcpFraming() if framed else RtuFraming()
    framing.encode(request)
    framing.expect(request)
    reply = framing.receive_data(
        frame_of(their_mei.ReadDeviceInformationResponse(access, information, dev_id=4), number=framed)
    )
    objects = (DeviceObject(0, b"a" * 120), DeviceObject(1, b"b" * 120))
    assert reply == DeviceIdentificationReply(4, access, CONFORMITY, 2, objects)


def test_the_table_of_replies_is_whole() -> None:
    makers: list[Callable[..., ModbusPDU]] = [*READ_REQUESTS.values(), *WORD_REPLIES.values()]
    assert sorted(maker().function_code for maker in makers) == [1, 2, 3, 3, 4, 4, 23]
