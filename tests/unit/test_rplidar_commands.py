"""Requests: the worked frames of the fact sheet (RPLIDAR.md, section 1), and the device's tolerant reader."""

import pytest

from oht50d.codec.rplidar import commands
from oht50d.codec.rplidar.commands import Request, RequestParser
from oht50d.model.errors import LocalProtocolError

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
    (commands.encode_motor_pwm(660), "A5 F0 02 94 02 C1", Request(0xF0, b"\x94\x02")),
    (commands.encode_motor_pwm(0), "A5 F0 02 00 00 57", Request(0xF0, bytes(2))),
    (commands.encode_acc_board_flag(), "A5 FF 04 00 00 00 00 5E", Request(0xFF, bytes(4))),
]


@pytest.mark.parametrize(("frame", "worked", "request_read"), WORKED_FRAMES, ids=[row[1] for row in WORKED_FRAMES])
def test_frames_equal_the_fact_sheet_and_are_read_back(frame: bytes, worked: str, request_read: Request) -> None:
    assert frame == bytes.fromhex(worked)
    assert RequestParser().receive_data(frame) == [request_read]


@pytest.mark.parametrize("worked", ["A5 84 04 70 00 00 00 55", "A5 84 06 75 00 00 00 01 00 53", "A5 A8 02 58 02 55"])
def test_frames_that_only_other_hosts_send_are_read(worked: str) -> None:
    frame = bytes.fromhex(worked)
    assert RequestParser().receive_data(frame) == [Request(frame[1], frame[3:-1])]


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
