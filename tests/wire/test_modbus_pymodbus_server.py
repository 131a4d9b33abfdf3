"""Every function against a running pymodbus server: on a serial line, over Modbus TCP and with RTU frames over TCP.

The server has the four separate tables of the standard for each of two devices; what a write did is looked up in its
data store as well, past the wire.
"""

import asyncio
import os
import pty
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from pymodbus.framer import FramerType
from pymodbus.pdu.device import ModbusDeviceIdentification
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from oht50d.codec.framing import Framing, RtuFraming, TcpFraming
from oht50d.codec.modbus_pdu import continuation
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
UNIT, OTHER, NOBODY = 17, 18, 19
COILS = [index % 3 == 0 for index in range(64)]
INPUTS = [index % 5 == 1 for index in range(64)]
HOLDING = [0x0100 * index + 7 for index in range(130)]
INPUT_WORDS = [0xFFFF - index for index in range(130)]
TEXTS = {
    0: "Company identification " + "A" * 100,
    1: "Product code " + "B" * 100,
    2: "V2.11",
    0x80: "private " + "C" * 90,
}


def registers(words: list[int]) -> list[SimData]:
    return [SimData(address, values=[word], datatype=DataType.REGISTERS) for address, word in enumerate(words)]


def device(unit: int) -> SimDevice:
    coils, inputs = ([SimData(0, values=list(table), datatype=DataType.BITS)] for table in (COILS, INPUTS))
    return SimDevice(unit, simdata=(coils, inputs, registers(HOLDING), registers(INPUT_WORDS)))


class Served:
    """A running server: a stream to it, its data store, and the framing that it speaks."""

    def __init__(self, framing: Framing, fd: int, loop: asyncio.AbstractEventLoop, server: Any) -> None:
        self.framing = framing
        self._fd = fd
        self._loop = loop
        self._server = server

    def ask(self, request: BusRequest) -> BusReply:
        self.send(request)
        self.framing.expect(request)
        ends_s = time.monotonic() + LIMIT_S
        while time.monotonic() < ends_s:
            self.wait_for_bytes()
            reply = self.framing.receive_data(os.read(self._fd, 4096))
            if reply is not None:
                return reply
        raise AssertionError(f"no reply to {request}")

    def send(self, request: BusRequest) -> None:
        frame = self.framing.encode(request)
        assert os.write(self._fd, frame) == len(frame)

    def wait_for_bytes(self) -> None:
        readable, _, _ = select.select([self._fd], [], [], LIMIT_S)
        assert readable, "the server says nothing"

    def is_quiet(self, for_s: float) -> bool:
        return not select.select([self._fd], [], [], for_s)[0]

    def stored(self, function: int, address: int, count: int = 1, unit: int = UNIT) -> list[int] | list[bool]:
        """What the data store has, by the table that a function belongs to."""
        lookup = self._server.async_getValues(unit, function, address, count)
        found: list[int] | list[bool] = asyncio.run_coroutine_threadsafe(lookup, self._loop).result(LIMIT_S)
        return found


def is_reached(condition: Callable[[], bool]) -> bool:
    """A broadcast has no reply: what it did shows a little later."""
    ends_s = time.monotonic() + LIMIT_S
    while time.monotonic() < ends_s:
        if condition():
            return True
        time.sleep(0.01)
    return False


@contextmanager
def running(make_server: Callable[[], Any]) -> Iterator[tuple[Any, asyncio.AbstractEventLoop]]:
    """The server that `make_server` makes, on the loop of a thread of its own."""
    started: list[tuple[Any, asyncio.AbstractEventLoop, asyncio.Event]] = []
    is_up = threading.Event()

    async def serve() -> None:
        server = make_server()
        await server.serve_forever(background=True)
        ended = asyncio.Event()
        started.append((server, asyncio.get_running_loop(), ended))
        is_up.set()
        await ended.wait()
        await server.shutdown()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert is_up.wait(LIMIT_S), "pymodbus did not start"
    server, loop, ended = started[0]
    try:
        yield server, loop
    finally:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)
        thread.join(LIMIT_S)


def options() -> dict[str, Any]:
    identity = ModbusDeviceIdentification(info=TEXTS)
    return {"context": [device(UNIT), device(OTHER)], "identity": identity, "broadcast_enable": True}


@contextmanager
def serial_server() -> Iterator[Served]:
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    try:
        with running(lambda: ModbusSerialServer(port=os.ttyname(theirs), baudrate=115_200, **options())) as found:
            server, loop = found
            yield Served(RtuFraming(), ours, loop, server)
    finally:
        os.close(theirs)
        os.close(ours)


@contextmanager
def tcp_server(framing: Framing, framer: FramerType) -> Iterator[Served]:
    with running(lambda: ModbusTcpServer(framer=framer, address=("127.0.0.1", 0), **options())) as (server, loop):
        address = server.transport.sockets[0].getsockname()
        with socket.create_connection(address, timeout=LIMIT_S) as connection:
            yield Served(framing, connection.fileno(), loop, server)


@pytest.fixture(params=["rtu", "tcp", "rtu_over_tcp"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    transports = {
        "rtu": serial_server,
        "tcp": lambda: tcp_server(TcpFraming(), FramerType.SOCKET),
        "rtu_over_tcp": lambda: tcp_server(RtuFraming(), FramerType.RTU),
    }
    with transports[request.param]() as server:
        yield server


def test_reading_all_four_tables(served: Served) -> None:
    for count in (1, 8, 19, 64):
        assert served.ask(ReadCoils(UNIT, 0, count)) == BitsReply(UNIT, 1, tuple(COILS[:count]))
        assert served.ask(ReadDiscreteInputs(UNIT, 0, count)) == BitsReply(UNIT, 2, tuple(INPUTS[:count]))
    assert served.ask(ReadCoils(UNIT, 5, 11)) == BitsReply(UNIT, 1, tuple(COILS[5:16]))
    for count in (1, 40, 125):
        assert served.ask(ReadRegisters(UNIT, 3, count)) == ReadReply(UNIT, tuple(HOLDING[3 : 3 + count]))
        words = tuple(INPUT_WORDS[3 : 3 + count])
        assert served.ask(ReadInputRegisters(UNIT, 3, count)) == ReadReply(UNIT, words, 4)


def test_writing_coils(served: Served) -> None:
    for is_on in (True, False, True):
        assert served.ask(WriteCoil(UNIT, 10, is_on)) == WriteCoilReply(UNIT, 10, is_on)
        assert served.stored(1, 10) == [is_on]
    pattern = tuple(index % 2 == 0 for index in range(21))
    assert served.ask(WriteCoils(UNIT, 30, pattern)) == WriteCoilsReply(UNIT, 30, 21)
    assert served.stored(1, 30, 21) == list(pattern)
    assert served.stored(1, 28, 2) == COILS[28:30]
    assert served.stored(1, 51, 2) == COILS[51:53]
    assert served.ask(ReadCoils(UNIT, 28, 25)) == BitsReply(UNIT, 1, (*COILS[28:30], *pattern, *COILS[51:53]))
    assert served.stored(1, 0, 64, unit=OTHER) == COILS


def test_writing_registers(served: Served) -> None:
    assert served.ask(WriteRegister(UNIT, 5, 0xABCD)) == WriteReply(UNIT, 5, 1, 0xABCD)
    assert served.stored(3, 5) == [0xABCD]
    words = tuple(range(1000, 1123))
    assert served.ask(WriteRegisters(UNIT, 6, words)) == WriteReply(UNIT, 6, 123, None)
    assert served.stored(3, 5, 125) == [0xABCD, *words, HOLDING[129]]
    assert served.ask(ReadRegisters(UNIT, 5, 125)) == ReadReply(UNIT, (0xABCD, *words, HOLDING[129]))
    assert served.stored(3, 0, 130, unit=OTHER) == HOLDING


def test_mask_write(served: Served) -> None:
    """The example of the application protocol V1.1b3, section 6.16: 0x12 becomes 0x17."""
    served.ask(WriteRegister(UNIT, 4, 0x12))
    assert served.ask(MaskWriteRegister(UNIT, 4, 0xF2, 0x25)) == MaskWriteReply(UNIT, 4, 0xF2, 0x25)
    assert served.stored(3, 4) == [0x17]
    assert served.ask(ReadRegisters(UNIT, 4, 1)) == ReadReply(UNIT, (0x17,))


def test_reading_and_writing_in_one(served: Served) -> None:
    """The write comes first: the span that is read shows what was written."""
    request = ReadWriteRegisters(UNIT, 12, 6, 14, (255, 254, 253))
    words = (*HOLDING[12:14], 255, 254, 253, HOLDING[17])
    assert served.ask(request) == ReadReply(UNIT, words, 23)
    assert served.stored(3, 12, 6) == list(words)
    most = ReadWriteRegisters(UNIT, 0, 125, 0, tuple(range(121)))
    assert served.ask(most) == ReadReply(UNIT, (*range(121), *HOLDING[121:125]), 23)
    assert served.stored(3, 0, 121) == list(range(121))


def test_server_id(served: Served) -> None:
    reply = served.ask(ReportServerId(UNIT))
    assert isinstance(reply, ServerIdReply)
    assert reply.content.startswith(TEXTS[0].encode() + b"-" + TEXTS[1].encode())
    assert reply.content.endswith(b"\xff"), "the run indicator says on"


@pytest.mark.parametrize("access", [DeviceIdAccess.BASIC, DeviceIdAccess.REGULAR, DeviceIdAccess.EXTENDED])
def test_identification_goes_on_until_nothing_follows(served: Served, access: DeviceIdAccess) -> None:
    expected = {
        number: text.encode() for number, text in TEXTS.items() if access is DeviceIdAccess.EXTENDED or number < 7
    }
    request: ReadDeviceIdentification | None = ReadDeviceIdentification(UNIT, access)
    found: dict[int, bytes] = {}
    turns = 0
    while request is not None:
        reply = served.ask(request)
        assert isinstance(reply, DeviceIdentificationReply)
        assert reply.access is access
        assert reply.conformity == 0x83
        found |= {entry.object_id: entry.content for entry in reply.objects}
        request = continuation(request, reply)
        turns += 1
    assert found == expected
    assert turns == 2, "the texts are too long for one reply"


def test_one_identification_object(served: Served) -> None:
    one = DeviceIdAccess.INDIVIDUAL
    for number, text in TEXTS.items():
        objects = (DeviceObject(number, text.encode()),)
        reply = DeviceIdentificationReply(UNIT, one, 0x83, None, objects)
        assert served.ask(ReadDeviceIdentification(UNIT, one, number)) == reply
    assert served.ask(ReadDeviceIdentification(UNIT, one, 0x90)) == ExceptionReply(UNIT, 43, 2)


def test_exceptions(served: Served) -> None:
    refused: tuple[BusRequest, ...] = (
        ReadCoils(UNIT, 1000, 1),
        ReadDiscreteInputs(UNIT, 1000, 1),
        ReadRegisters(UNIT, 129, 3),
        ReadInputRegisters(UNIT, 1000, 1),
        WriteCoil(UNIT, 1000, True),
        WriteRegister(UNIT, 1000, 1),
        WriteCoils(UNIT, 1000, (True, False)),
        WriteRegisters(UNIT, 1000, (1, 2)),
        MaskWriteRegister(UNIT, 1000, 1, 2),
        ReadWriteRegisters(UNIT, 0, 1, 1000, (1,)),
    )
    for request in refused:
        assert served.ask(request) == ExceptionReply(UNIT, request.function, 2)
    assert served.ask(ReadRegisters(NOBODY, 0, 1)) == ExceptionReply(NOBODY, 3, 4)
    assert served.ask(ReadRegisters(UNIT, 0, 1)) == ReadReply(UNIT, (HOLDING[0],)), "and it goes on"


def test_a_broadcast_reaches_every_device_and_nobody_answers(served: Served) -> None:
    served.send(WriteRegister(0, 7, 0x5A5A))
    assert is_reached(lambda: [served.stored(3, 7, unit=unit) for unit in (UNIT, OTHER)] == [[0x5A5A], [0x5A5A]])
    served.send(WriteRegisters(0, 8, (1, 2, 3)))
    assert is_reached(lambda: [served.stored(3, 8, 3, unit=unit) for unit in (UNIT, OTHER)] == [[1, 2, 3], [1, 2, 3]])
    served.send(WriteCoils(0, 1, (True, True)))
    assert is_reached(lambda: [served.stored(1, 1, 2, unit=unit) for unit in (UNIT, OTHER)] == [[True] * 2, [True] * 2])
    served.send(MaskWriteRegister(0, 8, 0, 0x77))
    assert is_reached(lambda: [served.stored(3, 8, unit=unit) for unit in (UNIT, OTHER)] == [[0x77], [0x77]])
    served.send(WriteCoil(0, 1, False))
    assert is_reached(lambda: [served.stored(1, 1, unit=unit) for unit in (UNIT, OTHER)] == [[False], [False]])
    assert served.is_quiet(0.2)
    assert served.ask(ReadRegisters(OTHER, 7, 1)) == ReadReply(OTHER, (0x5A5A,))


def test_a_late_reply_over_tcp_is_not_taken_for_the_answer_to_the_same_question() -> None:
    with tcp_server(TcpFraming(), FramerType.SOCKET) as served:
        served.send(ReadRegisters(UNIT, 0, 1))
        served.wait_for_bytes()  # the reply is there, and nobody has read it
        assert served.ask(ReadRegisters(UNIT, 1, 1)) == ReadReply(UNIT, (HOLDING[1],))
        assert served.framing.late_replies == 1
