"""The LiDAR on its serial port: one session from opening to motor off (`LidarLink` owns the port while it runs).

Sources: SAFETY.md, Inputs (link silence 150 ms); RPLIDAR.md, section 1 (Timing, start order), section 4 (motor
selection) and section 5 (protection stop, device already streaming).
"""

import enum
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio
from attrs import evolve, field, frozen, validators

from oht50d.codec.rplidar import commands
from oht50d.codec.rplidar.answers import AnswerKind, SampleRate
from oht50d.codec.rplidar.parser import (
    AccBoardAnswer,
    ClientEvent,
    HealthAnswer,
    InfoAnswer,
    RplidarClient,
    SampleRateAnswer,
    ScanStarted,
)
from oht50d.codec.rplidar.samples import Samples
from oht50d.core.lidar_feed import LidarFeed, sample_period_ns
from oht50d.drivers.lidar_dialogue import READ_BYTES, ByteLink, Dialogue, fault_error, state_of
from oht50d.drivers.serial_settings import check_path
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.lidar import LidarHealth, LidarInfo, LidarLinkState, LidarScan, LidarStatus, SectorReport
from oht50d.model.units import Duration, at_most, between, milliseconds

_INFO_ATTEMPTS = 3
_SUPPORTED_MAJORS = range(1, 6)
_DTR_ONLY_MAJORS = range(1, 2)
_EXPRESS_FIRMWARE = (1, 17)
_SWITCH_OFF_S = 0.3
_COMMAND_GAP_S = 0.01
_READ_MIN_S = 0.01
_NS = 1_000_000_000


class ScanMode(enum.Enum):
    """Which scan is asked for; express falls back to standard where the device does not know it."""

    EXPRESS = "express"
    STANDARD = "standard"


@frozen(kw_only=True)
class LidarConfig:
    """The LiDAR's port and times. `motor_pwm` counts on accessory-board devices only; the A1's motor follows DTR."""

    port: str = field(default="/dev/ttyOHTLIDAR", validator=check_path)
    baud: int = field(default=115_200, validator=validators.in_((115_200, 256_000, 460_800, 1_000_000)))
    is_simulated: bool = False
    mode: ScanMode = ScanMode.EXPRESS
    motor_pwm: int = field(default=660, validator=[validators.ge(1), validators.le(1023)])
    spin_up_turns: int = field(default=2, validator=[validators.ge(1), validators.le(100)])
    spin_up_limit: Duration = field(default=Duration(5 * _NS), validator=at_most(Duration(30 * _NS)))
    answer_timeout: Duration = field(default=Duration(_NS // 2), validator=at_most(Duration(5 * _NS)))
    silence: Duration = field(default=Duration(150_000_000), validator=between(milliseconds(20), milliseconds(150)))
    reset_wait: Duration = field(default=Duration(2 * _NS), validator=at_most(Duration(15 * _NS)))


class LidarLink:
    """Runs one session at a time; reconnecting is running again. Every end of a session switches the motor off."""

    def __init__(
        self,
        config: LidarConfig,
        *,
        open_port: Callable[[], Awaitable[ByteLink]],
        publish_sectors: Callable[[Sequence[SectorReport]], None],
        publish_scan: Callable[[LidarScan], None],
        publish_status: Callable[[LidarStatus], None],
        clock: Callable[[], int],
        sector_count: int = 36,
        near_limit_mm: float = 2500.0,
    ) -> None:
        self._config = config
        self._open_port = open_port
        self._publish_sectors = publish_sectors
        self._publish_scan = publish_scan
        self._publish_status = publish_status
        self._clock = clock
        self._sector_count = sector_count
        self._near_limit_mm = near_limit_mm
        self._client = RplidarClient()
        self._link: ByteLink | None = None
        self._feed: LidarFeed | None = None
        self._is_pwm: bool | None = None
        self._deadline_ns = 0
        self._past_samples = 0
        self._status = LidarStatus(LidarLinkState.STOPPED, is_simulated=config.is_simulated)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One session; started as soon as it is under way, device or not. Ends only by LinkError or cancellation.

        Raises DeviceSilent, LinkLost or LinkError with a cause of `lidar_dialogue.FAULTS` or of the port. Any end,
        a cancellation too, leaves the motor switched off and the port closed (at most 300 ms).
        """
        task_status.started()
        failure: LinkError | None = None
        self._tell(self._begun())
        try:
            await self._run_session()
        except LinkError as error:
            failure = error
            raise
        finally:
            self._tell(self._ended(failure))

    def discard_input(self) -> int:
        """After a loop gap: throw away what the port holds, for its age is unknown. Returns how many octets."""
        if self._link is None:
            return 0
        try:
            dropped = len(self._link.drain_input())
        except LinkLost:
            return 0  # the session sees the hang-up itself
        self._client.resynchronise()
        if self._feed is not None:
            self._feed.restart()
            self._deadline_ns = max(self._deadline_ns, self._clock() + self._config.silence.ns)
        return dropped

    async def _run_session(self) -> None:
        link = await self._open_port()
        self._link, self._is_pwm = link, None
        try:
            dialogue = Dialogue(link, self._client, self._config.answer_timeout.s)
            await dialogue.quieten()
            info = await self._identify(dialogue)
            await self._check_health(dialogue)
            await self._start_motor(dialogue, link, info)
            await self._start_scan(dialogue, info)
            await self._stream(link, dialogue.leftover)
        finally:
            self._link, self._feed = None, None
            try:
                with trio.move_on_after(_SWITCH_OFF_S, shield=True):
                    await self._switch_off(link)
            finally:
                link.close()

    async def _switch_off(self, link: ByteLink) -> None:
        """Motor off by every means that the device may have; DTR first, because it needs no waiting."""
        with suppress(LinkError):
            link.set_dtr(True)
        with suppress(LinkError):
            await link.send_all(commands.encode_stop())
            await trio.sleep(_COMMAND_GAP_S)
            if self._is_pwm is not False:
                await link.send_all(commands.encode_motor_pwm(0))
                # Closing the port drops what it has not sent yet.
                await trio.sleep(_COMMAND_GAP_S)

    async def _identify(self, dialogue: Dialogue) -> LidarInfo:
        noise_before = self._client.noise_bytes
        for _ in range(_INFO_ATTEMPTS):
            answer = await dialogue.ask(commands.encode_get_info(), AnswerKind.INFO, InfoAnswer)
            if answer is not None:
                self._tell(evolve(self._status, info=answer.info))
                if answer.info.model >> 4 not in _SUPPORTED_MAJORS:
                    raise fault_error("wrong_device", f"model {answer.info.model_name}")
                return answer.info
        raise dialogue.unanswered(noise_before)

    async def _check_health(self, dialogue: Dialogue) -> None:
        """Good or warning passes; anything else gets one reset a session."""
        health = await self._ask_health(dialogue)
        if health.status > 1:
            await dialogue.send(commands.encode_reset())
            await trio.sleep(self._config.reset_wait.s)
            await dialogue.quieten()
            health = await self._ask_health(dialogue)
        if health.status > 1:
            raise fault_error("protection_stop", f"status {health.status}, error code {health.error_code:#06x}")

    async def _ask_health(self, dialogue: Dialogue) -> LidarHealth:
        answer = await dialogue.ask(commands.encode_get_health(), AnswerKind.HEALTH, HealthAnswer)
        if answer is None:
            raise fault_error("silent", "no answer about its health")
        self._tell(evolve(self._status, health=answer.health))
        return answer.health

    async def _start_motor(self, dialogue: Dialogue, link: ByteLink, info: LidarInfo) -> None:
        """DTR inactive lets the A1 turn; accessory boards (A2, A3) want a duty as well."""
        self._is_pwm = False
        if info.model >> 4 not in _DTR_ONLY_MAJORS:
            answer = await dialogue.ask(commands.encode_acc_board_flag(), AnswerKind.ACC_BOARD, AccBoardAnswer)
            self._is_pwm = answer is not None and answer.is_pwm_motor
        link.set_dtr(False)
        if self._is_pwm:
            await dialogue.send(commands.encode_motor_pwm(self._config.motor_pwm))
        await trio.sleep(_COMMAND_GAP_S)

    async def _start_scan(self, dialogue: Dialogue, info: LidarInfo) -> None:
        """Express if asked for and known, else standard; prepares the feed for the one that started."""
        is_newer = (info.firmware_major, info.firmware_minor) >= _EXPRESS_FIRMWARE
        rate = await self._ask_rate(dialogue) if is_newer else None
        if self._config.mode is ScanMode.EXPRESS and is_newer:
            if await dialogue.ask(commands.encode_express_scan(0), AnswerKind.EXPRESS, ScanStarted) is not None:
                self._prepare_feed(rate, is_express=True)
                return
            await dialogue.quieten()
        if await dialogue.ask(commands.encode_scan(), AnswerKind.STANDARD, ScanStarted) is None:
            raise fault_error("no_scan")
        self._prepare_feed(rate, is_express=False)

    async def _ask_rate(self, dialogue: Dialogue) -> SampleRate | None:
        answer = await dialogue.ask(commands.encode_get_samplerate(), AnswerKind.SAMPLE_RATE, SampleRateAnswer)
        return None if answer is None else answer.rate

    def _prepare_feed(self, rate: SampleRate | None, *, is_express: bool) -> None:
        self._feed = LidarFeed(
            sector_count=self._sector_count,
            near_limit_mm=self._near_limit_mm,
            spin_up_turns=self._config.spin_up_turns,
            sample_period_ns=sample_period_ns(rate, is_express=is_express),
        )
        self._past_samples = self._status.samples

    async def _stream(self, link: ByteLink, leftover: Sequence[ClientEvent]) -> None:
        """Publish while measurements come; silence is judged by measurements, not by octets."""
        assert self._feed is not None, "a scan has started"
        turn_deadline_ns = self._deadline_ns = self._clock() + self._config.spin_up_limit.ns
        events, noise = list(leftover), self._client.noise_bytes
        while True:
            now_ns = self._clock()
            self._take(self._feed, events, now_ns, has_gap=self._client.noise_bytes != noise)
            noise = self._client.noise_bytes
            if self._feed.last_turn_ns is not None:
                turn_deadline_ns = self._feed.last_turn_ns + self._config.spin_up_limit.ns
            if now_ns > turn_deadline_ns and self._feed.samples:
                raise fault_error("not_turning")
            if now_ns >= self._deadline_ns:
                raise (
                    fault_error("silent", "measurements have ceased") if self._feed.samples else fault_error("no_scan")
                )
            events = []
            # Never less than a real attempt to read: after a late wake-up the octets may be waiting.
            with trio.move_on_after(max(_READ_MIN_S, (self._deadline_ns - now_ns) / _NS)):
                events = self._client.receive_data(await link.receive_some(READ_BYTES))

    def _take(self, feed: LidarFeed, events: Sequence[ClientEvent], now_ns: int, *, has_gap: bool) -> None:
        reports = feed.interrupt() if has_gap else []
        more_reports, scans = feed.take(events, now_ns)
        reports += more_reports
        is_measuring = any(isinstance(event, Samples) for event in events)
        if is_measuring:
            self._deadline_ns = now_ns + self._config.silence.ns
        if reports:
            self._publish_sectors(reports)
        for scan in scans:
            self._publish_scan(scan)
        self._tell(
            evolve(
                self._status,
                state=LidarLinkState.SCANNING if feed.is_up else LidarLinkState.SPINNING_UP,
                last_byte_ns=now_ns if is_measuring else self._status.last_byte_ns,
                last_turn_ns=feed.last_turn_ns,
                turn_period_ns=feed.turn_period_ns,
                samples=self._past_samples + feed.samples,
            )
        )

    def _begun(self) -> LidarStatus:
        """A new session knows nothing of the device; totals go on."""
        samples = self._status.samples
        return LidarStatus(LidarLinkState.CONNECTING, samples=samples, is_simulated=self._config.is_simulated)

    def _ended(self, failure: LinkError | None) -> LidarStatus:
        """What is known of the device stays as a dated copy, its turning does not."""
        if failure is None:
            return evolve(self._status, state=LidarLinkState.STOPPED, turn_period_ns=None)
        cause = f"{failure.cause}: {failure}"
        return evolve(self._status, state=state_of(failure), cause=cause, remedy=failure.remedy, turn_period_ns=None)

    def _tell(self, status: LidarStatus) -> None:
        self._status = evolve(
            status, checksum_errors=self._client.checksum_errors, noise_bytes=self._client.noise_bytes
        )
        self._publish_status(self._status)
