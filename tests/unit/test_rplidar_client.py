"""The host's parser: answers, scans, noise, resynchronisation; and the encoders' limits."""

from collections.abc import Sequence

import pytest
from rplidar_packets import SAMPLE_US, STREAMS, Stream

from oht50d.codec.rplidar.answers import (
    AnswerKind,
    Descriptor,
    SampleRate,
    decode_acc_board,
    decode_descriptor,
    decode_health,
    decode_info,
    decode_sample_rate,
    describe,
    encode_acc_board,
    encode_descriptor,
    encode_health,
    encode_info,
    encode_sample_rate,
    encode_single_answer,
)
from oht50d.codec.rplidar.conf import (
    MODE_COUNT,
    MODE_NAME,
    STATIC_ADDRESS,
    TYPICAL_MODE,
    SettingResult,
    encode_setting_result,
)
from oht50d.codec.rplidar.express import encode_capsule
from oht50d.codec.rplidar.parser import (
    AccBoardAnswer,
    ConfAnswer,
    HealthAnswer,
    InfoAnswer,
    RplidarClient,
    SampleRateAnswer,
    ScanStarted,
    SettingAnswer,
)
from oht50d.codec.rplidar.samples import ChecksumError, Samples, ScanReset
from oht50d.codec.rplidar.standard import encode_node
from oht50d.model.errors import LocalProtocolError, RemoteProtocolError
from oht50d.model.lidar import LidarHealth, LidarInfo

INFO = LidarInfo(0x18, 1, 29, 7, "00112233445566778899AABBCCDDEEFF")


def head(kind: AnswerKind) -> bytes:
    return encode_descriptor(describe(kind))


def info_answer() -> bytes:
    return head(AnswerKind.INFO) + encode_info(INFO)


def capsules(count: int, *, step_q6: int = 1600, first_is_reset: bool = True) -> list[bytes]:
    return [
        encode_capsule((i * step_q6) % 23040, first_is_reset and i == 0, [1000 + i] * 32, [0] * 32)
        for i in range(count)
    ]


def distances(events: Sequence[object]) -> list[float]:
    return [mm for event in events if isinstance(event, Samples) for mm in event.distances_mm.tolist()]


@pytest.mark.parametrize(
    ("kind", "worked"),
    [
        (AnswerKind.INFO, "A5 5A 14 00 00 00 04"),
        (AnswerKind.HEALTH, "A5 5A 03 00 00 00 06"),
        (AnswerKind.SAMPLE_RATE, "A5 5A 04 00 00 00 15"),
        (AnswerKind.ACC_BOARD, "A5 5A 04 00 00 00 FF"),
        (AnswerKind.STANDARD, "A5 5A 05 00 00 40 81"),
        (AnswerKind.EXPRESS, "A5 5A 54 00 00 40 82"),
        (AnswerKind.HQ, "A5 5A 0D 03 00 40 83"),
        (AnswerKind.ULTRA, "A5 5A 84 00 00 40 84"),
        (AnswerKind.DENSE, "A5 5A 54 00 00 40 85"),
        (AnswerKind.ULTRA_DENSE, "A5 5A AA 00 00 40 86"),
    ],
)
def test_descriptors_equal_the_fact_sheet(kind: AnswerKind, worked: str) -> None:
    assert head(kind) == bytes.fromhex(worked)
    assert decode_descriptor(bytes.fromhex(worked)) == describe(kind)


def test_single_answers_come_back_as_they_were_sent() -> None:
    assert decode_info(encode_info(INFO) + b"more") == INFO
    assert encode_info(INFO)[:4].hex() == "181d0107"
    assert decode_health(encode_health(LidarHealth(2, 0x8001))) == LidarHealth(2, 0x8001)
    assert decode_sample_rate(encode_sample_rate(SampleRate(508, 254))) == SampleRate(508, 254)
    assert decode_acc_board(encode_acc_board(True)) is True
    assert decode_acc_board(encode_acc_board(False)) is False


@pytest.mark.parametrize(
    "decode", [decode_info, decode_health, decode_sample_rate, decode_acc_board, decode_descriptor]
)
def test_short_answers_are_the_remote_sides_error(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(RemoteProtocolError):
        decode(b"\x01\x02")


@pytest.mark.parametrize(
    "info", [LidarInfo(256, 1, 0, 0, "00" * 16), LidarInfo(1, 1, 0, 0, "00"), LidarInfo(1, 1, 0, 0, "x")]
)
def test_information_that_fits_no_answer_is_refused(info: LidarInfo) -> None:
    with pytest.raises(LocalProtocolError):
        encode_info(info)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, False, [0] * 31, [0] * 32),
        (0, False, [0] * 32, [0] * 33),
        (32768, False, [0] * 32, [0] * 32),
        (0, False, [16384] + [0] * 31, [0] * 32),
        (0, False, [0] * 32, [64] + [0] * 31),
    ],
)
def test_capsules_that_cannot_be_are_refused(arguments: tuple[int, bool, list[int], list[int]]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_capsule(*arguments)


@pytest.mark.parametrize("arguments", [(32768, 0, 0), (0, 65536, 0), (0, 0, 64)])
def test_nodes_that_cannot_be_are_refused(arguments: tuple[int, int, int]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_node(*arguments, is_start=False)


@pytest.mark.parametrize(
    ("kind", "body", "answer"),
    [
        (AnswerKind.INFO, encode_info(INFO), InfoAnswer(INFO)),
        (AnswerKind.HEALTH, encode_health(LidarHealth(1, 7)), HealthAnswer(LidarHealth(1, 7))),
        (AnswerKind.SAMPLE_RATE, encode_sample_rate(SampleRate(500, 250)), SampleRateAnswer(SampleRate(500, 250))),
        (AnswerKind.ACC_BOARD, encode_acc_board(True), AccBoardAnswer(True)),
    ],
)
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_an_awaited_answer_arrives_whatever_the_pieces(
    kind: AnswerKind, body: bytes, answer: object, chunk: int
) -> None:
    client = RplidarClient()
    client.expect(kind)
    stream = head(kind) + body
    pieces = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    assert [event for piece in pieces for event in client.receive_data(piece)] == [answer]
    assert client.noise_bytes == 0


@pytest.mark.parametrize(
    "before",
    [
        b"\xa5",  # the vendor's parser misses the answer behind this one
        b"\xa5\xa5\x5a",
        b"RP LIDAR System.\r\nFirmware Ver 1.29 - rtm, HW Ver 7\r\nModel: 18\r\n",
        b"\xa5\x5a\x00\x00\x00\x00\x00",
        encode_descriptor(Descriptor(0x04, 1, False)),
        encode_descriptor(Descriptor(0x04, 20, True)),
        encode_descriptor(Descriptor(0x04, 1 << 29, False)),
        head(AnswerKind.HEALTH) + encode_health(LidarHealth(0, 0)),
        b"".join(capsules(3)),
    ],
)
def test_an_answer_behind_noise_is_found_and_the_noise_is_counted(before: bytes) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.INFO)
    assert client.receive_data(before + info_answer() + b"\x01\x02") == [InfoAnswer(INFO)]
    assert client.noise_bytes == len(before) + 2
    assert client.noise_tail == (before + b"\x01\x02")[-64:]


def test_nothing_is_awaited_before_a_request_and_after_an_answer() -> None:
    client = RplidarClient()
    assert client.receive_data(info_answer()) == []
    client.expect(AnswerKind.INFO)
    assert len(client.receive_data(info_answer() + info_answer())) == 1
    assert client.noise_bytes == 2 * len(info_answer())


def test_a_new_request_drops_what_was_half_read() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.INFO)
    assert client.receive_data(info_answer()[:15]) == []
    client.expect(AnswerKind.HEALTH)
    answer = head(AnswerKind.HEALTH) + encode_health(LidarHealth(0, 0))
    assert client.receive_data(answer) == [HealthAnswer(LidarHealth(0, 0))]


def test_an_express_scan_lags_one_capsule() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.EXPRESS)
    events = client.receive_data(head(AnswerKind.EXPRESS) + b"".join(capsules(3)))
    assert events[:2] == [ScanStarted(AnswerKind.EXPRESS), ScanReset()]
    assert distances(events) == [1000.0] * 32 + [1001.0] * 32
    samples = events[2]
    assert isinstance(samples, Samples)
    assert len(samples) == 64
    assert samples.lag == 32
    assert samples.angles_deg[[0, 32]].tolist() == pytest.approx([0.0, 25.0], abs=0.01)


def test_a_damaged_capsule_costs_two_and_is_counted_across_scans() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.EXPRESS)
    stream = capsules(6)
    stream[2] = stream[2][:40] + bytes((stream[2][40] ^ 0x10,)) + stream[2][41:]
    events = client.receive_data(head(AnswerKind.EXPRESS) + b"".join(stream))
    assert [type(event) for event in events] == [ScanStarted, ScanReset, Samples, ChecksumError, Samples]
    assert distances(events) == [1000.0] * 32 + [1003.0] * 32 + [1004.0] * 32
    client.expect(None)
    assert client.checksum_errors == 1
    assert client.receive_data(b"\x00" * 10) == []
    assert client.noise_bytes == 10


def test_a_standard_scan_is_decoded_as_it_comes() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.STANDARD)
    nodes = [encode_node(64 * i, 4 * (1000 + i), 47, is_start=i == 0) for i in range(4)]
    events = client.receive_data(head(AnswerKind.STANDARD) + b"".join(nodes))
    assert events[0] == ScanStarted(AnswerKind.STANDARD)
    assert distances(events) == [1000.0, 1001.0, 1002.0, 1003.0]
    samples = events[1]
    assert isinstance(samples, Samples)
    assert samples.flag.tolist() == [1, 0, 0, 0]
    assert samples.quality.tolist() == [188] * 4
    assert distances(client.receive_data(b"\x00" + nodes[1])) == [1001.0]
    assert client.noise_bytes == 1


def test_drained_input_costs_a_partial_packet_and_no_more() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.EXPRESS)
    first, second, third, fourth = capsules(4)
    client.receive_data(head(AnswerKind.EXPRESS) + first + second[:50])
    client.resynchronise()
    assert distances(client.receive_data(third + fourth)) == [1002.0] * 32
    assert client.checksum_errors == 0


@pytest.mark.parametrize("held", [9, 3])
def test_drained_input_forgets_half_an_answer(held: int) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.INFO)
    client.receive_data(info_answer()[:held])
    client.resynchronise()
    assert client.receive_data(info_answer()) == [InfoAnswer(INFO)]
    assert client.noise_bytes == held


def test_a_standard_decoder_forgets_a_partial_node() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.STANDARD)
    node = encode_node(6400, 4000, 10, is_start=False)
    client.receive_data(head(AnswerKind.STANDARD) + node[:3])
    client.resynchronise()
    assert distances(client.receive_data(node)) == [1000.0]


@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_an_answer_about_another_configuration_type_is_noise(chunk: int) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.CONF, conf=MODE_COUNT)
    late = encode_single_answer(AnswerKind.CONF, TYPICAL_MODE.encode_answer(2))
    stream = late + encode_single_answer(AnswerKind.CONF, MODE_COUNT.encode_answer(5))
    pieces = [stream[i : i + chunk] for i in range(0, len(stream), chunk)]
    (answer,) = [event for piece in pieces for event in client.receive_data(piece)]
    assert isinstance(answer, ConfAnswer)
    assert MODE_COUNT.decode_answer(answer.octets) == 5
    assert client.noise_bytes == len(late)


def test_an_answer_hidden_in_one_about_another_type_is_found() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.CONF, conf=MODE_COUNT)
    wanted = encode_single_answer(AnswerKind.CONF, MODE_COUNT.encode_answer(5))
    assert client.receive_data(encode_single_answer(AnswerKind.CONF, b"\x7f\0\0\0" + wanted)) == [
        ConfAnswer(wanted[7:])
    ]


def test_any_configuration_answer_will_do_where_no_type_is_told() -> None:
    client = RplidarClient()
    client.expect(AnswerKind.CONF)
    octets = MODE_NAME.encode_answer("Sensitivity")
    assert client.receive_data(encode_single_answer(AnswerKind.CONF, octets)) == [ConfAnswer(octets)]


@pytest.mark.parametrize("outcome", [SettingResult(STATIC_ADDRESS.code, 0), SettingResult(None, 1)])
def test_a_setting_is_answered_with_or_without_its_type(outcome: SettingResult) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.SET_CONF, conf=STATIC_ADDRESS)
    late = encode_single_answer(AnswerKind.SET_CONF, encode_setting_result(SettingResult(0x0001_0000, 0)))
    answer = encode_single_answer(AnswerKind.SET_CONF, encode_setting_result(outcome))
    assert client.receive_data(late + answer) == [SettingAnswer(outcome)]


@pytest.mark.parametrize("kind", [AnswerKind.DENSE, AnswerKind.ULTRA_DENSE])
@pytest.mark.parametrize("sample_us", [None, 0, 1_000_001])
def test_a_dense_scan_needs_its_sample_time(kind: AnswerKind, sample_us: int | None) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.INFO)
    with pytest.raises(LocalProtocolError):
        client.expect(kind, sample_us=sample_us)
    assert client.receive_data(info_answer()) == [InfoAnswer(INFO)], "what was awaited still is"


each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.kind.name)


@each_stream
def test_a_device_that_already_streams_is_asked_and_started_anew(stream: Stream) -> None:
    running = b"".join(map(stream.packet, range(4)))[7:-5]
    client = RplidarClient()
    client.expect(AnswerKind.INFO)
    assert client.receive_data(running + b"\xa5" + info_answer()) == [InfoAnswer(INFO)]
    client.expect(stream.kind, sample_us=SAMPLE_US)
    events = client.receive_data(running + head(stream.kind) + b"".join(map(stream.packet, range(10, 14))))
    assert events[0] == ScanStarted(stream.kind)
    assert stream.numbers(events) == list(range(10, 14 - stream.lag))
    assert client.checksum_errors == 0


@each_stream
def test_drained_input_costs_a_partial_packet_of_every_kind_and_no_more(stream: Stream) -> None:
    client = RplidarClient()
    client.expect(stream.kind, sample_us=SAMPLE_US)
    client.receive_data(head(stream.kind) + stream.packet(0) + stream.packet(1)[:50])
    client.resynchronise()
    assert stream.numbers(client.receive_data(stream.packet(5) + stream.packet(6))) == [5, 6][: 2 - stream.lag]
    assert (client.checksum_errors, client.noise_bytes) == (0, 0)
