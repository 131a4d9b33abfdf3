"""The bus owner: the one task that holds the RS485 port (state: port, pending exchange, line clock).

It keeps the 3.5-character silence (serial line V1.02, section 2.5.1.1) before every frame, turns slots of the wire
schedule into exchanges, and abandons a pending exchange for a stop (SAFETY.md, Stopping). Judgement is in `core/`.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from attrs import field, frozen

from oht50d.clock import now_ns
from oht50d.codec.modbus_pdu import ReplyMismatch
from oht50d.codec.rtu import ModbusClient, character_ns, encode_request, reply_length, silence_ns
from oht50d.core.wire_schedule import Idle, Purpose, Slot, WireSchedule
from oht50d.drivers.serial_port import SerialPortConfig
from oht50d.model.bus import BusReply, BusRequest, ExchangeResult, Failure
from oht50d.model.errors import LinkError, LinkLost, RemoteProtocolError
from oht50d.model.motion import Cause, CauseCode, Decision, StopKind, StopReport
from oht50d.model.registers import BlockReadings
from oht50d.model.snapshot import WireStatus
from oht50d.model.units import Duration, between, milliseconds

BEGIN_LIMIT_NS = 10_000_000
"""A reply that has not begun this long after its earliest time is not waited for when a stop is pending."""

SEND_LIMIT_NS = 20_000_000
"""A port that has not taken a frame this long after its last character should be out is stuck."""

GAP_LIMIT_NS = 50_000_000
"""Loop gap beyond which input is thrown away (SAFETY.md, Permits)."""
MAX_NOISE_WAITS = 20
"""Bound on waiting for a babbling line: 20 silences (35 ms at 115200), then the frame goes out all the same."""
STOP_NOISE_WAITS = 3
"""The same bound while a stop is under way: its frames do not wait for a babbler."""


@frozen(kw_only=True)
class BusConfig:
    """Field bus settings; reply time-outs from DECISIONS."""

    serial: SerialPortConfig = field(factory=lambda: SerialPortConfig(port="/dev/ttyOHT485", baud=115200))
    is_simulated: bool = False
    # Retries must fit into the 150 ms after which a module counts as lost.
    safety_timeout: Duration = field(default=milliseconds(25), validator=between(milliseconds(5), milliseconds(50)))
    reply_timeout: Duration = field(default=milliseconds(50), validator=between(milliseconds(5), milliseconds(100)))
    probe_timeout: Duration = field(default=milliseconds(25), validator=between(milliseconds(5), milliseconds(50)))
    max_late: Duration = field(default=milliseconds(1000), validator=between(milliseconds(100), milliseconds(10_000)))
    maps: tuple[str, ...] = ("power.toml", "safety.toml", "travel_motor.toml", "dock.toml")


class ByteLink(Protocol):
    """An open port."""

    async def send_all(self, data: bytes) -> None: ...

    async def receive_some(self, max_bytes: int = 4096) -> bytes: ...

    def drain_input(self) -> int: ...

    def close(self) -> None: ...


class Timer(Protocol):
    """Wakes at a moment of the Trio clock without the 1 ms grain of the event loop's time-out.

    Who needs the moment itself waits until `lead_ns` before it, gets ready, and holds for the rest.
    """

    lead_ns: int

    async def wait_until_ns(self, deadline_ns: int) -> None: ...

    def hold_until_ns(self, deadline_ns: int) -> None: ...


class FieldBus:
    """The wire. `run` holds the port until it is cancelled or the link is lost; then it may be run again."""

    def __init__(
        self,
        config: BusConfig,
        schedule: WireSchedule,
        timer: Timer,
        open_port: Callable[[SerialPortConfig], Awaitable[ByteLink]],
        publish: Callable[[BlockReadings], None],
        publish_stop: Callable[[StopReport], None],
    ) -> None:
        self._config = config
        self._schedule = schedule
        self._timer = timer
        self._open_port = open_port
        self._publish = publish
        self._publish_stop = publish_stop
        self._character_ns = character_ns(config.serial.baud)
        self._silence_ns = silence_ns(config.serial.baud)
        self._wake = trio.Event()
        self._pending_scope: trio.CancelScope | None = None
        self._pending_begins_ns = 0
        self._pending_has_begun = False
        self._pending_rest_ns = 0
        self._may_abandon = False
        self._pending_kind: StopKind | None = None
        self._pending_deadline_ns = 0
        self._permit_ends_ns: int | None = None
        self._line_free_ns = 0
        self._is_dirty = True
        self._must_drain = False
        self._opened_ns: int | None = None
        self._last_valid_ns: int | None = None
        self._problem = ("closed", "")
        self._transactions = 0
        self._early_frames = 0
        self._unexpected_bytes = 0
        self._asked_unit = 0
        self._opening_cause = CauseCode.BOOT
        self._reported: StopReport | None = None

    # -- WirePort: synchronous, callable from any task of the Trio thread

    def take_over(self, decision: Decision) -> None:
        """The guardian's newest decision; a stop in it is served at the next slot."""
        if self._schedule.take_over(decision, now_ns()):
            self._hurry()
        if not self._schedule.is_open:
            self._schedule.observe_closed(now_ns())
            self._report_stop()
        elif decision.permit is not None:
            if self._permit_ends_ns is not None and not self._schedule.sequencer.is_active:
                self._permit_ends_ns = self._schedule.permit_ends_ns
                self._bound_by_permit()
            self._wake.set()

    def trip(self, kind: StopKind, decision: Decision) -> None:
        """A stop from outside the guardian's step."""
        self._schedule.trip(kind, decision.stop_causes, now_ns())
        self._hurry()

    def trip_causes(self, kind: StopKind, causes: tuple[Cause, ...]) -> bool:
        """A stop with its causes, for the operator's STOP and for the supervisor; False if it was under way."""
        has_changed = self._schedule.trip(kind, causes, now_ns())
        self._hurry()
        return has_changed

    def repeat_stop(self) -> None:
        """Send the frames of the last stop again, and have them read back again."""
        sequencer = self._schedule.sequencer
        if sequencer.is_active:
            sequencer.confirm_again(now_ns())
        else:
            sequencer.repeat(now_ns())
        self._hurry()

    def discard_input(self) -> None:
        """Throw away what waits in the tty: after a loop gap it may be seconds old. Holds until it is drained."""
        self._must_drain = True

    @property
    def stop_report(self) -> StopReport | None:
        return self._schedule.stop_report

    @property
    def status(self) -> WireStatus:
        cause, remedy = ("", "") if self._schedule.is_open else self._problem
        return WireStatus(
            is_open=self._schedule.is_open,
            port=self._config.serial.port,
            cause=cause,
            remedy=remedy,
            is_simulated=self._config.is_simulated,
            opened_ns=self._opened_ns,
            transactions=self._transactions,
            early_frames=self._early_frames,
            adopted_sequence=self._schedule.adopted_sequence,
            last_valid_ns=self._last_valid_ns,
            unexpected_bytes=self._unexpected_bytes,
        )

    # -- the task

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """One session: open, S0, identify, serve. Raises LinkError when the port cannot be opened or is lost.

        A cancellation leaves the line dirty and the port closed.
        """
        task_status.started()
        try:
            link = await self._open_port(self._config.serial)
        except LinkError as problem:
            self._problem = (str(problem), problem.remedy)
            raise
        try:
            self._begin_session()
            await self._serve(link)
        except LinkLost as problem:
            self._problem = (str(problem), problem.remedy or "Check the adapter and its cable.")
            raise
        finally:
            self._schedule.close()
            self._opening_cause = CauseCode.BUS_LOST
            link.close()

    def _begin_session(self) -> None:
        self._opened_ns = now_ns()
        self._is_dirty = True
        self._line_free_ns = self._opened_ns
        self._schedule.open(self._opened_ns, Cause(self._opening_cause, self._opened_ns, "the port was opened"))

    async def _serve(self, link: ByteLink) -> None:
        while True:
            # Silence first: the schedule is asked when the frame is about to go and nothing is awaited after that, so
            # that no frame outlives a stop or its permit while the line has to be quiet.
            await self._keep_silence(link)
            # Trio runs what is ready in random order: one turn more, so that the guardian, woken by the last reply
            # before this task was, has judged it before the next frame is chosen.
            await trio.lowlevel.checkpoint()
            step = self._schedule.next(now_ns())
            self._report_stop()
            if isinstance(step, Idle):
                await self._idle(step.until_ns)
                continue
            result = await self._exchange(link, step)
            self._transactions += 1
            if result.is_valid:
                self._last_valid_ns = result.ended_ns
            readings = self._schedule.complete(step, result)
            if readings is not None:
                self._publish(readings)

    async def _idle(self, until_ns: int) -> None:
        self._wake = trio.Event()
        with trio.move_on_at(until_ns / 1e9):
            await self._wake.wait()

    async def _exchange(self, link: ByteLink, slot: Slot) -> ExchangeResult:
        """One frame out, one reply in, or the reason why not. The line is marked dirty if anything is left open."""
        adu = encode_request(slot.request)
        client = ModbusClient()
        client.expect(slot.request)
        self._asked_unit = slot.request.unit
        self._timer.hold_until_ns(self._line_free_ns + self._silence_ns)
        sent_ns = now_ns()
        self._early_frames += sent_ns < self._line_free_ns + self._silence_ns
        self._is_dirty = True
        ends_ns = sent_ns + len(adu) * self._character_ns
        with trio.move_on_at((ends_ns + SEND_LIMIT_NS) / 1e9) as sending:
            await link.send_all(adu)
        if sending.cancelled_caught:
            # Whatever it holds back: closing drops it, and the next opening begins with S0.
            raise LinkLost("the port takes no more bytes", cause="lost", remedy="Check the adapter and its cable.")
        self._pending_begins_ns = ends_ns + self._silence_ns + BEGIN_LIMIT_NS
        self._pending_has_begun = False
        self._pending_rest_ns = reply_length(slot.request) * self._character_ns + self._silence_ns + BEGIN_LIMIT_NS
        self._may_abandon = slot.may_be_abandoned
        self._permit_ends_ns = self._schedule.permit_ends_ns if slot.may_be_abandoned else None
        self._pending_kind = self._schedule.sequencer.kind if slot.purpose is Purpose.STOP else None
        deadline_ns = ends_ns + slot.timeout_ns + reply_length(slot.request) * self._character_ns
        reply, failure = await self._receive(link, client, slot.request, deadline_ns)
        self._line_free_ns = max(self._line_free_ns if failure is None else now_ns(), ends_ns)
        self._is_dirty = failure is not None
        return ExchangeResult(slot.request, reply, failure, sent_ns, now_ns())

    async def _receive(
        self, link: ByteLink, client: ModbusClient, request: BusRequest, deadline_ns: int
    ) -> tuple[BusReply | None, Failure | None]:
        """The reply, or why there is none; runs under the scope that a stop may shorten."""
        failure = Failure.SILENT
        with trio.CancelScope(deadline=deadline_ns / 1e9) as scope:
            self._pending_scope, self._pending_deadline_ns = scope, deadline_ns
            self._bound_by_permit()
            try:
                while True:
                    data = await link.receive_some()
                    self._line_free_ns = now_ns()
                    try:
                        reply = client.receive_data(data)
                    except ReplyMismatch:
                        # Nothing of what is waited for has begun.
                        self._pending_has_begun = False
                        failure = Failure.MISMATCH
                        await self._skip_foreign(link, data)
                        client.expect(request)
                        continue
                    self._note_begun()
                    if reply is not None:
                        # Seen this late, its age is unknown: this process was not running for a while.
                        is_stale = now_ns() - deadline_ns > GAP_LIMIT_NS
                        return (None, Failure.SILENT) if is_stale else (reply, None)
            except RemoteProtocolError:
                return None, Failure.NOISE
            finally:
                if scope.deadline < deadline_ns / 1e9:
                    failure = Failure.ABANDONED
                self._pending_scope = None
        return None, failure

    async def _skip_foreign(self, link: ByteLink, data: bytes) -> None:
        """A reply to something else, until the line is quiet again; the one that is waited for may still come (serial
        line V1.02, section 2.4.1: the time-out is kept running)."""
        self._unexpected_bytes += len(data)
        self._schedule.note_unexpected(data[0], now_ns())
        quiet_s = self._silence_ns / 1e9
        with trio.move_on_after(quiet_s) as quiet:
            while True:
                self._unexpected_bytes += len(await link.receive_some())
                self._line_free_ns = now_ns()
                quiet.deadline = trio.current_time() + quiet_s

    async def _keep_silence(self, link: ByteLink) -> None:
        """Wait until the line is about to have been quiet for 3.5 characters; on a dirty line, until it *is* quiet.

        Whatever came since the last reply is thrown away: it answers nothing that is about to be asked.
        """
        is_clean = not (self._is_dirty or self._must_drain)
        lead_ns = self._timer.lead_ns if is_clean else 0
        await self._timer.wait_until_ns(self._line_free_ns + self._silence_ns - lead_ns)
        dropped = link.drain_input()
        if dropped and is_clean:
            self._unexpected_bytes += dropped
            self._schedule.note_unexpected(self._asked_unit, now_ns())
        waits = 0
        # Asked in every round: a stop may come while the line is babbling.
        while dropped and waits < (STOP_NOISE_WAITS if self._is_stop_due else MAX_NOISE_WAITS):
            waits += 1
            self._line_free_ns = now_ns()
            await self._timer.wait_until_ns(self._line_free_ns + self._silence_ns)
            dropped = link.drain_input()
        self._must_drain = False

    @property
    def _is_stop_due(self) -> bool:
        """A stop is under way, or the permit of energised drives has run out."""
        ends_ns = self._schedule.permit_ends_ns
        return self._schedule.sequencer.is_active or (ends_ns is not None and ends_ns <= now_ns())

    def _note_begun(self) -> None:
        """The reply has begun: a permit that runs out gives it the time of its characters."""
        if not self._pending_has_begun:
            self._pending_has_begun = True
            self._bound_by_permit()

    def _bound_by_permit(self) -> None:
        """When the permit runs out the bus owner stops by itself: an exchange that is under way then is not waited for
        any longer than for any other stop."""
        if self._pending_scope is None or self._permit_ends_ns is None:
            return
        ends_ns = max(self._permit_ends_ns, self._pending_begins_ns)
        if self._pending_has_begun:
            ends_ns = max(self._permit_ends_ns, now_ns()) + self._pending_rest_ns
        self._pending_scope.deadline = min(self._pending_deadline_ns, ends_ns) / 1e9

    def _hurry(self) -> None:
        """A stop wants the wire: wake an idle wait, shorten the wait for a reply.

        One that has not begun is not waited for beyond its limit; one that has begun gets the time of its characters.
        """
        self._wake.set()
        kind = self._schedule.sequencer.kind
        is_harder = self._pending_kind is not None and kind is not None and kind > self._pending_kind
        if self._pending_scope is not None and (self._may_abandon or is_harder):
            at_ns = now_ns()
            ends_ns = at_ns + self._pending_rest_ns if self._pending_has_begun else max(self._pending_begins_ns, at_ns)
            self._pending_scope.deadline = min(self._pending_scope.deadline, ends_ns / 1e9)

    def _report_stop(self) -> None:
        report = self._schedule.stop_report
        if report is not None and report != self._reported:
            self._reported = report
            self._publish_stop(report)


def exchange_ns(request: BusRequest, baud: int, turnaround_ns: int) -> int:
    """Length of one exchange on the wire by the formula of PERFORMANCE.md, both silences included."""
    characters = len(encode_request(request)) + reply_length(request)
    return math.ceil(characters * character_ns(baud)) + turnaround_ns + 2 * silence_ns(baud)
