"""Whatever the bytes and however they are cut: no exception, bounded buffers, and good packets come through."""

from struct import iter_unpack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rplidar_packets import SAMPLE_US, STREAMS, Stream, held_octets

from oht50d.codec.rplidar.answers import AnswerKind, describe, encode_descriptor
from oht50d.codec.rplidar.commands import RequestParser, encode_motor_pwm
from oht50d.codec.rplidar.dense import DenseDecoder, encode_dense_capsule
from oht50d.codec.rplidar.express import ExpressDecoder, encode_capsule
from oht50d.codec.rplidar.hq import HqDecoder, HqNode, encode_hq_packet
from oht50d.codec.rplidar.parser import ClientEvent, RplidarClient, ScanStarted
from oht50d.codec.rplidar.samples import Samples, StreamEvent
from oht50d.codec.rplidar.standard import StandardDecoder, encode_node
from oht50d.codec.rplidar.ultra import (
    DISTANCE_MAX_MM,
    UltraDecoder,
    decode_major,
    encode_major,
    encode_ultra_capsule,
    predict_cabins,
)
from oht50d.codec.rplidar.ultra_dense import UltraDenseDecoder, encode_ultra_dense_capsule

HEADS = [encode_descriptor(describe(kind)) for kind in AnswerKind]
CLIENT_MAX = 263

noise = st.lists(
    st.one_of(st.binary(max_size=120), st.sampled_from(HEADS), st.sampled_from([b"\xa5", b"\xa5\x5a", b"\xa0\x50"])),
    max_size=12,
).map(b"".join)


def flatten(events: list[ClientEvent] | list[StreamEvent]) -> list[object]:
    """Samples as single nodes, so that two cuts of one stream can be compared."""
    flat: list[object] = []
    for event in events:
        if isinstance(event, Samples):
            columns = (event.angle_q14, event.dist_q2, event.quality, event.flag)
            flat += list(zip(*(column.tolist() for column in columns), strict=True))
        else:
            flat.append(event)
    return flat


@given(kind=st.sampled_from([None, *AnswerKind]), octets=noise, cut=st.integers(1, 50))
def test_any_bytes_are_only_events_and_bounded_buffers(kind: AnswerKind | None, octets: bytes, cut: int) -> None:
    client = RplidarClient()
    client.expect(kind, sample_us=SAMPLE_US)
    most = CLIENT_MAX + 64 + (4 * describe(kind).size if kind is not None else 0)
    for begin in range(0, len(octets), cut):
        client.receive_data(octets[begin : begin + cut])
        assert held_octets(client) <= most
    assert 0 <= client.noise_bytes <= len(octets)


@given(kind=st.sampled_from([*AnswerKind]), octets=noise, at=st.floats(0, 1))
def test_a_cut_anywhere_changes_nothing(kind: AnswerKind, octets: bytes, at: float) -> None:
    stream = encode_descriptor(describe(kind)) + octets
    whole, cut = RplidarClient(), RplidarClient()
    whole.expect(kind, sample_us=SAMPLE_US)
    cut.expect(kind, sample_us=SAMPLE_US)
    position = round(at * len(stream))
    pieces = cut.receive_data(stream[:position]) + cut.receive_data(stream[position:])
    assert flatten(pieces) == flatten(whole.receive_data(stream))
    cut.expect(None)
    whole.expect(None)
    assert cut.noise_bytes == whole.noise_bytes
    assert cut.checksum_errors == whole.checksum_errors


@given(octets=noise, cut=st.integers(1, 50))
def test_the_device_reads_any_bytes(octets: bytes, cut: int) -> None:
    parser = RequestParser()
    for begin in range(0, len(octets), cut):
        parser.receive_data(octets[begin : begin + cut])
        assert held_octets(parser) <= 68
    # At most one damaged request can stand open; more than it could swallow must bring the next ones through.
    found = parser.receive_data(encode_motor_pwm(660) * 13)
    assert found
    assert (found[-1].command, found[-1].payload) == (0xF0, b"\x94\x02")


@given(
    start=st.integers(0, 23039),
    is_reset=st.booleans(),
    distances=st.lists(st.integers(0, 16383), min_size=32, max_size=32),
    offsets=st.lists(st.integers(0, 63), min_size=32, max_size=32),
)
def test_a_capsule_comes_back_as_it_was_sent(
    start: int, is_reset: bool, distances: list[int], offsets: list[int]
) -> None:
    decoder = ExpressDecoder()
    first = encode_capsule(start, is_reset, distances, offsets)
    events = decoder.receive_data(first + encode_capsule((start + 1600) % 23040, False, [0] * 32, [0] * 32))
    samples = events[-1]
    assert isinstance(samples, Samples)
    assert samples.dist_q2.tolist() == [4 * distance for distance in distances]
    assert samples.quality.tolist() == [188 if distance else 0 for distance in distances]
    told_q16 = [(start * 1024 + i * 51200 - offset * 8192) % 23592960 for i, offset in enumerate(offsets)]
    errors = (samples.angle_q14 - [angle * 16384 / 90 / 65536 for angle in told_q16] + 32768) % 65536 - 32768
    assert abs(errors).max() <= 4  # 1/64 degree, the resolution of the format, is 2.8 of 65536
    assert samples.flag.tolist().count(1) == (1 if start + 1600 >= 23040 else 0)


@given(angle=st.integers(0, 23039), dist=st.integers(0, 65535), quality=st.integers(0, 63), is_start=st.booleans())
def test_a_node_comes_back_as_it_was_sent(angle: int, dist: int, quality: int, is_start: bool) -> None:
    (samples,) = StandardDecoder().receive_data(encode_node(angle, dist, quality, is_start))
    assert isinstance(samples, Samples)
    assert samples.dist_q2.tolist() == [dist]
    assert samples.quality.tolist() == [quality << 2]
    assert samples.flag.tolist() == [int(is_start)]
    assert samples.angles_deg.tolist()[0] == (angle * 256 // 90) * 90 / 16384


def round_trip(first: bytes, second: bytes, decoder: UltraDecoder | DenseDecoder | UltraDenseDecoder) -> Samples:
    events = decoder.receive_data(first + second)
    samples = events[-1]
    assert isinstance(samples, Samples)
    return samples


@given(start=st.integers(0, 21440), distances=st.lists(st.integers(0, 65535), min_size=40, max_size=40))
def test_a_dense_capsule_comes_back_as_it_was_sent(start: int, distances: list[int]) -> None:
    first = encode_dense_capsule(start, False, distances)
    samples = round_trip(first, encode_dense_capsule(start + 1600, False, [0] * 40), DenseDecoder(SAMPLE_US))
    assert samples.dist_q2.tolist() == [4 * distance for distance in distances]
    assert samples.angles_deg[0] == pytest.approx(start / 64, abs=0.006)
    assert samples.angles_deg[39] == pytest.approx((start + 1560) / 64, abs=0.02)


@given(
    distances=st.lists(st.integers(0, DISTANCE_MAX_MM), min_size=96, max_size=96), then=st.integers(0, DISTANCE_MAX_MM)
)
def test_an_ultra_capsule_comes_back_within_its_scale_or_as_no_return(distances: list[int], then: int) -> None:
    second = encode_ultra_capsule(1600, False, predict_cabins([then] * 96, 0))
    samples = round_trip(encode_ultra_capsule(0, False, predict_cabins(distances, then)), second, UltraDecoder())
    for index, (sent, told_q2) in enumerate(zip(distances, samples.dist_q2.tolist(), strict=True)):
        is_major = index % 3 == 0
        told = told_q2 // 4
        assert (told == 0 and not is_major) or 0 <= sent - told <= 15


@given(st.integers(300, 3000), st.lists(st.integers(-100, 100), min_size=96, max_size=96))
def test_a_wall_loses_no_return_in_an_ultra_capsule(wall: int, roughness: list[int]) -> None:
    distances = [wall + rough for rough in roughness]
    second = encode_ultra_capsule(1600, False, predict_cabins([wall] * 96, wall))
    samples = round_trip(encode_ultra_capsule(0, False, predict_cabins(distances, wall)), second, UltraDecoder())
    assert all(0 <= sent - told // 4 <= 3 for sent, told in zip(distances, samples.dist_q2.tolist(), strict=True))


@given(st.integers(0, DISTANCE_MAX_MM))
def test_a_major_is_the_nearest_below(distance: int) -> None:
    told, level = decode_major(encode_major(distance))
    assert 0 <= distance - told < 1 << level


@given(
    distances=st.lists(st.integers(0, 65522), min_size=64, max_size=64),
    qualities=st.lists(st.integers(0, 255), min_size=64, max_size=64),
)
def test_an_ultra_dense_capsule_comes_back_within_its_steps(distances: list[int], qualities: list[int]) -> None:
    first = encode_ultra_dense_capsule(0, False, distances, qualities, timestamp=0xFFFF_FFFF, status=0xFFFF)
    second = encode_ultra_dense_capsule(1600, False, [0] * 64, [0] * 64)
    samples = round_trip(first, second, UltraDenseDecoder(SAMPLE_US))
    for sent, told_q2, quality, told_quality in zip(
        distances, samples.dist_q2.tolist(), qualities, samples.quality.tolist(), strict=True
    ):
        assert -2 <= sent - told_q2 / 4 <= 4  # near ones are smoothed, up to 2 mm up or down
        assert 0 <= quality - told_quality < 8


@given(octets=st.binary(min_size=768, max_size=768), timestamp=st.integers(0, (1 << 64) - 1))
def test_hq_nodes_come_back_as_they_were_sent(octets: bytes, timestamp: int) -> None:
    nodes = [HqNode(*fields) for fields in iter_unpack("<HIBB", octets)]
    (samples,) = HqDecoder().receive_data(encode_hq_packet(nodes, timestamp=timestamp))
    assert isinstance(samples, Samples)
    columns = (samples.angle_q14, samples.dist_q2, samples.quality, samples.flag)
    assert [HqNode(*row) for row in zip(*(column.tolist() for column in columns), strict=True)] == nodes


each_stream = pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.kind.name)


@each_stream
@given(garbage=st.binary(max_size=2000))
@example(garbage=b"\xa1")
@example(garbage=b"\xa0\x50" + bytes(40))
@example(garbage=b"\xa5" * 300)
@example(garbage=b"\xa5\x5a" * 300)
def test_after_garbage_at_most_two_good_packets_are_lost(stream: Stream, garbage: bytes) -> None:
    decoder = stream.decoder()
    decoder.receive_data(garbage)
    told: list[int] = []
    for number in range(1, 9):
        events = decoder.receive_data(stream.packet(number))
        told += stream.numbers(events)
        assert held_octets(decoder) < 4 * stream.size
    assert told == list(range(told[0], 9 - stream.lag)), "once in step, nothing is lost, and each is told in time"
    assert told[0] <= 3


@each_stream
def test_a_still_scene_that_looks_like_starts_is_a_trap_for_the_vendors_framing(stream: Stream) -> None:
    decoder = stream.decoder()
    events = decoder.receive_data(stream.packet(0)[4:] + b"".join(map(stream.packet, range(1, 9))))
    assert stream.numbers(events)[:2] in ([1, 2], [2, 3], [3, 4])
    assert decoder.checksum_errors <= 3
    assert decoder.noise_bytes <= stream.size


@each_stream
def test_a_search_goes_on_from_the_newest_packet(stream: Stream) -> None:
    decoder = stream.decoder()
    stale = stream.packet(0) + bytes(3) + stream.packet(1)
    # Misaligned by what comes before; two good packets, then nothing but noise until the search.
    events = decoder.receive_data(stream.packet(9)[:2] + stale + bytes(2 * stream.size))
    assert 0 not in stream.numbers(events)


def test_packets_that_end_like_a_start_do_not_swallow_the_next_one_for_ever() -> None:
    packets = [encode_capsule(1600 * i, False, [1000 + i] * 32, [0] * 31 + [0x0A]) for i in range(8)]
    assert all(packet[-1] >> 4 == 0xA for packet in packets)
    decoder = ExpressDecoder()
    events = decoder.receive_data(packets[0][-1:] + b"".join(packets[1:]))
    assert decoder.checksum_errors == 0
    told = [mm for event in events if isinstance(event, Samples) for mm in event.dist_q2.tolist()[::32]]
    assert told[-1] == 4 * 1006
    assert told[0] <= 4 * 1003


@given(octets=noise)
def test_a_scan_that_still_runs_does_not_hide_the_next_answer(octets: bytes) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.EXPRESS)
    head = encode_descriptor(describe(AnswerKind.EXPRESS))
    events = client.receive_data(octets.replace(head[2:], b"") + head)
    assert events[-1:] == [ScanStarted(AnswerKind.EXPRESS)]
