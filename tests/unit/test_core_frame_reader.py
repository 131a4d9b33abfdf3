"""What a trace tells about every function: in words, with names, units, CRC, gaps and latencies."""

from struct import pack

import pytest
from bus_fakes import CHARACTER_NS, MS, SILENCE_NS, shipped_maps

from oht50d.codec.mbap import encode_adu
from oht50d.codec.modbus_pdu import encode_reply_pdu, encode_request_pdu
from oht50d.codec.rtu import crc16, encode_reply, encode_request
from oht50d.core.bus_trace import TracedFrame
from oht50d.core.frame_event import Note, Way
from oht50d.core.frame_reader import DecodedFrame, FrameReader
from oht50d.core.wire_slots import Purpose
from oht50d.model import bus
from oht50d.model.registers import Quality

MAPS = {module.address: module for module in shipped_maps()}


def reader(**options: bool) -> FrameReader:
    return FrameReader(MAPS, CHARACTER_NS, **options)


def sent(octets: bytes, at_ns: int = 0, note: Note = Note.SENT) -> TracedFrame:
    return TracedFrame(0, at_ns, Way.SENT, octets, note, Purpose.POLL)


def received(octets: bytes, at_ns: int = 0, note: Note = Note.VALID) -> TracedFrame:
    return TracedFrame(1, at_ns, Way.RECEIVED, octets, note, Purpose.POLL)


def exchange(request: bus.BusRequest, reply: bus.BusReply) -> tuple[DecodedFrame, DecodedFrame]:
    found = reader()
    note = Note.EXCEPTION if isinstance(reply, bus.ExceptionReply) else Note.VALID
    return found.decode(sent(encode_request(request))), found.decode(received(encode_reply(reply), note=note))


@pytest.mark.parametrize(
    ("request_", "reply", "asked", "told"),
    [
        (bus.ReadCoils(5, 16, 3), bus.BitsReply(5, 1, (True, False, True)), "read coils 0x0010..0x0012 (3)", "101"),
        (bus.ReadDiscreteInputs(5, 0, 1), bus.BitsReply(5, 2, (True,)), "read discrete inputs 0x0000", "1"),
        (bus.ReadRegisters(5, 0x33, 1), bus.ReadReply(5, (7,)), "read registers 0x0033", "1 word"),
        (
            bus.ReadInputRegisters(5, 9, 2), bus.ReadReply(5, (7, 8), 4),
            "read input registers 0x0009..0x000a (2)", "2 words",
        ),
        (bus.WriteCoil(5, 9, True), bus.WriteCoilReply(5, 9, True), "write coil 0x0009 = on", "echo"),
        (bus.WriteRegister(5, 0x25, 7), bus.WriteReply(5, 0x25, 1, 7), "write register 0x0025 = 0x0007", "echo"),
        (
            bus.WriteCoils(5, 9, (True, False)), bus.WriteCoilsReply(5, 9, 2),
            "write coils 0x0009..0x000a (2) = 10", "echo",
        ),
        (
            bus.WriteRegisters(4, 1, (0, 255)), bus.WriteReply(4, 1, 2, None),
            "write registers 0x0001..0x0002 (2) = 0000 00ff", "echo",
        ),
        (bus.ReportServerId(5), bus.ServerIdReply(5, b"\x05\xff"), "report server id", "server id 05 ff"),
        (
            bus.MaskWriteRegister(5, 4, 0xF2, 0x25), bus.MaskWriteReply(5, 4, 0xF2, 0x25),
            "mask write register 0x0004 and 0x00f2 or 0x0025", "echo",
        ),
        (
            bus.ReadWriteRegisters(5, 0x33, 1, 0x25, (3,)), bus.ReadReply(5, (1,), 23),
            "read and write registers: read 0x0033, write 0x0025 = 0003", "1 word",
        ),
        (
            bus.ReadDeviceIdentification(5),
            bus.DeviceIdentificationReply(5, bus.DeviceIdAccess.BASIC, 1, None, (bus.DeviceObject(0, b"OHT\x00"),)),
            "read device identification, basic from object 0", "0: OHT.",
        ),
        (bus.ReadRegisters(5, 0x33, 1), bus.ExceptionReply(5, 3, 2), "read registers 0x0033",
         "exception 2 (illegal data address)"),
        (bus.ReadRegisters(5, 0x33, 1), bus.ExceptionReply(5, 3, 9), "read registers 0x0033",
         "exception 9 (of the maker)"),
    ],
)  # fmt: skip
def test_every_function_in_words(request_: bus.BusRequest, reply: bus.BusReply, asked: str, told: str) -> None:
    first, second = exchange(request_, reply)
    assert (first.words, second.words) == (asked, told)
    assert (first.unit, first.function) == (second.unit, second.function) == (request_.unit, request_.function)
    assert first.is_crc_good
    assert second.is_crc_good


def test_values_have_names_units_and_quality() -> None:
    _, told = exchange(bus.ReadRegisters(2, 0, 1), bus.ReadReply(2, (521,)))
    (voltage,) = told.values
    assert voltage.spec is not None
    assert (voltage.spec.name, voltage.value, voltage.spec.unit, voltage.quality) == (
        "battery_voltage", 52.1, "V", Quality.GOOD
    )  # fmt: skip
    _, told = exchange(bus.ReadRegisters(4, 2, 1), bus.ReadReply(4, (256 + 255,)))
    assert (told.values[0].word, told.values[0].value) == (511, 255)
    _, told = exchange(bus.ReadRegisters(4, 1, 1), bus.ReadReply(4, (2,)))
    assert told.values[0].quality is Quality.OUT_OF_RANGE


def test_what_is_written_has_names_too() -> None:
    asked, _ = exchange(bus.WriteRegisters(4, 1, (1, 128)), bus.WriteReply(4, 1, 2, None))
    assert [value.spec and value.spec.name for value in asked.values] == ["motor_1_enable", "motor_1_speed_setpoint"]


def test_registers_without_a_map_are_raw() -> None:
    _, told = exchange(bus.ReadRegisters(0x77, 5, 2), bus.ReadReply(0x77, (1, 2)))
    assert [(value.address, value.word, value.spec) for value in told.values] == [(5, 1, None), (6, 2, None)]


def test_gaps_and_latency() -> None:
    found = reader()
    request = encode_request(bus.ReadRegisters(5, 0x33, 1))
    reply = encode_reply(bus.ReadReply(5, (7,)))
    ends_ns = 100 * MS + len(request) * CHARACTER_NS
    replied_ns = ends_ns + SILENCE_NS + MS + len(reply) * CHARACTER_NS
    assert found.decode(sent(request, 100 * MS)).gap_ns is None
    told = found.decode(received(reply, replied_ns))
    assert (told.gap_ns, told.latency_ns) == (SILENCE_NS + MS, replied_ns - ends_ns)
    assert found.decode(sent(request, replied_ns + SILENCE_NS)).gap_ns == SILENCE_NS


@pytest.mark.parametrize(
    ("note", "octets", "words"),
    [
        (Note.TIMEOUT, b"", "no reply"),
        (Note.TIMEOUT, b"\x05\x03", "no reply after 2 bytes"),
        (Note.CRC, b"\x05\x03\x02\x00\x01\x00\x00", "damaged reply, 7 bytes"),
        (Note.CRC, b"", "only damaged bytes"),
        (Note.ABANDONED, b"", "given up for a stop"),
        (Note.STALE, b"\x05", "a reply that was seen too late: this process was not running"),
    ],
)
def test_failures_belong_to_the_request_that_was_asked(note: Note, octets: bytes, words: str) -> None:
    found = reader()
    found.skip(sent(encode_request(bus.ReadRegisters(5, 0x33, 1))))
    told = found.decode(received(octets, note=note))
    assert (told.unit, told.function, told.words) == (5, 3, words)


def test_bytes_that_nobody_asked_for_belong_to_no_exchange() -> None:
    found = reader()
    found.skip(sent(encode_request(bus.ReadRegisters(5, 0x33, 1))))
    told = found.decode(TracedFrame(0, 0, Way.RECEIVED, b"\x04\x03\x00", Note.UNEXPECTED, None))
    assert told.words == "3 bytes that nobody had asked for"
    assert (told.unit, told.function) == (None, None)


def test_events_of_the_line() -> None:
    told = reader().decode(TracedFrame(0, 0, Way.LINE, b"/dev/ttyOHT485", Note.OPENED, None))
    assert (told.words, told.unit, told.is_crc_good) == ("port opened: /dev/ttyOHT485", None, None)


def test_what_others_say() -> None:
    found = reader()
    request, reply = encode_request(bus.ReadRegisters(5, 0x33, 1)), encode_reply(bus.ReadReply(5, (7,)))
    asked = found.decode(TracedFrame(0, 0, Way.OVERHEARD, request, Note.REQUEST, None))
    assert (asked.unit, asked.words) == (5, "read registers 0x0033")
    told = found.decode(TracedFrame(1, 5 * MS, Way.OVERHEARD, reply, Note.REPLY, None))
    assert (told.words, told.latency_ns) == ("1 word", 5 * MS)
    assert told.values[0].value == 7


def test_a_reply_without_its_request() -> None:
    told = reader().decode(received(encode_reply(bus.ReadReply(5, (7,)))))
    assert told.words == "reply to read registers, whose request was not heard"


def test_a_wrong_crc_is_told() -> None:
    octets = encode_request(bus.ReadRegisters(5, 0x33, 1))
    told = reader().decode(sent(octets[:-1] + bytes((octets[-1] ^ 1,))))
    assert told.is_crc_good is False
    assert told.words == "8 bytes with a wrong CRC"


def test_frames_of_modbus_tcp_have_no_crc() -> None:
    found = reader(is_tcp=True)
    request, reply = bus.ReadRegisters(5, 0x33, 1), bus.ReadReply(5, (7,))
    asked = found.decode(sent(encode_adu(9, 5, encode_request_pdu(request))))
    told = found.decode(received(encode_adu(9, 5, encode_reply_pdu(reply))))
    assert (asked.words, told.words) == ("read registers 0x0033", "1 word")
    assert (asked.unit, asked.is_crc_good) == (5, None)
    assert told.values[0].value == 7


def test_a_function_that_nobody_knows() -> None:
    octets = bytes((5, 0x63, 1, 2))
    told = reader().decode(sent(octets + pack("<H", crc16(octets))))
    assert (told.unit, told.function, told.words) == (5, 0x63, "function 99 is not served")
