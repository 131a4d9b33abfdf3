"""The stop sequences S0, S1 and S2 as a state machine over frames (SAFETY.md, Stopping; owner: wire schedule).

Each frame gets one attempt in the order of the steps; what was not read back is repeated once the brake step is out.
Frames not read back within `read_back_limit`, and standstill not measured within `standstill_limit`, escalate to S0.
`Verified` means standstill measured by readings that were requested after the first stop frame.
"""

from collections.abc import Iterator

from oht50d.core.actuators import Actuators
from oht50d.core.safety_config import StopConfig, StopStep
from oht50d.core.stop_frames import StopFrame, StopItem, stop_items
from oht50d.core.stop_run import MotionFeedback, StopRun
from oht50d.model.bus import ExchangeResult, ReadReply
from oht50d.model.motion import Cause, CauseCode, StopKind, StopPhase, StopReport

PRESSING_NS = 2_000_000_000
"""Beyond every limit within which a stop must have been confirmed and measured."""
MOVING_AGAIN = 3.0
"""Times the standstill threshold at which a carriage that stood counts as moving again."""


class StopSequencer:
    """At most one stop at a time; a more severe one takes its place and keeps its time of detection."""

    def __init__(self, config: StopConfig, actuators: Actuators, predicted_ms: float | None = None) -> None:
        self._config = config
        self._actuators = actuators
        self._predicted_ms = predicted_ms
        self._run: StopRun | None = None
        self._count = 0

    @property
    def is_active(self) -> bool:
        """True from the trip until every frame is read back and standstill is measured."""
        return self._run is not None and not self._run.is_done

    @property
    def is_judged(self) -> bool:
        """True while a stop is active whose time limits count (not for S0 on a fresh opening)."""
        return self._run is not None and not self._run.is_done and self._run.is_judged

    def is_pressing(self, now_ns: int) -> bool:
        """True while a stop whose limits count is young: a module that comes back now is not made to wait for it."""
        return self.is_judged and self._run is not None and now_ns - self._run.limits_from_ns < PRESSING_NS

    def is_young(self, now_ns: int) -> bool:
        """True while a stop, judged or not, has begun lately, or was asked for again: nothing comes between."""
        run = self._run
        if run is None or run.is_done:
            return False
        return now_ns - max(run.started_ns, run.limits_from_ns, run.asked_ns) < PRESSING_NS

    @property
    def kind(self) -> StopKind | None:
        return None if self._run is None else self._run.kind

    @property
    def report(self) -> StopReport | None:
        """The present or last stop."""
        run = self._run
        if run is None:
            return None
        return StopReport(
            number=run.number,
            kind=run.kind,
            causes=run.causes + tuple(run.extra_causes),
            phase=self._phase(run),
            detected_ns=run.detected_ns,
            first_frame_ns=run.first_frame_ns,
            output_zero_ns=run.output_zero_ns,
            standstill_ns=run.standstill_ns,
            predicted_ms=run.predicted_ms,
            unconfirmed_units=tuple(sorted({item.write.unit for item in run.items if not item.is_verified})),
        )

    def trip(self, kind: StopKind, causes: tuple[Cause, ...], now_ns: int) -> None:
        """Start a stop, or escalate the one under way; a milder or equal one changes nothing but makes it judged."""
        run = self._run
        if run is None or run.is_done:
            self._begin(kind, causes, now_ns, before=None)
        elif kind > run.kind:
            self._begin(kind, causes, now_ns, before=run)
        else:
            self._make_judged(run, causes, now_ns)

    def secure_opening(self, causes: tuple[Cause, ...], now_ns: int) -> None:
        """S0 on a port that was just opened, before any identification.

        Without a stop under way its limits are not judged, because modules may be powered later than this computer:
        it repeats until it is read back, and nothing may move before that.
        """
        if not self.is_active:
            self._begin(StopKind.S0, causes, now_ns, before=None).is_judged = False
            return
        if self.is_judged:
            # A stop that the port did not live to see confirmed concerns people.
            lost = Cause(CauseCode.STOP_UNVERIFIED, now_ns, "the port was lost during the stop")
            self.trip(StopKind.S0, (lost, *causes), now_ns)
        self.repeat(now_ns)

    def repeat(self, now_ns: int) -> None:
        """Send the whole sequence again: a STOP pressed again, or a new port under the same stop.

        The limits of a stop under way run on: opening the port again and again cannot put them off.
        """
        run = self._run
        if run is None:
            return
        for item in run.items:
            item.start_again()
        if run.is_done:
            # Nothing that was confirmed before speaks for the frames that go out now.
            run.limits_from_ns = run.detected_ns = run.asked_ns = now_ns
            run.first_frame_ns = run.output_zero_ns = run.confirmed_ns = None
            run.is_not_confirmed = False
        run.position = 0
        run.started_ns = now_ns
        run.step_entered_ns = run.evidence_from_ns = run.still_since_ns = run.standstill_ns = None
        run.is_done = False

    def press_again(self, causes: tuple[Cause, ...], now_ns: int) -> None:
        """A STOP that is held already was pressed again: its frames go out again, within limits in any case."""
        run = self._run
        if run is None:
            return
        if run.is_done:
            self.repeat(now_ns)
        else:
            self.confirm_again(now_ns)
        self._make_judged(run, causes, now_ns)

    def confirm_again(self, now_ns: int) -> None:
        """The frames of the stop under way that are out go out once more and are read back anew; its limits run on."""
        run = self._run
        if run is None or run.is_done:
            return
        for item in self._opened(run):
            if item.is_verified:
                item.first_sent_ns = None
            item.is_echoed = item.is_verified = False
            item.next_ns = 0
        run.confirmed_ns = None
        run.asked_ns = now_ns

    def abandon(self) -> bool:
        """End an S2 at standstill, because a new press took over; False for every other stop.

        The drives are still enabled then: whoever calls this must go on to treat them as energised.
        """
        run = self._run
        if run is None or run.kind is not StopKind.S2 or run.is_done or run.standstill_ns is None:
            return False
        run.is_done = True
        return True

    def next_frame(self, now_ns: int) -> StopFrame | None:
        """The frame that wants the next bus slot, if any."""
        return next(self.frames(now_ns), None)

    def frames(self, now_ns: int) -> Iterator[StopFrame]:
        """All frames that may go out now, the most urgent first: writes that were never sent, then repeats."""
        run = self._run
        if run is None or run.is_done:
            return
        self._advance(run, now_ns)
        for item in self._current_writes(run):
            if item.attempts == 0:
                yield item.write_frame()
        for item in self._opened(run):
            if not item.is_verified and now_ns >= item.next_ns:
                yield item.wanted_frame()

    def complete(self, frame: StopFrame, result: ExchangeResult) -> None:
        """The outcome of a frame from `next_frame`; call `observe` afterwards for the consequences."""
        run = self._run
        if run is None:
            return
        if not frame.is_read_back:
            self._note_sent(run, result.sent_ns)
        item = self._find(run, frame)
        if item is None:
            return
        if frame.is_read_back:
            self._complete_read_back(run, item, result)
            return
        if item.first_sent_ns is None:
            item.first_sent_ns = result.sent_ns
        item.attempts += 1
        item.is_echoed = result.is_valid
        item.next_ns = 0 if result.is_valid else self._repeat_ns(item, result)

    def observe(self, feedback: MotionFeedback, now_ns: int) -> None:
        """Judge standstill and the time limits; may escalate to S0."""
        run = self._run
        if run is None or run.is_done:
            return
        self._judge_demand(run, feedback, now_ns)
        self._judge_standstill(run, feedback, now_ns)
        self._judge_limits(run, now_ns)
        self._advance(self._run or run, now_ns)

    def wakeup_ns(self, now_ns: int) -> int | None:
        """When `next_frame` may have something to say without news from the bus."""
        run = self._run
        if run is None or run.is_done:
            return None
        times = [item.next_ns for item in self._opened(run) if not item.is_verified]
        if run.step_entered_ns is not None:
            times.append(run.step_entered_ns + self._config.hold.ns)
        return max(now_ns, min(times)) if times else None

    # -- inner workings

    def _make_judged(self, run: StopRun, causes: tuple[Cause, ...], now_ns: int) -> None:
        """From now on the time limits count; nothing for a stop whose limits count already."""
        if run.is_judged:
            return
        run.is_judged = True
        run.limits_from_ns = now_ns
        run.extra_causes.extend(causes)

    def _begin(self, kind: StopKind, causes: tuple[Cause, ...], now_ns: int, *, before: "StopRun | None") -> StopRun:
        self._count += before is None
        steps = {
            StopKind.S0: self._config.s0_steps,
            StopKind.S1: self._config.s1_steps,
            StopKind.S2: self._config.s2_steps,
        }[kind]
        if before is not None and before.has_silent_drive:
            # It has had its attempt: the brake does not wait for it.
            steps = (*(s for s in steps if s is StopStep.BRAKE_ON), *(s for s in steps if s is not StopStep.BRAKE_ON))
        known = {cause.code for cause in causes}
        kept = () if before is None else tuple(
            cause for cause in (*before.causes, *before.extra_causes) if cause.code not in known
        )  # fmt: skip
        run = StopRun(
            number=self._count,
            kind=kind,
            causes=causes + kept,
            detected_ns=now_ns if before is None else before.detected_ns,
            steps=steps,
            items=[item for step in steps for item in stop_items(step, self._actuators)],
            predicted_ms=self._predicted_ms,
            started_ns=now_ns,
            limits_from_ns=now_ns,
            asked_ns=now_ns if before is None else before.asked_ns,
        )
        if before is not None:
            run.first_frame_ns, run.evidence_from_ns = before.first_frame_ns, before.evidence_from_ns
            run.output_zero_ns, run.is_not_confirmed = before.output_zero_ns, before.is_not_confirmed
            run.confirmed_ns = before.confirmed_ns
        self._run = run
        return run

    def _note_sent(self, run: StopRun, sent_ns: int) -> None:
        """A frame of an older stop, still on the wire when this one was tripped, is no frame of this one."""
        if run.first_frame_ns is None and sent_ns >= run.detected_ns:
            run.first_frame_ns = sent_ns
        if run.evidence_from_ns is None and sent_ns >= run.started_ns:
            run.evidence_from_ns = sent_ns

    def _advance(self, run: StopRun, now_ns: int) -> None:
        """Leave every step that is over."""
        while run.position < len(run.steps) and self._is_step_over(run, run.steps[run.position], now_ns):
            run.position += 1
            run.step_entered_ns = None
        if run.position == len(run.steps) and run.standstill_ns is not None:
            run.is_done = all(item.is_verified for item in run.items)

    def _is_step_over(self, run: StopRun, step: StopStep, now_ns: int) -> bool:
        if step is StopStep.AWAIT_STANDSTILL:
            return run.standstill_ns is not None
        if step is StopStep.HOLD:
            if run.step_entered_ns is None:
                run.step_entered_ns = now_ns
            return now_ns - run.step_entered_ns >= self._config.hold.ns
        return all(item.attempts > 0 for item in run.items if item.step is step)

    def _current_writes(self, run: StopRun) -> list[StopItem]:
        if run.position >= len(run.steps):
            return []
        step = run.steps[run.position]
        return [item for item in run.items if item.step is step]

    def _opened(self, run: StopRun) -> list[StopItem]:
        """Items whose first attempt is out."""
        return [item for item in run.items if item.attempts > 0]

    def _find(self, run: StopRun, frame: StopFrame) -> StopItem | None:
        for item in run.items:
            if frame.request == (item.read if frame.is_read_back else item.write):
                return item
        return None

    def _complete_read_back(self, run: StopRun, item: StopItem, result: ExchangeResult) -> None:
        if not item.is_echoed:
            # Asked for before the sequence was started again: it shows nothing about the write that is still due.
            return
        reply = result.reply
        if isinstance(reply, ReadReply) and item.is_shown_by(reply.words):
            item.is_verified = True
            if self._is_output_zero(run) and run.confirmed_ns is None:
                run.confirmed_ns = result.ended_ns
                run.output_zero_ns = run.output_zero_ns or result.ended_ns
            return
        # Another value: write again. Silence or a refusal: ask again. Never assume.
        item.is_echoed = not isinstance(reply, ReadReply)
        item.next_ns = self._repeat_ns(item, result)

    def _repeat_ns(self, item: StopItem, result: ExchangeResult) -> int:
        """Repeats of a silent module slow down to sixteen intervals, so that it leaves the wire to the living."""
        item.silences = item.silences + 1 if result.reply is None else 0
        return result.ended_ns + (self._config.repeat_interval.ns << min(max(item.silences - 1, 0), 4))

    def _is_output_zero(self, run: StopRun) -> bool:
        """Every drive has read back a zero demand (by the setpoint step or the off step)."""
        verified = {item.drive for item in run.items if item.is_verified}
        return all(drive.number in verified for drive in self._actuators.drives)

    def _judge_demand(self, run: StopRun, feedback: MotionFeedback, now_ns: int) -> None:
        """A demand that comes back after it was read back as zero (a module that restarted, a second master)."""
        asked_ns = feedback.demand_requested_ns
        if run.confirmed_ns is not None and asked_ns is not None and asked_ns > run.confirmed_ns:
            self.confirm_again(now_ns)

    def _judge_standstill(self, run: StopRun, feedback: MotionFeedback, now_ns: int) -> None:
        """Stillness must be shown by readings asked for at least `standstill_hold` apart: one reading is not enough."""
        if run.standstill_ns is not None:
            self._watch_hold(run, feedback, now_ns)
            return
        requested_ns = self._still_reading_ns(run, feedback)
        if requested_ns is None:
            run.still_since_ns = None
        elif run.still_since_ns is None:
            run.still_since_ns, run.still_requested_ns = now_ns, requested_ns
        elif requested_ns - run.still_requested_ns >= self._config.standstill_hold.ns:
            # The time told is when the stillness began, not when it had lasted long enough.
            run.standstill_ns = run.still_since_ns

    def _watch_hold(self, run: StopRun, feedback: MotionFeedback, now_ns: int) -> None:
        """A standstill that is held by setpoint is monitored: what moves again gets S0 (SAFETY.md, S2)."""
        velocity = feedback.velocity_mm_s
        is_moving = velocity is not None and abs(velocity) > MOVING_AGAIN * self._config.standstill_mm_s
        if run.kind < StopKind.S0 and (is_moving or feedback.are_outputs_still is False):
            self._escalate(run, CauseCode.STOP_UNVERIFIED, now_ns)

    def _still_reading_ns(self, run: StopRun, feedback: MotionFeedback) -> int | None:
        """When a reading that shows stillness and counts was asked for."""
        velocity, requested_ns = feedback.velocity_mm_s, feedback.velocity_requested_ns
        if velocity is None or requested_ns is None or run.evidence_from_ns is None:
            return None
        is_still = abs(velocity) <= self._config.standstill_mm_s and feedback.are_outputs_still is True
        return requested_ns if is_still and requested_ns > run.evidence_from_ns else None

    def _judge_limits(self, run: StopRun, now_ns: int) -> None:
        if run.is_judged and self._is_read_back_late(run, now_ns):
            run = self._escalate(run, CauseCode.STOP_UNVERIFIED, now_ns)
        is_still_missing = run.standstill_ns is None and now_ns - run.limits_from_ns > self._config.standstill_limit.ns
        if run.is_judged and is_still_missing:
            run = self._escalate(run, CauseCode.STOP_LATE, now_ns)
        if run.confirmed_ns is None and now_ns - run.asked_ns > self._config.not_confirmed_after.ns:
            run.is_not_confirmed = True

    def _is_read_back_late(self, run: StopRun, now_ns: int) -> bool:
        limit_ns = self._config.read_back_limit.ns
        if run.evidence_from_ns is None:
            return now_ns - run.limits_from_ns > limit_ns
        return any(
            not item.is_verified
            and item.first_sent_ns is not None
            and now_ns - max(item.first_sent_ns, run.limits_from_ns) > limit_ns
            for item in run.items
        )

    def _escalate(self, run: StopRun, code: CauseCode, now_ns: int) -> StopRun:
        """S0 for a milder stop; for S0 itself the alarm. The stop that is now under way is returned."""
        cause = Cause(code, now_ns, detail=self._lateness(run, code))
        if run.kind < StopKind.S0:
            run = self._begin(StopKind.S0, (cause,), now_ns, before=run)
            run.is_not_confirmed |= code is CauseCode.STOP_LATE
            return run
        run.is_not_confirmed = True
        if code not in {known.code for known in (*run.causes, *run.extra_causes)}:
            run.extra_causes.append(cause)
        return run

    def _lateness(self, run: StopRun, code: CauseCode) -> str:
        if code is CauseCode.STOP_LATE:
            return f"{run.kind.label}: no standstill within {self._config.standstill_limit}"
        units = sorted({item.write.unit for item in run.items if not item.is_verified})
        names = ", ".join(f"{unit:#04x}" for unit in units)
        return f"{run.kind.label}: not confirmed within {self._config.read_back_limit} by {names}"

    def _phase(self, run: StopRun) -> StopPhase:
        if run.is_done:
            return StopPhase.IDLE if run.standstill_ns is None else StopPhase.STANDSTILL
        if run.is_not_confirmed:
            return StopPhase.NOT_CONFIRMED
        return StopPhase.SENDING if run.confirmed_ns is None else StopPhase.STOPPING
