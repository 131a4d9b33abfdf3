"""The bus owner: the one task that holds the port of the field bus (state: port, session, line).

It turns slots of the wire schedule into exchanges on its line and abandons a pending one for a stop (SAFETY.md,
Stopping). Judgement is in `core/`, the single exchange in `modbus_line.py`.
"""

import logging
import math
from collections.abc import Callable

import trio

from oht50d.clock import now_ns
from oht50d.codec.rtu import character_ns, encode_request, reply_length, silence_ns
from oht50d.core.bus_scan import CANCELLED, FOR_A_STOP, BusScan, ScanOrder, character_bits, check_order
from oht50d.core.frame_event import Note, Observe, Way, observe_nothing
from oht50d.core.wire_schedule import Idle, Purpose, Slot, WireSchedule
from oht50d.drivers.bus_config import BusConfig
from oht50d.drivers.bus_transport import OpenPort, framing_of, line_times
from oht50d.drivers.listener import listen
from oht50d.drivers.modbus_line import ByteLink, LineTimes, ModbusLine, Timer
from oht50d.model.bus import BusRequest, ExchangeResult, Failure
from oht50d.model.errors import LinkError, LinkLost
from oht50d.model.line import LineSettings
from oht50d.model.motion import Cause, CauseCode, Decision, StopKind, StopReport
from oht50d.model.registers import BlockReadings
from oht50d.model.snapshot import WireStatus

__all__ = ["BusConfig", "ByteLink", "FieldBus", "Timer", "exchange_ns"]


_log = logging.getLogger(__name__)


RESOLVE_NS = 1_000_000_000
"""A bus that was silent for this long is looked at again: its name may stand for another device by now."""


def _record_nothing(_slot: Slot, _result: ExchangeResult) -> None:
    """For those who keep no statistics."""


class FieldBus:
    """The wire. `run` holds the port until it is cancelled or the link is lost; then it may be run again.

    `publish` answers True if the reading must be judged before the next frame; `observe` hears every frame, `record`
    every exchange; all must return at once.
    """

    def __init__(
        self,
        config: BusConfig,
        schedule: WireSchedule,
        timer: Timer,
        open_port: OpenPort,
        publish: Callable[[BlockReadings], bool],
        publish_stop: Callable[[StopReport], None],
        *,
        observe: Observe = observe_nothing,
        record: Callable[[Slot, ExchangeResult], None] = _record_nothing,
    ) -> None:
        self._config = config
        self._schedule = schedule
        self._timer = timer
        self._open_port = open_port
        self._publish = publish
        self._publish_stop = publish_stop
        self._observe = observe
        self._record = record
        self._own_line = self._set_line = LineSettings(
            config.serial.baud, config.serial.parity, config.serial.stop_bits
        )
        self._line = ModbusLine(framing_of(config), line_times(config), timer, observe, schedule.note_unexpected)
        self._wake = trio.Event()
        self._last_valid_ns: int | None = None
        self._resolved_ns = 0
        self._problem = ("closed", "")
        self._device = ""
        self._told_warning = ""
        self._transactions = 0
        self._is_listening = False
        self._last_heard_ns: int | None = None
        self._opening_cause = CauseCode.BOOT
        self._reported: StopReport | None = None
        self._was_stop_active = True
        self._is_judged_first = True
        self._step: Slot

    # -- WirePort: synchronous, callable from any task of the Trio thread

    def take_over(self, decision: Decision) -> None:
        """The guardian's newest decision; a stop in it is served at the next slot."""
        if self._schedule.take_over(decision, now_ns()):
            self._hurry()
        if not self._schedule.is_open:
            self._schedule.observe_closed(now_ns())
            self._report_stop()
        elif decision.permit is not None:
            if not self._schedule.sequencer.is_active:
                self._line.pending.renew_permit(self._schedule.permit_ends_ns)
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

    def repeat_stop(self, causes: tuple[Cause, ...]) -> None:
        """Send the frames of the last stop again, and have them read back again within its limits."""
        self._schedule.end_scan(FOR_A_STOP, now_ns())
        self._schedule.sequencer.press_again(causes, now_ns())
        self._hurry()

    def wake(self) -> None:
        """Something new wants the wire: an idle wait ends."""
        self._wake.set()

    def start_scan(self, order: ScanOrder) -> None:
        """Pause polling and look for modules as `order` says. Raises CommandRejected."""
        timeout_ns = self._config.probe_timeout.ns
        check_order(order, timeout_ns)
        self._schedule.begin_scan(BusScan(order, timeout_ns, now_ns()))
        self._wake.set()

    def look_at_scan(self) -> None:
        """Somebody asks how the scan goes; one that nobody asks for ends. Nothing without one."""
        if self._schedule.pause.scan is not None:
            self._schedule.pause.scan.note_looked(now_ns())

    def cancel_scan(self) -> None:
        """End a scan, with S0 and identification as after an opening; nothing without one."""
        self._schedule.end_scan(CANCELLED, now_ns())

    def discard_input(self) -> None:
        """Throw away what waits in the tty: after a loop gap it may be seconds old. Holds until it is drained."""
        self._line.discard_input()

    @property
    def stop_report(self) -> StopReport | None:
        return self._schedule.stop_report

    @property
    def late_replies(self) -> int:
        """Replies that were known as late by their number and skipped; 0 where replies bear none."""
        return self._line.late_replies

    @property
    def status(self) -> WireStatus:
        cause, remedy = ("", "") if self._schedule.is_open or self._is_listening else self._problem
        return WireStatus(
            is_open=self._schedule.is_open,
            port=self._config.place,
            cause=cause,
            remedy=remedy,
            is_simulated=self._config.is_simulated,
            opened_ns=self._schedule.opened_ns,
            transactions=self._transactions,
            early_frames=self._line.early_frames,
            adopted_sequence=self._schedule.adopted_sequence,
            last_valid_ns=self._last_heard_ns if self._config.listen_only else self._last_valid_ns,
            unexpected_bytes=self._line.unexpected_bytes,
            device=self._device,
            transport=self._config.transport.value,
            scan=self._schedule.pause.progress(),
            is_listen_only=self._config.listen_only,
            is_listening=self._is_listening,
            plan=self._schedule.polls.plan_status,
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
            if self._config.listen_only:
                await self._listen(link)
            else:
                self._begin_session(link)
                await self._serve(link)
        except LinkLost as problem:
            self._problem = (str(problem), problem.remedy or "Check the adapter and its cable.")
            raise
        finally:
            self._is_listening = False
            self._schedule.close()
            self._opening_cause = CauseCode.BUS_LOST
            self._observe(now_ns(), Way.LINE, self._problem[0].encode(), Note.CLOSED, None)
            link.close()

    def _begin_session(self, link: ByteLink) -> None:
        at_ns = self._resolved_ns = now_ns()
        self._set_line = self._own_line
        self._line.set_times(line_times(self._config))
        self._line.begin(at_ns)
        self._note_opened(link, at_ns)
        self._schedule.open(at_ns, Cause(self._opening_cause, at_ns, "the port was opened"))

    def _note_opened(self, link: ByteLink, at_ns: int) -> None:
        self._device = link.device
        self._observe(at_ns, Way.LINE, f"{self._config.place} ({link.device})".encode(), Note.OPENED, None)
        if link.warning and link.warning != self._told_warning:  # not again at every reopening
            _log.warning(link.warning, extra={"event": "bus.adapter"})
        self._told_warning = link.warning

    async def _listen(self, link: ByteLink) -> None:
        """Somebody else is the master: nothing is sent, not even a stop, and nothing heard becomes a reading."""
        self._is_listening = True
        self._note_opened(link, now_ns())
        await listen(link, self._hear, self._schedule.adopt)

    def _hear(self, at_ns: int, way: Way, octets: bytes, note: Note, purpose: Purpose | None) -> None:
        if note is not Note.NOISE:
            self._last_heard_ns = at_ns
        self._observe(at_ns, way, octets, note, purpose)

    async def _serve(self, link: ByteLink) -> None:
        while True:
            with self._line.pending.open() as scope:
                # A reply and the end of its time may come together: then the scope is used up, too.
                while not scope.cancel_called:
                    await self._turn(link)
            if scope.cancelled_caught:
                self._complete(self._step, self._line.give_up())

    async def _turn(self, link: ByteLink) -> None:
        """Silence, then what the schedule wants to do now."""
        self._adopt_line(link)
        self._require_named(link)
        # Silence first: the schedule is asked when the frame is about to go and nothing is awaited after that, so that
        # no frame outlives a stop or its permit while the line has to be quiet.
        if await self._line.keep_silence(link, self._is_stop_due) or self._is_judged_first:
            # Trio runs what is ready in random order: one turn more, so that the guardian, woken by the last reply
            # before this task was, has judged it before the next frame is chosen.
            await trio.lowlevel.checkpoint()
        if self._is_judged_first:
            await trio.lowlevel.checkpoint()
        if self._wanted_line is not self._set_line:
            return
        step = self._schedule.next(now_ns())
        self._report_stop()
        if isinstance(step, Idle):
            await self._idle(step.until_ns)
            return
        self._step = step
        try:
            result = await self._line.exchange(link, step, self._stop_kind(step), self._schedule.permit_ends_ns)
        except LinkLost:
            self._tell_lost(step)
            raise
        self._complete(step, result)

    def _require_named(self, link: ByteLink) -> None:
        """A port that nobody answers on is let go of if its name has moved: the modules are behind the other one."""
        at_ns = now_ns()
        if at_ns - max(self._resolved_ns, self._last_valid_ns or 0) < RESOLVE_NS:
            return
        self._resolved_ns = at_ns
        if not link.is_current:
            why = f"{self._config.place} stands for another device now"
            raise LinkLost(why, cause="lost", remedy="Nothing to do if the adapter was plugged in anew.")

    @staticmethod
    def _tell_lost(slot: Slot) -> None:
        """Who asked from outside must know that the frame may have gone out: nothing is written twice."""
        if slot.source is not None:
            at_ns = now_ns()
            slot.source.complete(slot, ExchangeResult(slot.request, None, Failure.LINK_LOST, at_ns, at_ns))

    def _complete(self, slot: Slot, result: ExchangeResult) -> None:
        self._transactions += 1
        if result.is_valid:
            self._last_valid_ns = result.ended_ns
        if self._set_line is self._own_line:
            self._record(slot, result)
        readings = self._schedule.complete(slot, result)
        self._is_judged_first = readings is not None and self._publish(readings)

    @property
    def _wanted_line(self) -> LineSettings:
        return self._schedule.pause.line or self._own_line

    def _adopt_line(self, link: ByteLink) -> None:
        """Set the port as what goes out next needs it: a scan tries other settings, a stop finds its own again."""
        if self._wanted_line is self._set_line:
            return
        try:
            link.reconfigure(self._wanted_line)
        except LinkLost:
            raise
        except LinkError as problem:
            self._schedule.end_scan(f"ended early: {problem}", now_ns())
            link.reconfigure(self._own_line)
        self._set_line = self._wanted_line
        is_own = self._set_line is self._own_line
        self._line.set_times(line_times(self._config) if is_own else times_of(self._set_line))
        self._line.begin(now_ns())

    async def _idle(self, until_ns: int) -> None:
        self._wake = trio.Event()
        with trio.move_on_at(until_ns / 1e9):
            await self._wake.wait()

    def _stop_kind(self, slot: Slot) -> StopKind | None:
        return self._schedule.sequencer.kind if slot.purpose is Purpose.STOP else None

    def _is_stop_due(self) -> bool:
        """A stop is under way, or the permit of energised drives has run out."""
        ends_ns = self._schedule.permit_ends_ns
        return self._schedule.sequencer.is_active or (ends_ns is not None and ends_ns <= now_ns())

    def _hurry(self) -> None:
        """A stop wants the wire: wake an idle wait, shorten the wait for a reply."""
        self._wake.set()
        self._line.pending.hurry(self._schedule.sequencer.kind)

    def _report_stop(self) -> None:
        is_active = self._schedule.sequencer.is_active
        if not is_active and not self._was_stop_active:
            return
        self._was_stop_active = is_active
        report = self._schedule.stop_report
        if report is not None and report != self._reported:
            self._reported = report
            self._publish_stop(report)


def times_of(line: LineSettings) -> LineTimes:
    """What a character and the silence take with these settings of a serial line."""
    return LineTimes(character_ns(line.baud, character_bits(line)), silence_ns(line.baud))


def exchange_ns(request: BusRequest, baud: int, turnaround_ns: int) -> int:
    """Length of one exchange on the wire by the formula of PERFORMANCE.md, both silences included."""
    characters = len(encode_request(request)) + reply_length(request)
    return math.ceil(characters * character_ns(baud)) + turnaround_ns + 2 * silence_ns(baud)
