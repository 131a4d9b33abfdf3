"""Requests: the worked frames of the fact sheet (RPLIDAR.md, section 1), and the device's tolerant reader."""

from collections.abc import Callable
from functools import reduce
from operator import xor

import pytest

from oht50d.codec.rplidar import commands
from oht50d.codec.rplidar.commands import Request, RequestParser, decode_baud_confirm, decode_express_scan, decode_motor
from oht50d.codec.rplidar.conf import MODE_ANSWER, MODE_COUNT
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError

WORKED_FRAMES = [
    (commands.encode_stop(), "A5 25", Request(0x25)),
    (commands.encode_reset(), "A5 40", Request(0x40)),
    (commands.encode_scan(), "A5 20", Request(0x20)),
    (commands.encode_force_scan(), "A5 21", Request(0x21)),
    (commands.encode_get_info(), "A5 50", Request(0x50)),
    (commands.encode_get_health(), "A5 52", Request(0x52)),
    (commands.encode_get_samplerate(), "A5 59", Request(0x59)),
    (commands.encode_express_scan(), "A5 82 05 00 00 00 00 00 22", Request(0x82, bytes(5))),
    (commands.encode_express_scan(3), "A5 82 05 03 00 00 00 00 21", Request(0x82, bytes((3, 0, 0, 0, 0)))),
    (commands.encode_hq_scan(), "A5 83 21" + " 00" * 33 + " 07", Request(0x83, bytes(33))),
    (commands.encode_motor_speed(600), "A5 A8 02 58 02 55", Request(0xA8, b"\x58\x02")),
    (
        commands.encode_baud_confirm(256_000),
        "A5 90 08 5F 5F 00 E8 03 00 00 00 D6",
        Request(0x90, bytes.fromhex("5F5F00E803000000")),
    ),
    (MODE_COUNT.encode_query(), "A5 84 04 70 00 00 00 55", Request(0x84, b"\x70\0\0\0")),
    (MODE_ANSWER.encode_query(1), "A5 84 06 75 00 00 00 01 00 53", Request(0x84, b"\x75\0\0\0\x01\0")),
    (commands.encode_motor_pwm(660), "A5 F0 02 94 02 C1", Request(0xF0, b"\x94\x02")),
    (commands.encode_motor_pwm(0), "A5 F0 02 00 00 57", Request(0xF0, bytes(2))),
    (commands.encode_acc_board_flag(), "A5 FF 04 00 00 00 00 5E", Request(0xFF, bytes(4))),
]


@pytest.mark.parametrize(("frame", "worked", "request_read"), WORKED_FRAMES, ids=[row[1] for row in WORKED_FRAMES])
def test_frames_equal_the_fact_sheet_and_are_read_back(frame: bytes, worked: str, request_read: Request) -> None:
    assert frame == bytes.fromhex(worked)
    assert RequestParser().receive_data(frame) == [request_read]


@pytest.mark.parametrize("pwm", [-1, 1024])
def test_a_duty_beyond_the_range_is_refused(pwm: int) -> None:
    with pytest.raises(LocalProtocolError):
        commands.encode_motor_pwm(pwm)


@pytest.mark.parametrize("mode", [-1, 256])
def test_a_scan_mode_beyond_an_octet_is_refused(mode: int) -> None:
    with pytest.raises(LocalProtocolError):
        commands.encode_express_scan(mode)


@pytest.mark.parametrize(
    "before",
    [
        b"\x00\xff\x13",
        b"\xa5",
        b"\xa5\xa5",
        b"\xa5\x99",
        b"\xa5\x82\xff",  # a length that no such request has
        b"\xa5\xf0\x02\x94\x02\xc0",  # a wrong checksum
    ],
)
def test_a_request_behind_garbage_is_found(before: bytes) -> None:
    parser = RequestParser()
    assert parser.receive_data(before + commands.encode_get_info()) == [Request(0x50)]
    assert parser.skipped_bytes == len(before)


def test_requests_may_come_octet_by_octet() -> None:
    parser = RequestParser()
    stream = commands.encode_stop() + commands.encode_motor_pwm(660) + commands.encode_scan()
    found = [request for octet in stream for request in parser.receive_data(bytes((octet,)))]
    assert found == [Request(0x25), Request(0xF0, b"\x94\x02"), Request(0x20)]


@pytest.mark.parametrize("octets", [b"", b"\xa5", bytes(range(256)), b"\x81" * 84, b"\x00" * 257 + b"\x07" * 3])
def test_the_checksum_is_the_xor_of_all_octets(octets: bytes) -> None:
    assert commands.checksum(octets) == commands.checksum(bytearray(octets)) == reduce(xor, octets, 0)


@pytest.mark.parametrize("rpm", [-1, 65536])
def test_a_speed_beyond_the_range_is_refused(rpm: int) -> None:
    with pytest.raises(LocalProtocolError):
        commands.encode_motor_speed(rpm)


@pytest.mark.parametrize("baud", [0, 1 << 32])
def test_a_baud_rate_beyond_the_range_is_refused(baud: int) -> None:
    with pytest.raises(LocalProtocolError):
        commands.encode_baud_confirm(baud)


def test_the_device_reads_what_the_host_sends() -> None:
    stream = commands.encode_express_scan(3) + commands.encode_motor_speed(600) + commands.encode_baud_confirm(460_800)
    express, speed, baud = RequestParser().receive_data(stream)
    assert decode_express_scan(express.payload) == 3
    assert decode_motor(speed.payload) == 600
    assert decode_baud_confirm(baud.payload) == 460_800


@pytest.mark.parametrize(
    ("decode", "payload"),
    [
        (decode_express_scan, b""),
        (decode_motor, b"\x01"),
        (decode_baud_confirm, bytes.fromhex("5F5F00E8030000")),
        (decode_baud_confirm, bytes(8)),
    ],
)
def test_payloads_that_cannot_be_are_the_remote_sides_error(decode: Callable[[bytes], int], payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(payload)


def test_a_payload_that_a_request_does_not_have_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="SET_MOTOR_PWM has no payload of 3 octets"):
        commands.encode_payload_request(commands.Command.SET_MOTOR_PWM, bytes(3))
