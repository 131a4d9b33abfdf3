"""The safety kernel: one step turns all inputs into one decision (owner: guardian; SAFETY.md; time is an argument).

It owns the latch, the state machine, the jog lease, the authority and the zones. A permit is granted only when no
check has anything against it; everything that is missing has something against it.
"""

from collections.abc import Iterable

from attrs import evolve

from oht50d.core.authority import AuthorityDesk
from oht50d.core.failsafes import FAILSAFES, Latching, by_severity, stop_kind
from oht50d.core.inputs import SafetyInputs
from oht50d.core.jog import JogLease, LeaseState
from oht50d.core.latch import Latch
from oht50d.core.motion_watch import MotionWatch
from oht50d.core.reset_button import HoldButton, Press
from oht50d.core.safety_checks import (
    Moment,
    evaluate_drives,
    evaluate_evidence,
    evaluate_lidar,
    evaluate_modules,
    evaluate_plan,
    evaluate_safety_module,
    evaluate_site,
    evaluate_speed,
    evaluate_stop,
    evaluate_wire,
    is_fresh,
)
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.state_machine import MachineEvent, next_state
from oht50d.core.zones import ZoneMonitor, ZoneView
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import (
    Cause,
    CauseCode,
    Decision,
    Direction,
    MachineState,
    MotionDemand,
    Permit,
    StopKind,
    StopPhase,
)

BUTTON_AGE_NS = 500_000_000
"""The reset button is read five times a second; an older level is unknown."""
RESETTABLE = frozenset({MachineState.SAFE, MachineState.ESTOP, MachineState.FAULT})


class SafetyKernel:
    """Judges; never acts. `step` is called at a fixed rate and whenever an input that matters has arrived."""

    def __init__(self, config: SafetyConfig, boot_id: str, now_ns: int, boot_detail: str = "") -> None:
        """`boot_detail` is what is known of the last run's end, in words; it belongs to the latched cause `boot`."""
        self._config = config
        self.latch = Latch()
        self.lease = JogLease(config.jog)
        self.zones = ZoneMonitor(config.zones)
        self.authority = AuthorityDesk(boot_id)
        self.state = MachineState.BOOT
        self._watch = MotionWatch(config, now_ns)
        self._button = HoldButton(config.reset_hold.ns)
        self._sequence = 0
        self._last_step_ns = now_ns
        self._floor_ns = now_ns
        self._held_since: dict[tuple[CauseCode, str], int] = {}
        self._present: tuple[Cause, ...] = ()
        self._latching_before: frozenset[CauseCode] = frozenset()
        self._is_at_rest = False
        self._driven_press: int | None = None
        self._checked_trips = 0
        self._send(MachineEvent.BOOT_COMPLETE)
        self.trip(Cause(CauseCode.BOOT, now_ns, boot_detail))
        self._send(MachineEvent.INIT_COMPLETE)

    # -- the step

    def step(self, inputs: SafetyInputs, now_ns: int) -> Decision:
        """Judge everything once; the decision replaces the older one."""
        self._sequence += 1
        before_ns = self._last_step_ns
        has_gap = self._note_gap(now_ns)
        demand = self.lease.demand(now_ns)
        self._watch.observe(inputs, now_ns)
        self._is_at_rest = not self._watch.is_in_motion(inputs)
        is_active = demand is not None or not self._is_at_rest
        moment = Moment(now_ns, is_active, self._floor_ns, before_ns)
        view = self.zones.evaluate(self._direction(inputs, demand), now_ns, inputs.lidar.turn_period_ns)
        causes = self._judge(inputs, view, moment)
        causes.extend(self._evaluate_press(inputs, demand, now_ns))
        if has_gap and not self._is_at_rest:
            causes.append(Cause(CauseCode.LOOP_GAP, now_ns, "over " + str(self._config.loop_gap)))
        self._present = by_severity(self._with_times(causes, now_ns))
        self._trip_latching()
        return self._decide(inputs, view, demand, moment)

    def _decide(
        self, inputs: SafetyInputs, view: ZoneView, demand: MotionDemand | None, moment: Moment
    ) -> Decision:  # fmt: skip
        standing = self.latch.causes
        against = by_severity([*self._present, *(c for c in standing if c.code not in self._codes())])
        stop_causes = tuple(cause for cause in against if FAILSAFES[cause.code].stop is not None)
        permit = None
        stop: StopKind | None = None
        if demand is not None and not against and self.authority.holder == self.lease.holder:
            permit = self._permit(inputs, view, demand, moment.now_ns)
            self._driven_press = self.lease.presses
        elif not self._is_at_rest:
            stop, stop_causes = self._stop(inputs, stop_causes, moment.now_ns)
        if permit is None and demand is not None:
            self.lease.lose()
        self._follow(inputs, permit)
        return Decision(
            sequence=self._sequence,
            decided_ns=moment.now_ns,
            permit=permit,
            demand=demand if permit is not None else None,
            stop=stop,
            stop_causes=stop_causes if stop is not None else (),
            inhibits=self._inhibits(against, permit, moment.now_ns),
            hits=view.hits,
        )

    def _stop(
        self, inputs: SafetyInputs, causes: tuple[Cause, ...], now_ns: int
    ) -> tuple[StopKind, tuple[Cause, ...]]:  # fmt: skip
        """How to stop: as hard as the hardest cause asks; without one as the stop under way does, else S2, because
        nobody holds the button any more."""
        kind = stop_kind(causes)
        if kind is not None:
            return kind, causes
        if inputs.is_stop_active and inputs.stop is not None:
            return inputs.stop.kind, inputs.stop.causes
        return StopKind.S2, (Cause(CauseCode.JOG_RELEASED, now_ns),)

    def _permit(self, inputs: SafetyInputs, view: ZoneView, demand: MotionDemand, now_ns: int) -> Permit:
        return Permit(
            sequence=self._sequence,
            granted_ns=now_ns,
            expires_ns=now_ns + self._config.permit_life.ns,
            direction=demand.direction,
            speed_limit_mm_s=self.speed_limit_mm_s(has_drive_timeout=inputs.has_drive_timeout) * view.speed_factor,
            duty_limit_ratio=self._config.jog.duty_ratio * view.speed_factor,
        )

    def speed_limit_mm_s(self, *, has_drive_timeout: bool) -> float:
        """The lowest of all caps. Without commissioning that is the hold-to-run cap."""
        caps = [self._config.speed_ceiling_mm_s, self._config.uncommissioned_speed_mm_s]
        if not has_drive_timeout:
            caps.append(self._config.no_timeout_speed_mm_s)
        return min(caps)

    # -- judging

    def _judge(self, inputs: SafetyInputs, view: ZoneView, moment: Moment) -> list[Cause]:
        config = self._config
        limit_mm_s = self.speed_limit_mm_s(has_drive_timeout=inputs.has_drive_timeout)
        checks: tuple[Iterable[Cause], ...] = (
            evaluate_wire(inputs, moment),
            evaluate_modules(inputs, config, moment),
            evaluate_safety_module(inputs, moment),
            evaluate_drives(inputs, moment),
            evaluate_speed(inputs, limit_mm_s, moment),
            self._watch.evaluate(inputs, moment.now_ns, is_active=moment.is_active),
            evaluate_lidar(inputs, view, config.zones.link_silence.ns, moment),
            evaluate_stop(inputs, moment),
            evaluate_evidence(inputs, moment),
            evaluate_plan(inputs, moment),
            evaluate_site(inputs, config, moment),
        )
        return [cause for check in checks for cause in check]

    def _evaluate_press(self, inputs: SafetyInputs, demand: MotionDemand | None, now_ns: int) -> Iterable[Cause]:
        """A button let go and pressed again between two steps has been released: its S2 comes first."""
        if inputs.is_energised and demand is not None and self.lease.presses != self._driven_press:
            yield Cause(CauseCode.JOG_RELEASED, now_ns, "pressed again before the stop")

    def _note_gap(self, now_ns: int) -> bool:
        """True if this process was not running for longer than the limit; inputs older than now do not count."""
        gap_ns = now_ns - self._last_step_ns
        self._last_step_ns = now_ns
        if gap_ns <= self._config.loop_gap.ns:
            return False
        self._floor_ns = now_ns
        return True

    @property
    def floor_ns(self) -> int:
        """Inputs requested before this moment do not count for a new permit."""
        return self._floor_ns

    def _direction(self, inputs: SafetyInputs, demand: MotionDemand | None) -> Direction | None:
        if demand is not None:
            return demand.direction
        return Direction(inputs.commanded_direction) if inputs.commanded_direction in (1, 2) else None

    def _with_times(self, causes: list[Cause], now_ns: int) -> list[Cause]:
        """Each cause keeps the time since when it holds; one a code and place."""
        held: dict[tuple[CauseCode, str], int] = {}
        timed: list[Cause] = []
        for cause in causes:
            place = (cause.code, cause.place if cause.hit is None else str(cause.hit.sector))
            if place in held:
                continue
            held[place] = self._held_since.get(place, cause.since_ns)
            timed.append(evolve(cause, since_ns=held[place]))
        self._held_since = held
        return timed

    def _codes(self) -> frozenset[CauseCode]:
        return frozenset(cause.code for cause in self._present)

    def _inhibits(self, against: tuple[Cause, ...], permit: Permit | None, now_ns: int) -> tuple[Cause, ...]:
        if permit is not None:
            return ()
        asks: list[Cause] = []
        if self.authority.holder is None:
            asks.append(Cause(CauseCode.NO_AUTHORITY, now_ns))
        elif self.lease.state is LeaseState.LOST:
            asks.append(Cause(CauseCode.RELEASE_FIRST, now_ns))
        else:
            asks.append(Cause(CauseCode.NO_DEMAND, now_ns))
        return (*against, *asks)

    # -- latch and state

    def trip(self, cause: Cause) -> bool:
        """Trip the latch at once (no await anywhere near); False if this cause holds it already."""
        is_new = self.latch.trip(cause)
        self.lease.lose()
        is_person = FAILSAFES[cause.code].is_person_related
        self._send(MachineEvent.ESTOP if is_person else MachineEvent.SECURE)
        return is_new

    def _trip_latching(self) -> None:
        """A cause trips when it appears; one that is held already and comes back trips again, so that a reset that was
        begun in between does not wipe it out."""
        held = {cause.code for cause in self.latch.causes}
        before, self._latching_before = self._latching_before, self._codes()
        for cause in self._present:
            if cause.code in held and cause.code in before:
                continue
            latching = FAILSAFES[cause.code].latching
            if latching is Latching.ALWAYS or (latching is Latching.MOVING and not self._is_at_rest):
                self.trip(cause)

    def _follow(self, inputs: SafetyInputs, permit: Permit | None) -> None:
        if permit is not None:
            self._send(MachineEvent.MOVE)
        elif self._is_at_rest and not inputs.is_stop_active:
            self._send(MachineEvent.STOPPED)

    def _send(self, event: MachineEvent) -> None:
        after = next_state(self.state, event)
        if after is not None:
            self.state = after

    def shut_down(self, now_ns: int) -> Cause:
        """SIGTERM: latch and state; the stop itself is the caller's."""
        cause = Cause(CauseCode.SHUTDOWN, now_ns)
        self.trip(cause)
        self._send(MachineEvent.SHUTDOWN)
        return cause

    # -- reset

    def check_reset(self, inputs: SafetyInputs, *, is_at_vehicle: bool) -> None:
        """Raises CommandRejected with the reason why the latch may not be cleared now."""
        if self.state is MachineState.SHUTDOWN:
            raise CommandRejected("NOT_READY", "the control program is shutting down")
        if not self.latch.is_tripped and self.state not in RESETTABLE:
            raise CommandRejected("CONFLICT", "there is nothing to reset")
        if self.latch.is_person_related and not is_at_vehicle:
            raise CommandRejected("ESTOP_ACTIVE", "a cause that concerns people is reset at the vehicle only")
        self._check_causes_are_gone(inputs)
        stop = inputs.stop
        if stop is None or inputs.is_stop_active or stop.phase is not StopPhase.STANDSTILL:
            raise CommandRejected("SAFETY_VIOLATION", "standstill with all outputs off is not confirmed")
        self._checked_trips = self.latch.trips

    def _check_causes_are_gone(self, inputs: SafetyInputs) -> None:
        held = {cause.code for cause in self.latch.causes}
        remaining = [c for c in self._present if c.code in held or FAILSAFES[c.code].latching is Latching.ALWAYS]
        if remaining:
            title = FAILSAFES[remaining[0].code].title
            raise CommandRejected("SAFETY_VIOLATION", f"still present: {title}", {"causes": _names(remaining)})
        chain = inputs.chain
        if chain is None or chain.raw != 0 or not is_fresh(chain, self._last_step_ns, self._config.moving_loss.ns):
            raise CommandRejected("SAFETY_VIOLATION", "the emergency stop chain is not known to be closed")
        in_error = [kind.value for kind, module in inputs.modules.items() if module.error != 0]
        if in_error:
            raise CommandRejected("SAFETY_VIOLATION", f"module errors are not cleared: {', '.join(in_error)}")

    def apply_reset(self, inputs: SafetyInputs, *, is_at_vehicle: bool) -> tuple[Cause, ...]:
        """Clear the latch (checked again); never arms. Returns what was held.

        A stop since the last `check_reset` (while the reset was being written) is not wiped out: CommandRejected.
        """
        if self.latch.trips != self._checked_trips:
            raise CommandRejected("CONFLICT", "stopped again since the reset was asked for")
        self.check_reset(inputs, is_at_vehicle=is_at_vehicle)
        cleared = self.latch.clear()
        self._send(MachineEvent.RESET)
        self.authority.drop()
        return cleared

    def observe_button(self, inputs: SafetyInputs, now_ns: int) -> Press | None:
        """A press of the physical reset button when it is over; it counts if `Press.refusal` is empty."""
        reading = inputs.reset_button
        if reading is None or not is_fresh(reading, now_ns, BUTTON_AGE_NS):
            return self._button.observe(None, now_ns, now_ns, self.latch.trips)
        return self._button.observe(reading.raw != 0, reading.requested_ns, now_ns, self.latch.trips)


def _names(causes: list[Cause]) -> list[str]:
    return [cause.code.value for cause in causes]
