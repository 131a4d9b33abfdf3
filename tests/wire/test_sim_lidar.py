"""The simulated LiDAR seen from outside: raw RPLIDAR bytes over its pty, decoded and compared with the hall."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from robot_fixture import SimulatedRobot, open_raw, read_within

from oht50d.codec.rplidar.express import ExpressDecoder
from oht50d.codec.rplidar.samples import Samples, StreamEvent
from oht50d.codec.rplidar.standard import StandardDecoder

LIMIT_S = 5.0
STOP = bytes.fromhex("A5 25")
PWM_ON = bytes.fromhex("A5 F0 02 94 02 C1")
PWM_OFF = bytes.fromhex("A5 F0 02 00 00 57")
EXPRESS = bytes.fromhex("A5 82 05 00 00 00 00 00 22")
EXPRESS_HEAD = bytes.fromhex("A5 5A 54 00 00 40 82")


class Host:
    """What is plugged into the LiDAR's line."""

    def __init__(self, robot: SimulatedRobot) -> None:
        self.robot = robot
        self.descriptor = open_raw(robot.lidar_path)

    def send(self, octets: bytes) -> None:
        os.write(self.descriptor, octets)

    def ask(self, octets: bytes, count: int, limit_s: float = LIMIT_S) -> bytes:
        self.send(octets)
        return read_within(self.descriptor, count, limit_s)

    def quiet(self) -> None:
        """Stop it and drain what is on its way."""
        self.send(STOP)
        while read_within(self.descriptor, 4096, 0.05):
            pass

    def start_express(self) -> None:
        self.quiet()
        self.send(PWM_ON)
        assert self.ask(EXPRESS, 7) == EXPRESS_HEAD

    def events(self, capsules: int) -> list[StreamEvent]:
        return ExpressDecoder().receive_data(read_within(self.descriptor, 84 * capsules, LIMIT_S))

    def samples(self, capsules: int) -> Samples:
        found = [event for event in self.events(capsules) if isinstance(event, Samples)]
        assert len(found) == 1
        return found[0]

    def distance(self, samples: Samples, angle_deg: float, within_deg: float = 1.5) -> float:
        apart = np.abs((samples.angles_deg - angle_deg + 180) % 360 - 180)
        return float(np.median(samples.distances_mm[apart < within_deg]))

    def close(self) -> None:
        os.close(self.descriptor)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedRobot]:
    with SimulatedRobot.start(tmp_path_factory.mktemp("lidar"), "empty") as robot:
        yield robot


@pytest.fixture
def host(shared: SimulatedRobot) -> Iterator[Host]:
    found = Host(shared)
    found.quiet()
    yield found
    shared.control({"op": "clear_faults"})
    found.quiet()
    found.send(PWM_OFF)
    found.close()
    shared.control({"op": "place", "x_mm": 3000})


def test_questions(host: Host) -> None:
    info = host.ask(bytes.fromhex("A5 50"), 27)
    assert info[:11] == bytes.fromhex("A5 5A 14 00 00 00 04 28 14 01 04")
    assert host.ask(bytes.fromhex("A5 52"), 10) == bytes.fromhex("A5 5A 03 00 00 00 06 00 00 00")
    assert host.ask(bytes.fromhex("A5 59"), 11) == bytes.fromhex("A5 5A 04 00 00 00 15 F4 01 FA 00")
    acc_board = bytes.fromhex("A5 FF 04 00 00 00 00 5E")
    assert host.ask(acc_board, 11) == bytes.fromhex("A5 5A 04 00 00 00 FF 01 00 00 00")


def test_a_question_of_newer_firmware_is_not_answered(host: Host) -> None:
    assert host.ask(bytes.fromhex("A5 84 04 70 00 00 00 55"), 1, 0.1) == b""
    assert host.ask(bytes.fromhex("A5 52"), 7) == bytes.fromhex("A5 5A 03 00 00 00 06")


def test_the_hall_in_express_mode(host: Host) -> None:
    host.start_express()
    samples = host.samples(40)
    seen = {angle: host.distance(samples, angle) for angle in (0, 90, 180, 270)}
    assert seen == pytest.approx({0: 7600, 90: 1500, 180: 3400, 270: 1500}, abs=25)
    assert host.distance(samples, 30) == pytest.approx(1500 / np.sin(np.radians(30)), abs=60)
    missing = float(np.mean(samples.dist_q2 == 0))
    assert 0 < missing < 0.03


def test_capsules_come_at_the_device_rate_and_turn_at_10_hz(host: Host) -> None:
    host.start_express()
    read_within(host.descriptor, 84, LIMIT_S)
    began = time.monotonic()
    samples = host.samples(250)
    assert 250 / (time.monotonic() - began) == pytest.approx(125, rel=0.1)
    turns = np.flatnonzero(samples.flag & 1)
    assert np.diff(turns).tolist() == pytest.approx([400] * (len(turns) - 1), abs=1)


def test_data_waits_for_the_motor(host: Host) -> None:
    host.quiet()
    host.send(PWM_OFF)
    ends = time.monotonic() + LIMIT_S
    while host.robot.plant()["lidar_turning_hz"] > 0 and time.monotonic() < ends:
        time.sleep(0.02)
    assert host.ask(EXPRESS, 7) == EXPRESS_HEAD
    assert read_within(host.descriptor, 84, 0.2) == b""
    began = time.monotonic()
    host.send(PWM_ON)
    first = read_within(host.descriptor, 84, LIMIT_S)
    assert first[0] >> 4 == 0xA
    assert first[3] & 0x80
    assert time.monotonic() - began > 0.5


def test_stop_ends_the_stream_and_a_question_does_too(host: Host) -> None:
    for octets, answer in ((STOP, 0), (bytes.fromhex("A5 52"), 10)):
        host.start_express()
        read_within(host.descriptor, 84, LIMIT_S)
        host.send(octets)
        time.sleep(0.05)
        rest = read_within(host.descriptor, 4096, 0.2)
        assert rest.endswith(bytes.fromhex("A5 5A 03 00 00 00 06 00 00 00")) is bool(answer)
        assert len(rest) < 84 * 8
        assert read_within(host.descriptor, 1, 0.1) == b""
        assert not host.robot.plant()["lidar_scanning"]


def test_the_hall_in_standard_mode(host: Host) -> None:
    host.quiet()
    host.send(PWM_ON)
    assert host.ask(bytes.fromhex("A5 20"), 7) == bytes.fromhex("A5 5A 05 00 00 40 81")
    read_within(host.descriptor, 5, LIMIT_S)
    began = time.monotonic()
    octets = read_within(host.descriptor, 5 * 1000, LIMIT_S)
    assert 1000 / (time.monotonic() - began) == pytest.approx(2000, rel=0.15)
    (samples,) = StandardDecoder().receive_data(octets)
    assert isinstance(samples, Samples)
    assert host.distance(samples, 0, 2.0) == pytest.approx(7600, abs=40)
    assert np.diff(np.flatnonzero(samples.flag & 1)).tolist() == pytest.approx([200] * 4, abs=1)


def test_a_forced_scan_does_not_wait_for_the_motor(host: Host) -> None:
    assert host.ask(bytes.fromhex("A5 21"), 7) == bytes.fromhex("A5 5A 05 00 00 40 81")
    assert len(read_within(host.descriptor, 50, 1.0)) == 50


def test_an_obstacle_ahead_appears_and_goes(host: Host) -> None:
    host.start_express()
    host.samples(20)
    host.robot.control({"op": "obstacle", "id": "box", "ahead_mm": 450.0, "radius_mm": 150.0})
    host.samples(14)
    assert host.distance(host.samples(14), 0) == pytest.approx(450, abs=25)
    host.robot.control({"op": "remove_obstacle", "id": "box"})
    host.samples(14)
    assert host.distance(host.samples(14), 0) == pytest.approx(7600, abs=40)


def test_what_is_too_near_or_too_far_is_no_return(host: Host) -> None:
    host.robot.control({"op": "obstacle", "id": "near", "ahead_mm": 100.0, "radius_mm": 150.0})
    host.start_express()
    assert host.distance(host.samples(20), 0) == 0.0
    host.robot.control({"op": "remove_obstacle", "id": "near"})


def test_it_moves_with_the_carriage(host: Host) -> None:
    host.robot.control({"op": "place", "x_mm": 5000})
    host.start_express()
    samples = host.samples(20)
    assert (host.distance(samples, 0), host.distance(samples, 180)) == pytest.approx((5600, 5400), abs=30)


def test_silence(host: Host) -> None:
    host.start_express()
    host.samples(5)
    host.robot.control({"op": "fault", "kind": "lidar_silence", "for_s": 1.5})
    read_within(host.descriptor, 4096, 0.05)
    assert read_within(host.descriptor, 1, 0.2) == b""
    assert len(read_within(host.descriptor, 84, LIMIT_S)) == 84


def test_a_stalled_motor_measures_one_angle(host: Host) -> None:
    host.start_express()
    host.samples(3)
    host.robot.control({"op": "fault", "kind": "lidar_stall"})
    ends = time.monotonic() + LIMIT_S
    while host.robot.plant()["lidar_turning_hz"] > 0 and time.monotonic() < ends:
        host.samples(6)
    host.samples(6)
    assert len(set(host.samples(6).angle_q14.tolist())) == 1


def test_garbage_is_no_measurement_and_ends(host: Host) -> None:
    host.start_express()
    host.samples(5)
    host.robot.control({"op": "fault", "kind": "lidar_garbage", "for_s": 1.5})
    read_within(host.descriptor, 4096, 0.1)
    assert not [event for event in host.events(15) if isinstance(event, Samples)]
    read_within(host.descriptor, 84 * 400, 1.6)
    octets = read_within(host.descriptor, 84 * 20, LIMIT_S)
    assert sum(len(event) for event in ExpressDecoder().receive_data(octets) if isinstance(event, Samples)) > 32 * 10


def test_blind_means_no_returns(host: Host) -> None:
    host.start_express()
    host.robot.control({"op": "fault", "kind": "lidar_blind"})
    host.samples(6)
    assert not host.samples(10).dist_q2.any()


def test_reset_forgets_the_scan_and_sends_boot_text(host: Host) -> None:
    host.start_express()
    host.samples(3)
    host.send(bytes.fromhex("A5 40"))
    time.sleep(0.1)
    read_within(host.descriptor, 4096, 0.1)
    assert host.ask(bytes.fromhex("A5 52"), 10, 0.05) == b""
    assert read_within(host.descriptor, 17, LIMIT_S) == b"RP LIDAR System.\r"
    read_within(host.descriptor, 200, 0.1)
    assert host.ask(bytes.fromhex("A5 52"), 10) == bytes.fromhex("A5 5A 03 00 00 00 06 00 00 00")


def test_hang_up_and_return_without_memory(host: Host) -> None:
    host.start_express()
    host.robot.control({"op": "fault", "kind": "lidar_hangup", "for_s": 1.0})
    assert not host.robot.lidar_path.is_symlink()
    while read_within(host.descriptor, 4096, 0.05):
        pass
    host.close()
    ends = time.monotonic() + LIMIT_S
    while not host.robot.lidar_path.exists() and time.monotonic() < ends:
        time.sleep(0.01)
    host.descriptor = open_raw(host.robot.lidar_path)
    assert read_within(host.descriptor, 1, 0.1) == b""
    plant = host.robot.plant()
    assert (plant["lidar_turning_hz"], plant["lidar_scanning"]) == (0, False)
    host.start_express()
    assert len(host.samples(5)) == 128


def test_nobody_reads_and_nothing_piles_up(tmp_path: Path) -> None:
    with SimulatedRobot.start(tmp_path, "empty") as robot:
        host = Host(robot)
        host.start_express()
        ends = time.monotonic() + LIMIT_S
        while not robot.control({"op": "counters"})["lidar_bytes_dropped"] and time.monotonic() < ends:
            time.sleep(0.05)
        assert len(read_within(host.descriptor, 100_000, 0.002)) < 5000
        host.quiet()
        host.start_express()
        assert len(host.samples(5)) == 128
        host.close()
