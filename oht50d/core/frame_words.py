"""Requests and replies of every function in words, for people who read a trace (no state).

Source of the names: MODBUS Application Protocol Specification V1.1b3, sections 6 (functions) and 7 (exceptions).
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from oht50d.model import bus
from oht50d.model.bus import EXCEPTION_WORDS, BusReply, BusRequest, ReadRequest

FUNCTION_WORDS: Mapping[int, str] = {
    1: "read coils",
    2: "read discrete inputs",
    3: "read registers",
    4: "read input registers",
    5: "write coil",
    6: "write register",
    15: "write coils",
    16: "write registers",
    17: "report server id",
    22: "mask write register",
    23: "read and write registers",
    43: "read device identification",
}


def function_words(function: int) -> str:
    """The name of a function, or its number."""
    return FUNCTION_WORDS.get(function, f"function {function}")


def exception_words(code: int) -> str:
    """An exception as people know it: `exception 2 (illegal data address)`."""
    return f"exception {code} ({EXCEPTION_WORDS.get(code, 'of the maker')})"


def request_words(request: BusRequest) -> str:
    """What a request asks for."""
    name = function_words(request.function)
    if isinstance(request, ReadRequest):
        return name + _asked(request)
    if isinstance(request, bus.ReadWriteRegisters):
        written = f"{_span(request.write_address, len(request.words))} = {_words(request.words)}"
        return f"{name}: read {_span(request.read_address, request.read_count)}, write {written}"
    return name + _written(request)


def _asked(request: ReadRequest) -> str:
    match request:
        case bus.ReportServerId():
            return ""
        case bus.ReadDeviceIdentification():
            return f", {request.access.name.lower()} from object {request.object_id}"
    return f" {_span(request.address, request.count)}"


def _written(
    request: bus.WriteRegister | bus.WriteRegisters | bus.WriteCoil | bus.WriteCoils | bus.MaskWriteRegister,
) -> str:
    match request:
        case bus.WriteRegister():
            return f" {request.address:#06x} = {request.word:#06x}"
        case bus.WriteRegisters():
            return f" {_span(request.address, len(request.words))} = {_words(request.words)}"
        case bus.WriteCoil():
            return f" {request.address:#06x} = {'on' if request.is_on else 'off'}"
        case bus.WriteCoils():
            return f" {_span(request.address, len(request.bits))} = {_bits(request.bits)}"
        case bus.MaskWriteRegister():
            return f" {request.address:#06x} and {request.and_mask:#06x} or {request.or_mask:#06x}"
        case _:
            assert_never(request)


def reply_words(reply: BusReply) -> str:
    """What a reply says, without the values of registers: these have names of their own."""
    match reply:
        case bus.ExceptionReply():
            return exception_words(reply.code)
        case bus.ReadReply():
            return f"{len(reply.words)} word{'s' if len(reply.words) > 1 else ''}"
        case bus.BitsReply():
            return _bits(reply.bits)
        case bus.WriteReply() | bus.WriteCoilReply() | bus.WriteCoilsReply() | bus.MaskWriteReply():
            return "echo"
        case bus.ServerIdReply():
            return f"server id {reply.content.hex(' ')}"
        case bus.DeviceIdentificationReply():
            return ", ".join(f"{entry.object_id}: {_text(entry.content)}" for entry in reply.objects) or "no object"
        case _:
            assert_never(reply)


def _span(address: int, count: int) -> str:
    return f"{address:#06x}" if count == 1 else f"{address:#06x}..{address + count - 1:#06x} ({count})"


def _words(words: Sequence[int]) -> str:
    return " ".join(f"{word:04x}" for word in words)


def _bits(bits: Sequence[bool]) -> str:
    return "".join("1" if bit else "0" for bit in bits)


def _text(octets: bytes) -> str:
    return "".join(chr(octet) if 0x20 <= octet < 0x7F else "." for octet in octets)
