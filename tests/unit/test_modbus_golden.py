"""Every function against the bytes that the standards print: both halves, both directions, both framings."""

import json
from pathlib import Path
from typing import Any

import pytest

from oht50d.codec.mbap import TcpFraming, TcpRequest, TcpServer
from oht50d.codec.modbus_pdu import SERVED_FUNCTIONS, decode_reply_pdu, encode_reply_pdu, encode_request_pdu
from oht50d.codec.rtu import ModbusServer, RtuFraming, encode_reply, encode_request
from oht50d.model import bus
from oht50d.model.bus import BusReply, BusRequest, DeviceIdAccess, DeviceObject, ExceptionReply
from oht50d.model.errors import LocalProtocolError

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "modbus_functions.json").read_text())
EXCHANGES = GOLDEN["exchanges"]
ANSWERED = [entry for entry in EXCHANGES if entry["reply"] is not None]
BROADCASTS = [entry for entry in EXCHANGES if entry["reply"] is None]


def source_of(entry: dict[str, Any]) -> str:
    return str(entry["source"]).partition(":")[0].replace("application protocol V1.1b3, ", "")


def built(unit: int, fields: dict[str, Any]) -> Any:
    """The value that an entry describes."""
    fields = dict(fields)
    kind = getattr(bus, fields.pop("kind"))
    for name, value in fields.items():
        if name == "bits":
            fields[name] = tuple(digit == "1" for digit in value)
        elif name == "words":
            fields[name] = tuple(value)
        elif name == "access":
            fields[name] = DeviceIdAccess(value)
        elif name == "content":
            fields[name] = bytes.fromhex(value)
        elif name == "objects":
            fields[name] = tuple(DeviceObject(number, text.encode()) for number, text in value)
    return kind(unit=unit, **fields)


def request_of(entry: dict[str, Any]) -> BusRequest:
    request: BusRequest = built(entry["unit"], entry["request"])
    return request


def reply_of(entry: dict[str, Any]) -> BusReply:
    reply: BusReply = built(entry["unit"], entry["reply"])
    return reply


def frame_of(entry: dict[str, Any], name: str) -> bytes:
    return bytes.fromhex(entry[name])


def tcp_before(number: int) -> TcpFraming:
    """A connection whose next request bears `number`."""
    framing = TcpFraming()
    for _ in range(number - 1):
        framing.encode(bus.ReadRegisters(1, 0, 1))
    return framing


@pytest.fixture
def tcp() -> TcpFraming:
    return tcp_before(GOLDEN["transaction"])


@pytest.mark.parametrize("entry", ANSWERED, ids=source_of)
def test_pdu(entry: dict[str, Any]) -> None:
    request, reply = request_of(entry), reply_of(entry)
    assert encode_request_pdu(request) == frame_of(entry, "request_pdu")
    assert decode_reply_pdu(request, frame_of(entry, "reply_pdu")) == reply
    assert encode_reply_pdu(reply) == frame_of(entry, "reply_pdu")


@pytest.mark.parametrize("entry", ANSWERED, ids=source_of)
def test_rtu(entry: dict[str, Any]) -> None:
    request, reply = request_of(entry), reply_of(entry)
    framing = RtuFraming()
    assert framing.encode(request) == frame_of(entry, "request_rtu")
    framing.expect(request)
    assert framing.receive_data(frame_of(entry, "reply_rtu")) == reply
    assert ModbusServer().receive_data(frame_of(entry, "request_rtu")) == [request]
    assert encode_reply(reply) == ModbusServer.encode_reply(reply) == frame_of(entry, "reply_rtu")


@pytest.mark.parametrize("entry", ANSWERED, ids=source_of)
def test_tcp(entry: dict[str, Any], tcp: TcpFraming) -> None:
    request, reply, number = request_of(entry), reply_of(entry), GOLDEN["transaction"]
    assert tcp.encode(request) == frame_of(entry, "request_tcp")
    tcp.expect(request)
    assert tcp.receive_data(frame_of(entry, "reply_tcp")) == reply
    assert TcpServer().receive_data(frame_of(entry, "request_tcp")) == [TcpRequest(number, request)]
    assert TcpServer.encode_reply(number, reply) == frame_of(entry, "reply_tcp")


@pytest.mark.parametrize("entry", BROADCASTS, ids=lambda entry: entry["request"]["kind"])
def test_broadcasts_go_out_and_nothing_is_expected(entry: dict[str, Any], tcp: TcpFraming) -> None:
    request = request_of(entry)
    assert encode_request(request) == frame_of(entry, "request_rtu")
    assert tcp.encode(request) == frame_of(entry, "request_tcp")
    assert ModbusServer().receive_data(frame_of(entry, "request_rtu")) == [request]
    assert TcpServer().receive_data(frame_of(entry, "request_tcp")) == [TcpRequest(GOLDEN["transaction"], request)]
    for framing in (RtuFraming(), tcp):
        assert framing.reply_bytes(request) == 0
        with pytest.raises(LocalProtocolError):
            framing.expect(request)


def test_every_function_code_and_exception_has_a_vector() -> None:
    assert {request_of(entry).function for entry in ANSWERED} == SERVED_FUNCTIONS
    replies = [reply_of(entry) for entry in ANSWERED]
    assert {reply.code for reply in replies if isinstance(reply, ExceptionReply)} == set(bus.EXCEPTION_WORDS)
    accesses = [entry["request"].get("access") for entry in ANSWERED]
    assert set(DeviceIdAccess) <= set(accesses)
