"""Encoders against the reference's packets and their limits; jump limits; what a reset and odd data leave behind."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oht50d.codec.rplidar.capsules import TURN_Q16, StartDebounce, Sweep, jump_limit_q8, start_flags
from oht50d.codec.rplidar.dense import DenseDecoder, encode_dense_capsule
from oht50d.codec.rplidar.express import ExpressDecoder, encode_capsule
from oht50d.codec.rplidar.hq import HqNode, encode_hq_packet
from oht50d.codec.rplidar.samples import EncoderReset, Samples, ScanReset
from oht50d.codec.rplidar.ultra import (
    _CORRECTIONS_Q16,
    _LEVELS,
    _MAJORS_MM,
    UltraCabin,
    UltraDecoder,
    decode_major,
    encode_major,
    encode_ultra_capsule,
    predict_cabins,
)
from oht50d.codec.rplidar.ultra_dense import UltraDenseDecoder, encode_ultra_dense_capsule
from oht50d.model.errors import LocalProtocolError

VECTORS = Path(__file__).parents[1] / "golden" / "rplidar"
NODE = HqNode(0, 0, 0, 0)
CABIN = UltraCabin(0, 0, 0)


def packets(kind: str) -> list[bytes]:
    """The reference's undamaged packets of one kind."""
    found = []
    for path in sorted(VECTORS.glob(f"{kind}_*.json")):
        vector = json.loads(path.read_text())
        if "damage" not in path.name:
            found += [bytes.fromhex(packet) for packet in vector["packets_hex"]]
    return found


def start_of(packet: bytes, at: int = 2) -> tuple[int, bool]:
    (word,) = struct.unpack_from("<H", packet, at)
    return word & 0x7FFF, bool(word >> 15)


def again_express(packet: bytes) -> bytes:
    cabins = [struct.unpack_from("<HHB", packet, at) for at in range(4, 84, 5)]
    distances = [word >> 2 for first, second, _ in cabins for word in (first, second)]
    offsets = [low | (word & 3) << 4 for a, b, o in cabins for word, low in ((a, o & 15), (b, o >> 4))]
    return encode_capsule(*start_of(packet), distances, offsets)


def again_hq(packet: bytes) -> bytes:
    nodes = [HqNode(*struct.unpack_from("<HIBB", packet, at)) for at in range(9, 777, 8)]
    return encode_hq_packet(nodes, timestamp=struct.unpack_from("<Q", packet, 1)[0])


def again_ultra(packet: bytes) -> bytes:
    words = struct.unpack_from("<32I", packet, 4)
    signed = [[(word >> shift & 0x3FF ^ 0x200) - 0x200 for shift in (12, 22)] for word in words]
    cabins = [UltraCabin(word & 0xFFF, *pair) for word, pair in zip(words, signed, strict=True)]
    return encode_ultra_capsule(*start_of(packet), cabins)


def again_dense(packet: bytes) -> bytes:
    return encode_dense_capsule(*start_of(packet), struct.unpack_from("<40H", packet, 4))


def again_ultra_dense(packet: bytes) -> bytes:
    timestamp, status = struct.unpack_from("<IH", packet, 2)
    distances, qualities = [], []
    for at in range(10, 170, 5):
        first, second, high = struct.unpack_from("<HHB", packet, at)
        for word in (first | (high & 15) << 16, second | high >> 4 << 16):
            scale = word & 3
            distances.append((word >> 2 & (1 << 10 + scale) - 1) * (scale + 2) + (0, 2046, 8187, 24567)[scale])
            qualities.append(word >> 12 + scale << scale)
    return encode_ultra_dense_capsule(*start_of(packet, 8), distances, qualities, timestamp=timestamp, status=status)


@pytest.mark.parametrize(
    ("kind", "again"),
    [
        ("0x82", again_express),
        ("0x83", again_hq),
        ("0x84", again_ultra),
        ("0x85", again_dense),
        ("0x86", again_ultra_dense),
    ],
)
def test_the_references_packets_are_written_octet_for_octet(kind: str, again: Callable[[bytes], bytes]) -> None:
    read = packets(kind)
    assert len(read) > 15
    differing = [number for number, packet in enumerate(read) if again(packet) != packet]
    assert differing == []


@pytest.mark.parametrize(
    ("encode", "arguments"),
    [
        (encode_capsule, (0, False, [0] * 31, [0] * 32)),
        (encode_dense_capsule, (32768, False, [0] * 40)),
        (encode_dense_capsule, (-1, False, [0] * 40)),
        (encode_dense_capsule, (0, False, [0] * 41)),
        (encode_dense_capsule, (0, False, [65536] + [0] * 39)),
        (encode_dense_capsule, (0, False, [-1] + [0] * 39)),
        (encode_ultra_dense_capsule, (0, False, [65523] + [0] * 63, [0] * 64)),
        (encode_ultra_dense_capsule, (0, False, [0] * 64, [256] + [0] * 63)),
        (encode_ultra_capsule, (0, False, [CABIN] * 31)),
        (encode_ultra_capsule, (0, False, [UltraCabin(4096, 0, 0)] + [CABIN] * 31)),
        (encode_ultra_capsule, (0, False, [UltraCabin(0, 512, 0)] + [CABIN] * 31)),
        (encode_ultra_capsule, (0, False, [UltraCabin(0, 0, -513)] + [CABIN] * 31)),
        (predict_cabins, ([0] * 95, 0)),
        (predict_cabins, ([28657] + [0] * 95, 0)),
        (predict_cabins, ([0] * 96, -1)),
        (encode_major, (-1,)),
        (decode_major, (-1,)),
        (encode_hq_packet, ([NODE] * 95,)),
        (encode_hq_packet, ([HqNode(65536, 0, 0, 0)] + [NODE] * 95,)),
        (encode_hq_packet, ([HqNode(0, -1, 0, 0)] + [NODE] * 95,)),
    ],
)
def test_packets_that_cannot_be_are_refused(encode: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    with pytest.raises(LocalProtocolError):
        encode(*arguments)


def test_numbers_of_a_head_that_cannot_be_are_refused() -> None:
    with pytest.raises(LocalProtocolError):
        encode_ultra_dense_capsule(0, False, [0] * 64, [0] * 64, timestamp=1 << 32)
    with pytest.raises(LocalProtocolError):
        encode_hq_packet([NODE] * 96, timestamp=-1)


@pytest.mark.parametrize(("sample_us", "degrees"), [(31, 44), (63, 90), (125, 180), (200, 288)])
def test_jump_limits_of_dense_capsules_equal_the_fact_sheet(sample_us: int, degrees: int) -> None:
    assert jump_limit_q8(1_440_000, sample_us) == degrees << 8


@pytest.mark.parametrize("sample_us", [-1, 0, 1_000_001])
def test_a_sample_time_that_crashes_the_reference_is_refused(sample_us: int) -> None:
    with pytest.raises(LocalProtocolError):
        DenseDecoder(sample_us)
    with pytest.raises(LocalProtocolError):
        UltraDenseDecoder(sample_us)


def test_corrections_of_an_ultra_capsule_equal_the_fact_sheet() -> None:
    assert len(_CORRECTIONS_Q16) == 98361 // 200 + 2
    assert (_CORRECTIONS_Q16[0], _CORRECTIONS_Q16[-1]) == (524256, 491483)
    assert _CORRECTIONS_Q16[491] < 0


def test_the_tables_of_an_ultra_capsule_equal_the_bit_scale() -> None:
    told = list(zip(_MAJORS_MM.tolist(), _LEVELS.tolist(), strict=True))
    assert told == [decode_major(major) for major in range(4096)]


def swept(sweep: Sweep, samples: int) -> list[tuple[int, int]]:
    """The vendor's A before each increment, with its INC."""
    rows = zip(sweep.begins_q16, sweep.steps_q16, strict=True)
    return [(begin + number * step, step) for begin, step in rows for number in range(samples)]


# Starts of any 15 bits; turns up to more than a whole one, none, and below zero as illegal starts give them.
sweeps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 32767), st.sampled_from((0, 22999, 23000, 23039, 23040))),
        st.one_of(st.integers(-1000, 900_000), st.sampled_from((0, 1024, 51200))),
    ),
    max_size=6,
).map(lambda rows: Sweep([start * 1024 for start, _ in rows], [step for _, step in rows]))


@given(sweep=sweeps, samples=st.sampled_from((32, 96)))
def test_start_flags_are_those_of_the_vendors_formula(sweep: Sweep, samples: int) -> None:
    told = start_flags(sweep, samples).tolist()
    assert told == [1 if (a + inc) % TURN_Q16 < inc else 2 for a, inc in swept(sweep, samples)]


@given(parts=st.lists(sweeps, max_size=4), samples=st.sampled_from((40, 64)))
def test_debounced_flags_are_those_of_the_vendors_formula(parts: list[Sweep], samples: int) -> None:
    debounce, last, wanted = StartDebounce(), False, []
    told = [flag for part in parts for flag in debounce.flags(part, samples).tolist()]
    for a, inc in (row for part in parts for row in swept(part, samples)):
        last = (a + inc) % TURN_Q16 < 2 * inc and not last
        wanted.append(1 if last else 2)
    assert told == wanted


def nodes(sample: Samples) -> list[tuple[int, ...]]:
    columns = (sample.angle_q14, sample.dist_q2, sample.quality, sample.flag)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_a_jump_beyond_the_limit_tells_nothing_and_costs_one_capsule() -> None:
    decoder = DenseDecoder(31)
    starts = [0, 640, 640 + 64 * 45, 640 + 64 * 55]
    stream = [encode_dense_capsule(start, start == 0, [1000 + i] * 40) for i, start in enumerate(starts)]
    events = decoder.receive_data(b"".join(stream))
    assert [type(event) for event in events] == [ScanReset, Samples]
    assert isinstance(events[1], Samples)
    assert events[1].dist_q2.tolist() == [4000] * 40 + [4008] * 40


def test_a_run_of_jumps_alone_tells_nothing() -> None:
    decoder = UltraDenseDecoder(31)
    stream = [encode_ultra_dense_capsule(start, False, [0] * 64, [0] * 64) for start in (0, 11520, 0, 11520)]
    assert decoder.receive_data(b"".join(stream)) == []


@pytest.mark.parametrize(
    ("decoder", "packet"),
    [
        (DenseDecoder(31), lambda start: encode_dense_capsule(start, False, [500] * 40)),
        (UltraDenseDecoder(31), lambda start: encode_ultra_dense_capsule(start, False, [501] * 64, [9] * 64)),
    ],
)
def test_a_reset_forgets_what_samples_leave_for_the_next_ones(
    decoder: DenseDecoder | UltraDenseDecoder, packet: Callable[[int], bytes]
) -> None:
    # The last sample before 0 is a hit, so the first one after it would not count, and distances would be smoothed.
    stream = [packet(start) for start in (21440, 0, 1600)]
    first = [event for event in decoder.receive_data(b"".join(stream)) if isinstance(event, Samples)]
    decoder.reset()
    second = [event for event in decoder.receive_data(b"".join(stream)) if isinstance(event, Samples)]
    assert [nodes(samples) for samples in first] == [nodes(samples) for samples in second]
    assert [node[3] for node in nodes(first[0])].count(1) == 1


@pytest.mark.parametrize("start", [23040, 32767])
def test_start_angles_beyond_a_turn_are_only_wrong_angles(start: int) -> None:
    makers: list[tuple[Any, Callable[[int], bytes]]] = [
        (ExpressDecoder(), lambda angle: encode_capsule(angle, False, [100] * 32, [63] * 32)),
        (UltraDecoder(), lambda angle: encode_ultra_capsule(angle, False, [UltraCabin(100, 0, 0)] * 32)),
        (DenseDecoder(1_000_000), lambda angle: encode_dense_capsule(angle, False, [100] * 40)),
        (UltraDenseDecoder(1), lambda angle: encode_ultra_dense_capsule(angle, False, [100] * 64, [0] * 64)),
    ]
    for decoder, packet in makers:
        events = decoder.receive_data(packet(start) + packet(0) + packet(start) + packet(start))
        for samples in events:
            assert np.all((samples.angle_q14 >= 0) & (samples.angle_q14 <= 0xFFFF))
            assert set(samples.flag.tolist()) <= {1, 2}


def test_an_s_bit_in_the_middle_voids_the_turn() -> None:
    decoder = ExpressDecoder()
    stream = [encode_capsule(1600 * i, i == 2, [1000 + i] * 32, [0] * 32) for i in range(4)]
    events = decoder.receive_data(b"".join(stream))
    assert [type(event) for event in events] == [Samples, EncoderReset, ScanReset, Samples]
