"""pymodbus's own client asks our device halves: every function over Modbus TCP and with RTU frames over TCP.

The device behind them is a few lines of memory here, so that nothing but the codec stands between the two.
"""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from attrs import define, field
from pymodbus.client import ModbusTcpClient
from pymodbus.framer import FramerType

from oht50d.codec.mbap import TcpServer
from oht50d.codec.rtu import MalformedFrame, ModbusServer, ServerFrame, encode_reply
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

LIMIT_S = 60.0
UNIT = 17
OBJECTS = tuple(DeviceObject(number, bytes((65 + number,)) * (number + 1)) for number in range(7))


@define
class Memory:
    """A device of 200 coils and 200 registers; inputs are what is opposite to them."""

    coils: list[bool] = field(factory=lambda: [index % 3 == 0 for index in range(200)])
    words: list[int] = field(factory=lambda: [index * 257 & 0xFFFF for index in range(200)])

    def answer(self, request: BusRequest) -> BusReply:
        match request:
            case ReadCoils() | ReadDiscreteInputs() | WriteCoil() | WriteCoils():
                return self._bits(request)
            case ReportServerId():
                return ServerIdReply(request.unit, b"carriage\xff")
            case ReadDeviceIdentification():
                return self._identify(request)
            case _:
                return self._registers(request)

    def _bits(self, request: ReadCoils | ReadDiscreteInputs | WriteCoil | WriteCoils) -> BusReply:
        unit, address = request.unit, request.address
        match request:
            case ReadCoils():
                return BitsReply(unit, 1, tuple(self.coils[address : address + request.count]))
            case ReadDiscreteInputs():
                return BitsReply(unit, 2, tuple(not on for on in self.coils[address : address + request.count]))
            case WriteCoil():
                self.coils[address] = request.is_on
                return WriteCoilReply(unit, address, request.is_on)
            case WriteCoils():
                self.coils[address : address + len(request.bits)] = request.bits
                return WriteCoilsReply(unit, address, len(request.bits))

    def _registers(
        self,
        request: ReadRegisters
        | ReadInputRegisters
        | WriteRegister
        | WriteRegisters
        | MaskWriteRegister
        | ReadWriteRegisters,
    ) -> BusReply:
        unit = request.unit
        match request:
            case ReadRegisters() | ReadInputRegisters():
                words = self.words[request.address : request.address + request.count]
                flip = 0xFFFF if request.function == 4 else 0
                return ReadReply(unit, tuple(word ^ flip for word in words), request.function)
            case WriteRegister():
                self.words[request.address] = request.word
                return WriteReply(unit, request.address, 1, request.word)
            case WriteRegisters():
                self.words[request.address : request.address + len(request.words)] = request.words
                return WriteReply(unit, request.address, len(request.words), None)
            case MaskWriteRegister():
                kept = self.words[request.address] & request.and_mask
                self.words[request.address] = kept | request.or_mask & ~request.and_mask & 0xFFFF
                return MaskWriteReply(unit, request.address, request.and_mask, request.or_mask)
            case ReadWriteRegisters():
                self.words[request.write_address : request.write_address + len(request.words)] = request.words
                words = self.words[request.read_address : request.read_address + request.read_count]
                return ReadReply(unit, tuple(words), 23)

    def _identify(self, request: ReadDeviceIdentification) -> BusReply:
        if request.access is DeviceIdAccess.INDIVIDUAL:
            found = tuple(entry for entry in OBJECTS if entry.object_id == request.object_id)
            if not found:
                return ExceptionReply(request.unit, 43, 2)
            return DeviceIdentificationReply(request.unit, request.access, 0x83, None, found)
        last = 2 if request.access is DeviceIdAccess.BASIC else 6
        rest = [entry for entry in OBJECTS if request.object_id <= entry.object_id <= last]
        next_id = rest[4].object_id if len(rest) > 4 else None
        return DeviceIdentificationReply(request.unit, request.access, 0x83, next_id, tuple(rest[:4]))

    def reply_to(self, frame: ServerFrame, function_at: int) -> BusReply | None:
        """The function code of a refused frame stands where its framing puts it."""
        if not isinstance(frame, MalformedFrame):
            return self.answer(frame)
        is_silent = frame.exception_code is None
        return None if is_silent else ExceptionReply(UNIT, frame.raw[function_at], frame.exception_code or 1)


def serve_rtu(memory: Memory) -> Callable[[bytes], bytes]:
    server = ModbusServer()

    def answer(octets: bytes) -> bytes:
        replies = [memory.reply_to(frame, 1) for frame in server.receive_data(octets)]
        return b"".join(encode_reply(reply) for reply in replies if reply is not None)

    return answer


def serve_tcp(memory: Memory) -> Callable[[bytes], bytes]:
    server = TcpServer()

    def answer(octets: bytes) -> bytes:
        replies = [(entry.number, memory.reply_to(entry.frame, 7)) for entry in server.receive_data(octets)]
        return b"".join(TcpServer.encode_reply(number, reply) for number, reply in replies if reply is not None)

    return answer


@contextmanager
def listening(answer: Callable[[bytes], bytes]) -> Iterator[int]:
    """One connection is served; the number is its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(LIMIT_S)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(LIMIT_S)
                while octets := connection.recv(4096):
                    connection.sendall(answer(octets))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(LIMIT_S)
        assert not thread.is_alive()


@pytest.fixture(params=["tcp", "rtu_over_tcp"])
def asked(request: pytest.FixtureRequest) -> Iterator[tuple[ModbusTcpClient, Memory]]:
    memory = Memory()
    is_tcp = request.param == "tcp"
    with listening((serve_tcp if is_tcp else serve_rtu)(memory)) as port:
        framer = FramerType.SOCKET if is_tcp else FramerType.RTU
        client = ModbusTcpClient("127.0.0.1", port=port, framer=framer, timeout=LIMIT_S, retries=0)
        assert client.connect()
        yield client, memory
        client.close()


def test_reading(asked: tuple[ModbusTcpClient, Memory]) -> None:
    client, memory = asked
    for count in (1, 8, 19):
        assert client.read_coils(3, count=count, device_id=UNIT).bits[:count] == memory.coils[3 : 3 + count]
        inputs = client.read_discrete_inputs(3, count=count, device_id=UNIT).bits[:count]
        assert inputs == [not on for on in memory.coils[3 : 3 + count]]
    assert client.read_holding_registers(3, count=125, device_id=UNIT).registers == memory.words[3:128]
    words = client.read_input_registers(3, count=125, device_id=UNIT).registers
    assert words == [word ^ 0xFFFF for word in memory.words[3:128]]


def test_writing(asked: tuple[ModbusTcpClient, Memory]) -> None:
    client, memory = asked
    for is_on in (True, False):
        assert client.write_coil(10, is_on, device_id=UNIT).bits == [is_on]
        assert memory.coils[10] is is_on
    pattern = [index % 2 == 0 for index in range(21)]
    assert client.write_coils(30, pattern, device_id=UNIT).count == 21
    assert memory.coils[30:51] == pattern
    assert client.write_register(5, 0xABCD, device_id=UNIT).registers == [0xABCD]
    assert client.write_registers(6, list(range(1000, 1123)), device_id=UNIT).count == 123
    assert memory.words[5:129] == [0xABCD, *range(1000, 1123)]
    memory.words[4] = 0x12
    echo = client.mask_write_register(address=4, and_mask=0xF2, or_mask=0x25, device_id=UNIT)
    assert (echo.and_mask, echo.or_mask, memory.words[4]) == (0xF2, 0x25, 0x17)


def test_reading_and_writing_in_one(asked: tuple[ModbusTcpClient, Memory]) -> None:
    client, memory = asked
    before = list(memory.words)
    reply = client.readwrite_registers(
        read_address=12, read_count=6, write_address=14, values=[255, 254, 253], device_id=UNIT
    )
    assert reply.registers == [*before[12:14], 255, 254, 253, before[17]] == memory.words[12:18]


def test_identity(asked: tuple[ModbusTcpClient, Memory]) -> None:
    client, _ = asked
    reply = client.report_device_id(device_id=UNIT)
    assert (reply.identifier, reply.status) == (b"carriage", True)
    basic = client.read_device_information(read_code=1, object_id=0, device_id=UNIT)
    assert basic.information == {entry.object_id: entry.content for entry in OBJECTS[:3]}
    first = client.read_device_information(read_code=2, object_id=0, device_id=UNIT)
    assert (first.more_follows, first.next_object_id, len(first.information)) == (0xFF, 4, 4)
    second = client.read_device_information(read_code=2, object_id=4, device_id=UNIT)
    assert (second.more_follows, sorted(second.information)) == (0, [4, 5, 6])
    one = client.read_device_information(read_code=4, object_id=5, device_id=UNIT)
    assert one.information == {5: b"FFFFFF"}


def test_refusals(asked: tuple[ModbusTcpClient, Memory]) -> None:
    client, _ = asked
    unknown = client.read_device_information(read_code=4, object_id=0x90, device_id=UNIT)
    assert (unknown.function_code, unknown.exception_code) == (43 | 0x80, 2)
    beyond = client.read_holding_registers(0xFFFF, count=2, device_id=UNIT)
    assert (beyond.function_code, beyond.exception_code) == (3 | 0x80, 2)
    assert client.read_holding_registers(1, count=1, device_id=UNIT).registers == [257]
