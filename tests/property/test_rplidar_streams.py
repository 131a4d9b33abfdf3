"""Whatever the bytes and however they are cut: no exception, bounded buffers, and good packets come through."""

from hypothesis import example, given
from hypothesis import strategies as st

from oht50d.codec.rplidar.answers import AnswerKind, describe, encode_descriptor
from oht50d.codec.rplidar.commands import RequestParser, encode_motor_pwm
from oht50d.codec.rplidar.express import ExpressDecoder, encode_capsule
from oht50d.codec.rplidar.parser import ClientEvent, RplidarClient, ScanStarted
from oht50d.codec.rplidar.samples import Samples, StreamEvent
from oht50d.codec.rplidar.standard import StandardDecoder, encode_node

HEADS = [encode_descriptor(describe(kind)) for kind in AnswerKind]
BUFFER_MAX = 300
STILL_MM = 0x52A0 >> 2  # on the wire A? 5?: what a capsule begins with

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


def held_octets(thing: object) -> int:
    return sum(len(held) for held in vars(thing).values() if isinstance(held, bytearray))


@given(kind=st.sampled_from([None, *AnswerKind]), octets=noise, cut=st.integers(1, 50))
def test_any_bytes_are_only_events_and_bounded_buffers(kind: AnswerKind | None, octets: bytes, cut: int) -> None:
    client = RplidarClient()
    client.expect(kind)
    for begin in range(0, len(octets), cut):
        client.receive_data(octets[begin : begin + cut])
        assert held_octets(client) <= BUFFER_MAX
    assert 0 <= client.noise_bytes <= len(octets)


@given(kind=st.sampled_from([*AnswerKind]), octets=noise, at=st.floats(0, 1))
def test_a_cut_anywhere_changes_nothing(kind: AnswerKind, octets: bytes, at: float) -> None:
    stream = encode_descriptor(describe(kind)) + octets
    whole, cut = RplidarClient(), RplidarClient()
    whole.expect(kind)
    cut.expect(kind)
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


def still_capsule(index: int) -> bytes:
    """Payload that contains the sync nibbles at one place in every capsule: the trap of the vendor's framing."""
    return encode_capsule(1600 * index % 23040, False, [STILL_MM + index] + [STILL_MM] * 31, [0x20] * 32)


@given(garbage=st.binary(max_size=400))
@example(garbage=b"\xa1")
@example(garbage=b"\xa0\x50" + bytes(40))
@example(garbage=still_capsule(0)[4:])
def test_after_garbage_at_most_two_good_capsules_are_lost(garbage: bytes) -> None:
    decoder = ExpressDecoder()
    decoder.receive_data(garbage)
    packets = [still_capsule(index) for index in range(1, 8)]
    first_good = None
    for index, packet in enumerate(packets):
        events = decoder.receive_data(packet)
        firsts = [event.dist_q2.tolist()[-32] // 4 for event in events if isinstance(event, Samples)]
        if first_good is None and firsts:
            first_good = firsts[0]
        assert held_octets(decoder) <= BUFFER_MAX
        assert index < 5 or firsts == [STILL_MM + index]
    # Capsule n is told when its successor is in; of 1, 2, 3 ... the third is told at the latest.
    assert first_good is not None
    assert first_good <= STILL_MM + 3


def test_the_trap_is_one() -> None:
    decoder = ExpressDecoder()
    events = decoder.receive_data(still_capsule(0)[4:] + b"".join(still_capsule(index) for index in range(1, 8)))
    assert decoder.checksum_errors == 3
    assert sum(len(event) for event in events if isinstance(event, Samples)) >= 4 * 32


@given(octets=noise)
def test_a_scan_that_still_runs_does_not_hide_the_next_answer(octets: bytes) -> None:
    client = RplidarClient()
    client.expect(AnswerKind.EXPRESS)
    head = encode_descriptor(describe(AnswerKind.EXPRESS))
    events = client.receive_data(octets.replace(head[2:], b"") + head)
    assert events[-1:] == [ScanStarted(AnswerKind.EXPRESS)]
