"""Against two other implementations, pyrplidar 0.1.2 and rplidar-roboticia 0.9.5, where those are right.

Where they are wrong, a test names the mistake and shows it, so that a release that mends it is noticed. Neither of the
two resynchronises: pyrplidar checks no checksum and no sync octet, rplidar-roboticia ends with an exception.
"""

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyrplidar_protocol as theirs
import pytest
import rplidar as roboticia
from hypothesis import assume, given
from hypothesis import strategies as st
from pyrplidar import PyRPlidar

from oht50d.codec.rplidar import commands, conf
from oht50d.codec.rplidar.answers import (
    AnswerKind,
    SampleRate,
    decode_descriptor,
    describe,
    encode_descriptor,
    encode_health,
    encode_info,
    encode_sample_rate,
    encode_single_answer,
)
from oht50d.codec.rplidar.dense import DenseDecoder, encode_dense_capsule
from oht50d.codec.rplidar.express import ExpressDecoder, encode_capsule
from oht50d.codec.rplidar.parser import Decoder
from oht50d.codec.rplidar.samples import Samples
from oht50d.codec.rplidar.standard import StandardDecoder, encode_node
from oht50d.codec.rplidar.ultra import UltraCabin, UltraDecoder, encode_ultra_capsule
from oht50d.model.lidar import LidarHealth, LidarInfo

TURN_Q6 = 23040
Node = tuple[int, int, int, int]

# Up to 80 degrees from capsule to capsule, across 0 too; 44 is the jump limit of a dense scan, so those stay below.
steps = st.lists(st.integers(0, 80 * 64), min_size=2, max_size=5)
dense_steps = st.lists(st.integers(0, 43 * 64), min_size=2, max_size=5)
first_starts = st.integers(0, TURN_Q6 - 1)
seeds = st.integers(0, 2**32 - 1)


def starts_of(first: int, increments: list[int]) -> list[int]:
    return [first] + [(first + sum(increments[: i + 1])) % TURN_Q6 for i in range(len(increments))]


def ours(decoder: Decoder, packets: list[bytes]) -> list[Node]:
    (samples,) = decoder.receive_data(b"".join(packets))
    assert isinstance(samples, Samples)
    columns = (samples.angle_q14, samples.dist_q2, samples.quality, samples.flag)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def pyrplidars(capsule: Any, packets: list[bytes]) -> list[Node]:
    read = [capsule(packet) for packet in packets]
    return [
        (node.angle_z_q14 & 0xFFFF, node.dist_mm_q2, node.quality, node.start_flag)
        for before, after in itertools.pairwise(read)
        for node in capsule._parse_capsule(before, after)
    ]


def express_packets(starts: list[int], seed: int, offset_max: int = 63) -> list[bytes]:
    dice = np.random.default_rng(seed)
    return [
        encode_capsule(
            start, False, dice.integers(0, 16384, 32).tolist(), dice.integers(0, offset_max, 32, endpoint=True).tolist()
        )
        for start in starts
    ]


@given(first=first_starts, increments=steps, seed=seeds)
def test_express_equals_pyrplidar(first: int, increments: list[int], seed: int) -> None:
    packets = express_packets(starts_of(first, increments), seed)
    assert ours(ExpressDecoder(), packets) == pyrplidars(theirs.PyRPlidarScanCapsule, packets)


def ultra_packets(starts: list[int], seed: int) -> list[bytes]:
    """Majors of every scale and none; predictions of both signs and none."""
    dice = np.random.default_rng(seed)

    def cabin() -> UltraCabin:
        major = int(dice.choice((0, dice.integers(4096))))
        return UltraCabin(major, int(dice.choice((-512, 511, dice.integers(-512, 512)))), int(dice.integers(-512, 512)))

    return [encode_ultra_capsule(start, False, [cabin() for _ in range(32)]) for start in starts]


@given(first=first_starts, increments=steps, seed=seeds)
def test_ultra_equals_pyrplidar_but_for_the_angles_of_negative_distances(
    first: int, increments: list[int], seed: int
) -> None:
    packets = ultra_packets(starts_of(first, increments), seed)
    mine, peers = ours(UltraDecoder(), packets), pyrplidars(theirs.PyRPlidarScanUltraCapsule, packets)
    is_sound = [distance < 1 << 31 for _, distance, _, _ in mine]
    assert [node for node, sound in zip(mine, is_sound, strict=True) if sound] == [
        node for node, sound in zip(peers, is_sound, strict=True) if sound
    ]
    # Its mistake: a distance below zero counts as far beyond the near limit, for the comparison is unsigned.
    assert [node[1:] for node in mine] == [node[1:] for node in peers]


def test_pyrplidar_corrects_negative_distances_as_if_they_were_far() -> None:
    packets = [encode_ultra_capsule(start, False, [UltraCabin(1, -511, 0)] * 32) for start in (6400, 8000)]
    mine, peers = ours(UltraDecoder(), packets), pyrplidars(theirs.PyRPlidarScanUltraCapsule, packets)
    assert mine[1][1] == peers[1][1] == (1 - 511) * 4 + (1 << 32)
    assert mine[1][0] != peers[1][0]


def dense_packets(starts: list[int], seed: int) -> tuple[list[bytes], list[bytes]]:
    """The capsules, and those with the octets of every distance exchanged."""
    rows = np.random.default_rng(seed).integers(0, 65536, (len(starts), 40))
    swapped = rows >> 8 | (rows & 0xFF) << 8
    return (
        [encode_dense_capsule(start, False, row.tolist()) for start, row in zip(starts, rows, strict=True)],
        [encode_dense_capsule(start, False, row.tolist()) for start, row in zip(starts, swapped, strict=True)],
    )


@given(first=first_starts, increments=dense_steps, seed=seeds)
def test_dense_equals_pyrplidar_which_reads_distances_backwards(first: int, increments: list[int], seed: int) -> None:
    packets, backwards = dense_packets(starts_of(first, increments), seed)
    mine, peers = ours(DenseDecoder(31), packets), pyrplidars(theirs.PyRPlidarScanDenseCapsule, backwards)
    assert [node[:3] for node in mine] == [node[:3] for node in peers]
    # The reference's hit is twice as wide, so that a crossing is not missed where the step changes with the capsule.
    flagged = [[number for number, node in enumerate(nodes) if node[3] == 1] for nodes in (mine, peers)]
    assert all(any(abs(number - other) <= 1 for other in flagged[0]) for number in flagged[1])


def test_pyrplidar_reads_dense_distances_backwards_and_has_no_jump_limit() -> None:
    packets = [encode_dense_capsule(start, False, [0x0102] * 40) for start in (0, 64 * 44 + 1)]
    assert DenseDecoder(31).receive_data(b"".join(packets)) == []
    assert {node[1] for node in pyrplidars(theirs.PyRPlidarScanDenseCapsule, packets)} == {0x0201 * 4}


def test_pyrplidar_tells_damaged_capsules_as_measurements() -> None:
    packets = express_packets([0, 1600, 3200], seed=1)
    packets[1] = packets[1][:40] + bytes((packets[1][40] ^ 0x10,)) + packets[1][41:]
    assert not any(isinstance(event, Samples) for event in ExpressDecoder().receive_data(b"".join(packets)))
    assert len(pyrplidars(theirs.PyRPlidarScanCapsule, packets)) == 64


nodes = st.tuples(st.integers(0, TURN_Q6 - 1), st.integers(0, 65535), st.integers(0, 63), st.booleans())


@given(node=nodes)
def test_standard_equals_both(node: tuple[int, int, int, bool]) -> None:
    packet = encode_node(*node)
    ((angle_q14, dist_q2, quality, flag),) = ours(StandardDecoder(), [packet])
    peer = theirs.PyRPlidarMeasurement(packet)
    assert (peer.start_flag, peer.quality, peer.distance) == (bool(flag), quality >> 2, dist_q2 / 4)
    assert angle_q14 == int(peer.angle * 64) * 256 // 90
    assert roboticia._process_scan(packet) == (peer.start_flag, peer.quality, peer.angle, peer.distance)


@given(octets=st.binary(min_size=5, max_size=5))
def test_what_roboticia_refuses_is_no_node(octets: bytes) -> None:
    try:
        roboticia._process_scan(octets)
    except roboticia.RPLidarException:
        assert StandardDecoder().receive_data(octets) == []
    else:
        assert len(StandardDecoder().receive_data(octets)) == 1


def roboticias(packets: list[bytes]) -> list[tuple[bool, float, float]]:
    read = [roboticia.ExpressPacket.from_string(packet) for packet in packets]
    told = []
    for before, after in itertools.pairwise(read):
        for number in range(1, 33):
            is_start, _, angle, distance = roboticia._process_express_scan(before, after.start_angle, number)
            told.append((bool(is_start), angle, distance))
    return told


@given(first=first_starts, increments=steps, seed=seeds)
def test_express_equals_roboticia_for_small_offsets_one_sample_later(
    first: int, increments: list[int], seed: int
) -> None:
    starts = starts_of(first, increments)
    packets = express_packets(starts, seed, offset_max=15)
    mine, peers = ours(ExpressDecoder(), packets), roboticias(packets)
    assert [node[1] / 4 for node in mine] == [distance for _, _, distance in peers]
    # Its mistake: sample n gets the angle of sample n + 1.
    steps_deg = [(after - before) % TURN_Q6 / 64 / 32 for before, after in itertools.pairwise(starts)]
    for number, (node, (_, angle_deg, _)) in enumerate(zip(mine, peers, strict=True)):
        apart = (angle_deg - steps_deg[number // 32] - node[0] * 90 / 16384 + 180) % 360 - 180
        assert abs(apart) < 0.03


def test_roboticia_takes_a_bit_of_large_offsets_for_a_sign() -> None:
    packets = [encode_capsule(start, False, [1000] * 32, [32 + 8] * 32) for start in (6400, 6400)]
    assert ours(ExpressDecoder(), packets)[0][0] * 90 / 16384 == pytest.approx(100 - 5, abs=0.02)
    assert roboticias(packets)[0][1] == pytest.approx(100 + 1, abs=0.02)


@given(first=st.integers(21500, TURN_Q6 - 1), seed=seeds)
def test_roboticia_flags_the_first_sample_of_the_capsule_in_which_a_turn_ends(first: int, seed: int) -> None:
    packets = express_packets([first, (first + 1600) % TURN_Q6], seed)
    assume(first + 1600 > TURN_Q6)
    flagged = [number for number, node in enumerate(ours(ExpressDecoder(), packets)) if node[3] == 1]
    assert [number for number, node in enumerate(roboticias(packets)) if node[0]] == [0]
    # Sample n lies before 0 and sample n + 1 at or beyond it.
    assert flagged == [-(-32 * (TURN_Q6 - first) // 1600) - 1]


@pytest.mark.parametrize("damage", [0, 1, 40])
def test_roboticia_ends_where_a_capsule_is_damaged(damage: int) -> None:
    packet = bytearray(express_packets([0], seed=3)[0])
    packet[damage] ^= 0x10
    with pytest.raises(ValueError, match=r"corrupted|checksum"):
        roboticia.ExpressPacket.from_string(bytes(packet))


REQUESTS = [
    (commands.encode_stop(), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_STOP)),
    (commands.encode_scan(), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_SCAN)),
    (commands.encode_get_info(), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_GET_INFO)),
    (commands.encode_express_scan(3), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_EXPRESS_SCAN, b"\x03\0\0\0\0")),
    (commands.encode_motor_pwm(660), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_SET_MOTOR_PWM, b"\x94\x02")),
    (commands.encode_motor_speed(600), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_HQ_MOTOR_SPEED_CTRL, b"\x58\x02")),
    (conf.MODE_NAME.encode_query(2), theirs.PyRPlidarCommand(theirs.RPLIDAR_CMD_GET_LIDAR_CONF, b"\x7f\0\0\0\x02\0")),
]


@pytest.mark.parametrize(("mine", "peer"), REQUESTS, ids=[mine[:2].hex() for mine, _ in REQUESTS])
def test_requests_equal_pyrplidars(mine: bytes, peer: Any) -> None:
    assert mine == peer.raw_bytes


@pytest.mark.parametrize("kind", AnswerKind)
def test_descriptors_equal_pyrplidars(kind: AnswerKind) -> None:
    octets = encode_descriptor(describe(kind))
    peer, mine = theirs.PyRPlidarResponse(octets), decode_descriptor(octets)
    assert (peer.data_type, peer.data_length, bool(peer.send_mode)) == (mine.kind, mine.size, mine.is_repeated)


def test_single_answers_equal_pyrplidars_which_reads_error_codes_backwards() -> None:
    info = LidarInfo(0x28, 1, 29, 7, "00112233445566778899AABBCCDDEEFF")
    peer = theirs.PyRPlidarDeviceInfo(encode_info(info))
    assert (peer.model, peer.firmware_major, peer.firmware_minor) == (info.model, 1, 29)
    assert (peer.hardware, peer.serialnumber) == (7, info.serial)
    rate = theirs.PyRPlidarSamplerate(encode_sample_rate(SampleRate(508, 254)))
    assert (rate.t_standard, rate.t_express) == (508, 254)
    assert theirs.PyRPlidarHealth(encode_health(LidarHealth(2, 0x8001))).error_code == 0x0180


def test_roboticia_reads_error_codes_backwards() -> None:
    answer = encode_single_answer(AnswerKind.HEALTH, encode_health(LidarHealth(2, 0x8001)))
    reads = iter((answer[:7], answer[7:]))
    port = SimpleNamespace(inWaiting=iter((0, 3)).__next__, write=len, read=lambda _: next(reads))
    lidar = roboticia.RPLidar.__new__(roboticia.RPLidar)
    lidar._serial, lidar.logger = port, roboticia.logging.getLogger("differential")
    assert lidar.get_health() == ("Error", 0x0180)


def scan_mode_of_pyrplidar(name: bytes) -> Any:
    values = (conf.MODE_DISTANCE_M_Q8.encode_answer(6400), conf.MODE_SAMPLE_US_Q8.encode_answer(16192))
    return theirs.PyRPlidarScanMode(name, *values, conf.MODE_ANSWER.encode_answer(0x84))


def test_scan_modes_equal_pyrplidars_which_takes_1_256ths_for_wholes() -> None:
    mode = scan_mode_of_pyrplidar(conf.MODE_NAME.encode_answer("Sensitivity"))
    assert (mode.name, mode.ans_type, mode.max_distance, mode.us_per_sample) == ("Sensitivity", 0x84, 6400, 16192)


def test_pyrplidar_cuts_the_last_letter_of_a_name_without_an_end() -> None:
    octets = b"\x7f\0\0\0Boost"
    assert scan_mode_of_pyrplidar(octets).name == "Boos"
    assert conf.MODE_NAME.decode_answer(octets) == "Boost"


def test_pyrplidar_checks_no_echo() -> None:
    lidar = PyRPlidar()
    answer = encode_single_answer(AnswerKind.CONF, conf.TYPICAL_MODE.encode_answer(4))
    reads = iter((answer[:7], answer[7:]))
    lidar.lidar_serial = SimpleNamespace(send_data=len, receive_data=lambda _: next(reads), close=lambda: None)
    assert lidar.get_scan_mode_count() == 4, "that is the typical mode, not the count"
