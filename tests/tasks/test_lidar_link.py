"""The LiDAR link against a scripted device over memory, on the mock clock: asserted are bytes, values and states."""

from collections.abc import Awaitable, Callable, Iterator, Sequence

import pytest
import trio
import trio.testing
from attrs import define, field

from oht50d.clock import now_ns
from oht50d.codec.rplidar import commands
from oht50d.codec.rplidar.answers import (
    AnswerKind,
    SampleRate,
    describe,
    encode_acc_board,
    encode_descriptor,
    encode_health,
    encode_info,
    encode_sample_rate,
)
from oht50d.codec.rplidar.commands import Command, RequestParser
from oht50d.codec.rplidar.express import encode_capsule
from oht50d.codec.rplidar.standard import encode_node
from oht50d.drivers.lidar_dialogue import ByteLink
from oht50d.drivers.lidar_link import LidarConfig, LidarLink, ScanMode
from oht50d.model.errors import DeviceSilent, LinkError, LinkLost
from oht50d.model.lidar import LidarHealth, LidarInfo, LidarLinkState, LidarScan, LidarStatus, SectorReport
from oht50d.model.units import Duration

A1 = LidarInfo(0x18, 1, 29, 7, "00112233445566778899AABBCCDDEEFF")
A2 = LidarInfo(0x28, 1, 24, 5, "FF112233445566778899AABBCCDDEEFF")
STEP_Q6 = 36
"""0.5625 degrees a sample: 640 samples or 160 ms a turn at 250 us."""
CAPSULE_S = 0.008
MOTOR_OFF = commands.encode_stop() + commands.encode_motor_pwm(0)


@define(slots=False)
class Device:
    """A scripted RPLIDAR that is its own wire: what the host sends is answered at once, samples come by the clock."""

    info: LidarInfo = A2
    healths: list[int] = field(factory=lambda: [0])
    is_pwm: bool = True
    knows_express: bool = True
    knows_standard: bool = True
    is_mute: bool = False
    step_q6: int = STEP_Q6
    distance_mm: int = 3000
    scanning: AnswerKind | None = None
    is_stalled: bool = False
    has_hung_up: bool = False
    is_stuck: bool = False
    written: bytearray = field(factory=bytearray)
    incoming: bytearray = field(factory=bytearray)
    dtr: list[bool] = field(factory=list)
    closed_s: float | None = None
    position: int = 0
    parser: RequestParser = field(factory=RequestParser)
    arrived: trio.Event = field(factory=trio.Event)

    async def send_all(self, octets: bytes, /) -> None:
        await trio.lowlevel.checkpoint()
        if self.is_stuck:
            await trio.sleep_forever()
        if self.has_hung_up:
            raise LinkLost("hung up", cause="lost", remedy="plug it in")
        self.written += octets
        for request in self.parser.receive_data(octets):
            self.answer(request.command)

    async def receive_some(self, max_bytes: int = 4096, /) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self.incoming:
            if self.has_hung_up:
                raise LinkLost("hung up", cause="lost", remedy="plug it in")
            await self.arrived.wait()
        octets = bytes(self.incoming[:max_bytes])
        del self.incoming[:max_bytes]
        return octets

    def drain_input(self) -> bytes:
        if self.has_hung_up:
            raise LinkLost("hung up", cause="lost", remedy="plug it in")
        octets = bytes(self.incoming)
        self.incoming.clear()
        return octets

    def set_dtr(self, is_asserted: bool, /) -> bool:
        if self.has_hung_up:
            raise LinkLost("hung up", cause="lost", remedy="plug it in")
        self.dtr.append(is_asserted)
        return True

    def close(self) -> None:
        self.closed_s = trio.current_time()

    def emit(self, octets: bytes) -> None:
        self.incoming += octets
        self.arrived.set()
        self.arrived = trio.Event()

    def hang_up(self) -> None:
        self.has_hung_up = True
        self.emit(b"")

    def answer(self, command: int) -> None:
        if command == Command.STOP:
            self.scanning = None
        if self.is_mute:
            return
        for kind, body in self.replies(command):
            self.emit(encode_descriptor(describe(kind)) + body)

    def replies(self, command: int) -> Iterator[tuple[AnswerKind, bytes]]:
        if command == Command.GET_INFO:
            yield AnswerKind.INFO, encode_info(self.info)
        elif command == Command.GET_HEALTH:
            status = self.healths.pop(0) if len(self.healths) > 1 else self.healths[0]
            yield AnswerKind.HEALTH, encode_health(LidarHealth(status, 0x1234))
        elif command == Command.GET_ACC_BOARD_FLAG:
            yield AnswerKind.ACC_BOARD, encode_acc_board(self.is_pwm)
        elif command == Command.GET_SAMPLERATE:
            yield AnswerKind.SAMPLE_RATE, encode_sample_rate(SampleRate(500, 250))
        elif command == Command.EXPRESS_SCAN and self.knows_express:
            self.scanning = AnswerKind.EXPRESS
            yield AnswerKind.EXPRESS, b""
        elif command == Command.SCAN and self.knows_standard:
            self.scanning = AnswerKind.STANDARD
            yield AnswerKind.STANDARD, b""

    async def run(self) -> None:
        while True:
            await trio.sleep(CAPSULE_S)
            if self.scanning is not None and not self.is_stalled:
                self.emit(self.packet(self.scanning))

    def packet(self, kind: AnswerKind) -> bytes:
        count = 32 if kind is AnswerKind.EXPRESS else 16
        first, self.position = self.position, self.position + count
        angles = [index * self.step_q6 for index in range(first, first + count)]
        if kind is AnswerKind.EXPRESS:
            return encode_capsule(angles[0] % 23040, first == 0, [self.distance_mm] * 32, [0] * 32)
        return b"".join(
            encode_node(angle % 23040, self.distance_mm * 4, 40, is_start=angle % 23040 < self.step_q6)
            for angle in angles
        )


@define
class Record:
    """Everything that the link published."""

    sectors: list[tuple[float, SectorReport]] = field(factory=list)
    scans: list[LidarScan] = field(factory=list)
    statuses: list[LidarStatus] = field(factory=list)

    def take_sectors(self, reports: Sequence[SectorReport]) -> None:
        self.sectors += [(trio.current_time(), report) for report in reports]

    @property
    def states(self) -> list[LidarLinkState]:
        found: list[LidarLinkState] = []
        for status in self.statuses:
            if not found or found[-1] is not status.state:
                found.append(status.state)
        return found

    @property
    def last(self) -> LidarStatus:
        return self.statuses[-1]


def make_link(
    device: Device, config: LidarConfig | None = None, open_port: Callable[[], Awaitable[ByteLink]] | None = None
) -> tuple[LidarLink, Record]:
    record = Record()

    async def open_device() -> ByteLink:
        await trio.lowlevel.checkpoint()
        return device

    link = LidarLink(
        config or LidarConfig(),
        open_port=open_port or open_device,
        publish_sectors=record.take_sectors,
        publish_scan=record.scans.append,
        publish_status=record.statuses.append,
        clock=now_ns,
    )
    return link, record


async def run_for(device: Device, seconds: float, config: LidarConfig | None = None) -> Record:
    link, record = make_link(device, config)
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(device.run)
            await nursery.start(link.run)
    return record


async def run_to_failure(
    device: Device, config: LidarConfig | None = None, at_s: float = 0.0, act: Callable[[LidarLink], None] | None = None
) -> tuple[LinkError, Record]:
    """The error that ends the session; `act` happens `at_s` after the start."""
    link, record = make_link(device, config)
    failures: list[LinkError] = []

    async def session(scope: trio.CancelScope) -> None:
        with pytest.raises(LinkError) as caught:
            await link.run()
        failures.append(caught.value)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        nursery.start_soon(session, nursery.cancel_scope)
        if act is not None:
            await trio.sleep(at_s)
            act(link)
    assert device.closed_s is not None
    return failures[0], record


async def test_a_session_identifies_turns_and_scans(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    record = await run_for(device, 3.0)
    assert record.states == [
        LidarLinkState.CONNECTING,
        LidarLinkState.SPINNING_UP,
        LidarLinkState.SCANNING,
        LidarLinkState.STOPPED,
    ]
    assert device.written == b"".join(
        (
            commands.encode_stop(),
            commands.encode_get_info(),
            commands.encode_get_health(),
            commands.encode_acc_board_flag(),
            commands.encode_motor_pwm(660),
            commands.encode_get_samplerate(),
            commands.encode_express_scan(0),
            MOTOR_OFF,
        )
    )
    assert device.dtr == [False, True]
    status = record.last
    assert (status.info, status.health) == (A2, LidarHealth(0, 0x1234))
    assert status.samples > 9000
    assert (status.noise_bytes, status.checksum_errors, status.turn_period_ns) == (0, 0, None)
    assert record.statuses[-2].turn_period_ns == pytest.approx(160e6, rel=0.01)


async def test_sectors_are_told_while_turning_and_dated_by_measurement(
    autojump_clock: trio.testing.MockClock,
) -> None:
    record = await run_for(Device(), 3.0)
    indices = [report.index for _, report in record.sectors]
    assert len(indices) > 36 * 8
    assert indices == [(indices[0] + i) % 36 for i in range(len(indices))]
    for told_s, report in record.sectors:
        # Beam past the sector by 8 degrees, one capsule to fill and one to follow it: 4 + 8 + 8 ms.
        assert 8 <= told_s * 1e3 - report.last_sample_ns / 1e6 <= 25
        assert (report.hits, report.no_returns, report.nearest_mm) == (report.samples, 0, 3000.0)
        assert 16 <= report.samples <= 18


async def test_whole_turns_are_told_for_display(autojump_clock: trio.testing.MockClock) -> None:
    record = await run_for(Device(distance_mm=1234), 3.0)
    assert len(record.scans) > 10
    assert [scan.number for scan in record.scans] == [record.scans[0].number + i for i in range(len(record.scans))]
    for scan in record.scans:
        assert len(scan.angles_deg) == 640
        assert set(scan.distances_mm.tolist()) == {1234.0}
        assert scan.ended_ns - scan.started_ns == 160_000_000


async def test_nothing_is_told_of_the_turns_of_the_spin_up(autojump_clock: trio.testing.MockClock) -> None:
    few = await run_for(Device(), 3.0, LidarConfig(spin_up_turns=1))
    many = await run_for(Device(), 3.0, LidarConfig(spin_up_turns=6))
    # Virtual time goes on between the two sessions: compare how much was told.
    assert len(few.scans) - len(many.scans) == 5


async def test_garbage_in_mid_stream_is_counted_and_survived(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    link, record = make_link(device)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        nursery.start_soon(link.run)
        await trio.sleep(1.5)
        device.emit(b"\x00\x13\x37" * 10)
        await trio.sleep(0.1)
        device.emit(b"\xa0\x50\x01")  # imitates a capsule and swallows the next one
        await trio.sleep(1.0)
        nursery.cancel_scope.cancel()
    assert record.states[-2:] == [LidarLinkState.SCANNING, LidarLinkState.STOPPED]
    assert record.last.noise_bytes >= 30
    assert record.last.checksum_errors >= 1
    late = [report for told_s, report in record.sectors if told_s > trio.current_time() - 0.5]
    assert {report.index for report in late} == set(range(36))
    assert {report.nearest_mm for _, report in record.sectors} == {3000.0}


async def test_a_device_that_is_already_streaming_is_taken_over(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(scanning=AnswerKind.EXPRESS, position=12345)
    device.incoming += b"\xa5\x5a" * 40 + device.packet(AnswerKind.EXPRESS) * 30
    record = await run_for(device, 3.0)
    assert device.written.startswith(commands.encode_stop() + commands.encode_get_info())
    assert LidarLinkState.SCANNING in record.states
    assert record.last.noise_bytes == 0


async def test_silence_takes_the_session_down_in_time(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    failure, record = await run_to_failure(device, at_s=2.0, act=lambda _: setattr(device, "is_stalled", True))
    assert isinstance(failure, DeviceSilent)
    assert failure.cause == "silent"
    assert record.last.state is LidarLinkState.SILENT
    assert "cable" in record.last.remedy
    assert device.written.endswith(MOTOR_OFF)
    assert device.dtr[-1] is True
    assert device.closed_s is not None
    assert 2.14 <= device.closed_s <= 2.2


async def test_garbage_without_measurements_is_silence(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()

    def corrupt(_: LidarLink) -> None:
        device.packet = lambda kind: b"\xa0\x50" + bytes(range(1, 83))  # type: ignore[method-assign]  # a fault

    failure, record = await run_to_failure(device, at_s=2.0, act=corrupt)
    assert failure.cause == "silent"
    assert record.last.checksum_errors >= 10


async def test_cancellation_switches_the_motor_off(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    record = await run_for(device, 1.5)
    assert device.written.endswith(MOTOR_OFF)
    assert device.dtr[-1] is True
    assert device.closed_s == pytest.approx(1.52, abs=0.02)
    assert record.last.state is LidarLinkState.STOPPED


async def test_cancellation_before_the_device_is_known_does_so_too(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(is_mute=True)
    await run_for(device, 0.3)
    assert device.written == commands.encode_stop() + commands.encode_get_info() + MOTOR_OFF


async def test_a_wire_that_takes_nothing_cannot_hold_the_shutdown(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    link, _ = make_link(device)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        nursery.start_soon(link.run)
        await trio.sleep(1.5)
        device.is_stuck = True
        nursery.cancel_scope.cancel()
    assert device.dtr[-1] is True
    assert device.closed_s == pytest.approx(1.8, abs=0.01)


async def test_a_hang_up_is_lost_and_closes_the_port(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    failure, record = await run_to_failure(device, at_s=2.0, act=lambda _: device.hang_up())
    assert isinstance(failure, LinkLost)
    assert record.last.state is LidarLinkState.ABSENT
    assert (record.last.cause, record.last.remedy) == ("lost: hung up", "plug it in")
    assert record.last.info == A2


async def test_protection_stop_is_reset_once(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(healths=[2, 1])
    record = await run_for(device, 5.0)
    assert device.written.count(commands.encode_reset()) == 1
    assert LidarLinkState.SCANNING in record.states
    assert record.last.health == LidarHealth(1, 0x1234)


async def test_protection_stop_that_remains_is_told(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(healths=[2])
    failure, record = await run_to_failure(device)
    assert failure.cause == "protection_stop"
    assert device.written.count(commands.encode_reset()) == 1
    assert record.last.state is LidarLinkState.PROTECTION_STOP
    assert "0x1234" in record.last.cause
    assert record.last.health == LidarHealth(2, 0x1234)
    assert not record.sectors


@pytest.mark.parametrize(
    ("device", "cause", "state"),
    [
        (Device(is_mute=True), "silent", LidarLinkState.SILENT),
        (Device(info=LidarInfo(0x71, 1, 2, 18, "00" * 16)), "wrong_device", LidarLinkState.ABSENT),
        (Device(knows_express=False, knows_standard=False), "no_scan", LidarLinkState.SILENT),
        (Device(is_stalled=True), "no_scan", LidarLinkState.SILENT),
        (Device(step_q6=0), "not_turning", LidarLinkState.SILENT),
    ],
)
async def test_each_failure_has_its_own_words(
    autojump_clock: trio.testing.MockClock, device: Device, cause: str, state: LidarLinkState
) -> None:
    failure, record = await run_to_failure(device)
    assert failure.cause == cause
    assert record.last.state is state
    assert record.last.cause.startswith(f"{cause}: ")
    assert record.last.remedy == failure.remedy != ""
    assert device.written.endswith(MOTOR_OFF)


@pytest.mark.parametrize(
    ("noise", "cause"),
    [
        (bytes(range(128, 170)), "wrong_baud"),
        (b"\xfe\x00", "wrong_baud"),
        (b"$GPGGA,123519,4807.038,N,01131.000,E,1,08\r\n", "wrong_device"),
        (b"RP LIDAR System.\r\nFirmware Ver 1.29 - rtm\r\n", "silent"),
    ],
)
async def test_octets_instead_of_answers_are_told_apart(
    autojump_clock: trio.testing.MockClock, noise: bytes, cause: str
) -> None:
    device = Device()
    device.answer = lambda command: device.emit(noise)  # type: ignore[method-assign]  # another device
    failure, _ = await run_to_failure(device)
    assert failure.cause == cause
    assert device.written.count(commands.encode_get_info()) == 3


async def test_a_device_that_never_falls_quiet_is_given_up_in_time(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(scanning=AnswerKind.EXPRESS)
    device.answer = lambda command: None  # type: ignore[method-assign]  # deaf, and talks on
    failure, _ = await run_to_failure(device)
    assert failure.cause == "wrong_baud"
    assert trio.current_time() < 5


async def test_no_health_is_not_good_health(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    answers = device.replies
    device.replies = lambda command: iter(()) if command == Command.GET_HEALTH else answers(command)  # type: ignore[method-assign]  # a fault
    failure, _ = await run_to_failure(device)
    assert failure.cause == "silent"
    assert "health" in str(failure)


async def test_a_port_that_cannot_be_opened_is_told_in_the_ports_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def refuse() -> ByteLink:
        await trio.lowlevel.checkpoint()
        raise LinkError("held by screen", cause="held", remedy="stop screen")

    link, record = make_link(Device(), open_port=refuse)
    with pytest.raises(LinkError, match="screen"):
        await link.run()
    assert record.states == [LidarLinkState.CONNECTING, LidarLinkState.ABSENT]
    assert (record.last.cause, record.last.remedy) == ("held: held by screen", "stop screen")


async def test_an_a1_turns_by_dtr_alone(autojump_clock: trio.testing.MockClock) -> None:
    device = Device(info=A1)
    await run_for(device, 2.0)
    assert device.dtr == [False, True]
    assert b"\xa5\xf0" not in device.written
    assert device.written.endswith(commands.encode_stop())


@pytest.mark.parametrize(
    "device",
    [Device(knows_express=False), Device(info=LidarInfo(0x28, 1, 16, 5, "00" * 16), is_pwm=False)],
    ids=["no express", "old firmware"],
)
async def test_standard_scan_where_express_is_unknown(autojump_clock: trio.testing.MockClock, device: Device) -> None:
    record = await run_for(device, 6.0)
    assert device.written.count(commands.encode_scan()) == 1
    assert LidarLinkState.SCANNING in record.states
    assert {report.nearest_mm for _, report in record.sectors} == {3000.0}


async def test_standard_scan_on_demand(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    record = await run_for(device, 4.0, LidarConfig(mode=ScanMode.STANDARD))
    assert b"\xa5\x82" not in device.written
    assert len(record.scans[0].angles_deg) == 640


async def test_discarded_input_is_not_measured(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    link, record = make_link(device)
    assert link.discard_input() == 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        nursery.start_soon(link.run)
        await trio.sleep(2.0)
        device.distance_mm = 77
        device.incoming += device.packet(AnswerKind.EXPRESS) * 3
        device.distance_mm = 3000
        assert link.discard_input() == 252
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert {report.nearest_mm for _, report in record.sectors} == {3000.0}
    assert record.last.checksum_errors == 0
    assert record.sectors[-1][0] == pytest.approx(2.5, abs=0.02)


async def test_discarding_on_a_lost_port_is_left_to_the_session(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()

    def lose(link: LidarLink) -> None:
        device.has_hung_up = True
        assert link.discard_input() == 0
        device.emit(b"")

    failure, _ = await run_to_failure(device, at_s=2.0, act=lose)
    assert isinstance(failure, LinkLost)


async def test_discarding_while_the_device_is_asked_costs_a_retry(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    link, record = make_link(device)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(device.run)
        nursery.start_soon(link.run)
        await trio.sleep(0.16)
        link.discard_input()
        await trio.sleep(3.0)
        nursery.cancel_scope.cancel()
    assert LidarLinkState.SCANNING in record.states


async def test_a_session_can_follow_a_session(autojump_clock: trio.testing.MockClock) -> None:
    device = Device()
    link, record = make_link(device)
    for _ in range(2):
        with trio.move_on_after(2.0):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(device.run)
                nursery.start_soon(link.run)
        device.position = 0
    totals = [status.samples for status in record.statuses]
    assert totals == sorted(totals)
    assert record.states.count(LidarLinkState.SCANNING) == 2
    begun = [status for status in record.statuses if status.state is LidarLinkState.CONNECTING]
    assert begun[0].samples == 0
    assert begun[-1].samples > 3000


@pytest.mark.parametrize(
    "settings",
    [
        {"baud": 9600},
        {"motor_pwm": 0},
        {"motor_pwm": 1024},
        {"spin_up_turns": 0},
        {"silence": Duration(0)},
        {"silence": Duration(151_000_000)},
        {"answer_timeout": Duration(0)},
    ],
)
def test_settings_that_would_blind_the_robot_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        LidarConfig(**settings)  # type: ignore[arg-type]  # the point of the test
