"""Everything that people may ask of the robot, judged and handed on (owner of the pending reset holds).

Order of a stop (SAFETY.md): latch in memory, frame, read-back, answer; the record is written beside it and can delay
nothing. A reset is the other way round: written before it takes effect, else refused.
"""

import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

import trio
from attrs import frozen

from oht50d.clock import NS_PER_MS, NS_PER_S, now_ns
from oht50d.core.failsafes import titles
from oht50d.core.history_events import stop_times_ms
from oht50d.core.reset_button import Press
from oht50d.core.robot_state import RobotState
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.safety_kernel import SafetyKernel
from oht50d.model.accounts import Role
from oht50d.model.errors import CommandRejected, StoreError
from oht50d.model.motion import (
    Cause,
    CauseCode,
    CommandOutcome,
    Direction,
    MachineState,
    MotionDemand,
    StopKind,
    StopReport,
)
from oht50d.model.records import EventRow, Severity
from oht50d.model.snapshot import WireStatus
from oht50d.services.guardian import Guardian
from oht50d.services.ports import Actor, Claim, RecordSink, SnapshotSource

ANSWER_WAIT_S = 0.5
BUTTON_ACTOR = "button at the vehicle"
MAX_HOLDS = 16
MAXIMUM_HOLD_NS = 10 * NS_PER_S
_NO_TIMES_MS: Mapping[str, float | None] = {
    "detected_ms": 0.0, "first_frame_ms": None, "output_zero_ms": None, "standstill_ms": None,
}  # fmt: skip


class StopWire(Protocol):
    """The bus owner as the commander needs it."""

    def trip_causes(self, kind: StopKind, causes: tuple[Cause, ...]) -> bool: ...

    def repeat_stop(self, causes: tuple[Cause, ...]) -> None: ...

    @property
    def stop_report(self) -> StopReport | None: ...


@frozen
class _Hold:
    """A reset button that is down."""

    name: str
    pressed_ns: int
    trips: int


class CommandDesk:
    """Implements `ports.Commander`; `run` serves the physical reset button."""

    def __init__(
        self,
        config: SafetyConfig,
        guardian: Guardian,
        wire: StopWire,
        snapshots: SnapshotSource,
        records: RecordSink,
        utc_now: Callable[[], str],
    ) -> None:
        self._config = config
        self._guardian = guardian
        self._wire = wire
        self._snapshots = snapshots
        self._records = records
        self._utc_now = utc_now
        self._holds: dict[str, _Hold] = {}
        self._is_stop_persisted = False
        self._button = trio.Event()
        self._press = Press("")

    # -- STOP

    async def stop(self, actor: Actor | None, source: str) -> Mapping[str, object]:
        """Trip the latch, send the frames, wait for the read-back at most half a second. Never refused."""
        kernel, _, _ = self._parts()
        name = "anonymous" if actor is None else actor.name
        cause = Cause(CauseCode.OPERATOR_STOP, now_ns(), _by_whom(actor))
        is_first = kernel.trip(cause)
        if not is_first or not self._wire.trip_causes(StopKind.S1, (cause,)):
            # Folded: the frames go out again under the stop that is told already.
            self._wire.repeat_stop((cause,))
        self._guardian.poke()
        persisted = await self._await_stop(cause, name, source) if is_first else await self._await_repeat()
        return self._stop_answer(kernel, persisted=persisted)

    async def _await_stop(self, cause: Cause, name: str, source: str) -> bool:
        """Read-back and record side by side; True if the record is on disk."""
        message = f"STOP was pressed {cause.detail}"
        row = self._event("robot.emergency.triggered", Severity.EMERGENCY, message, name, source=source)
        self._is_stop_persisted = False

        async def write() -> None:
            # After an error or a cancellation the row stays with the recorder, which writes it when it can.
            with suppress(StoreError):
                await self._records.record_durably(row)
                self._is_stop_persisted = True

        with trio.move_on_after(ANSWER_WAIT_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                await self._read_back()
        return self._is_stop_persisted

    async def _await_repeat(self) -> bool:
        with trio.move_on_after(ANSWER_WAIT_S):
            await self._read_back()
        return self._is_stop_persisted

    async def _read_back(self) -> None:
        version = self._snapshots.current().version
        while True:
            report = self._wire.stop_report
            if report is not None and report.outcome in (CommandOutcome.ACKNOWLEDGED, CommandOutcome.VERIFIED):
                return
            version = (await self._snapshots.newer_than(version)).version

    def _stop_answer(self, kernel: SafetyKernel, *, persisted: bool) -> Mapping[str, object]:
        report = self._wire.stop_report
        outcome = CommandOutcome.UNKNOWN if report is None else report.outcome
        is_confirmed = outcome in (CommandOutcome.ACKNOWLEDGED, CommandOutcome.VERIFIED)
        message = "The robot is stopping." if is_confirmed else "NOT CONFIRMED: press the red button."
        return {
            "command_id": str(uuid.uuid4()),
            "number": None if report is None else report.number,
            "status": "executed" if is_confirmed else "not_confirmed",
            "outcome": outcome.value,
            "phase": None if report is None else report.phase.value,
            "persisted": persisted,
            "repeats": kernel.latch.repeats(CauseCode.OPERATOR_STOP),
            **(_NO_TIMES_MS if report is None else stop_times_ms(report)),
            "message": message,
        }

    # -- reset

    def hold_reset(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """The button goes down; refused at once if its release could not act."""
        kernel, state, wire = self._parts()
        self._require(actor, Role.OPERATOR)
        kernel.authority.check(claim.boot_id, claim.epoch)
        kernel.check_reset(state.inputs(wire), is_at_vehicle=False)
        at_ns = now_ns()
        self._holds = {key: hold for key, hold in self._holds.items() if at_ns - hold.pressed_ns < MAXIMUM_HOLD_NS}
        if len(self._holds) >= MAX_HOLDS:
            raise CommandRejected("ROBOT_BUSY", "too many people hold the reset button")
        hold_id = uuid.uuid4().hex
        self._holds[hold_id] = _Hold(actor.name, at_ns, kernel.latch.trips)
        return {"hold_id": hold_id, "hold_s": self._config.reset_hold.s}

    async def release_reset(self, actor: Actor, claim: Claim, hold_id: str) -> Mapping[str, object]:
        """Acts only on a hold of this actor of one second or longer; written before it takes effect."""
        kernel, _, _ = self._parts()
        hold = self._holds.pop(hold_id, None)
        self._require(actor, Role.OPERATOR)
        kernel.authority.check(claim.boot_id, claim.epoch)
        if hold is None or hold.name != actor.name:
            raise CommandRejected("INVALID_COMMAND", "this button was not held", {"field": "hold_id"})
        held_ns = now_ns() - hold.pressed_ns
        if not self._config.reset_hold.ns <= held_ns <= MAXIMUM_HOLD_NS:
            raise CommandRejected("INVALID_COMMAND", f"held {held_ns / NS_PER_S:.2f} s", {"field": "hold_id"})
        return await self._reset_or_say_why_not(actor.name, hold.trips, is_at_vehicle=False)

    def press_button(self, press: Press) -> None:
        """The physical reset button was pressed and let go, or what became of it is not known."""
        if press.refusal:
            self._note("safety.reset.refused", Severity.WARNING, press.refusal, BUTTON_ACTOR)
        else:
            self._press = press
            self._button.set()

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the physical button for ever."""
        task_status.started()
        while True:
            await self._button.wait()
            self._button = trio.Event()
            with suppress(CommandRejected):
                await self._reset_or_say_why_not(BUTTON_ACTOR, self._press.trips, is_at_vehicle=True)

    async def _reset_or_say_why_not(self, name: str, known: int, *, is_at_vehicle: bool) -> Mapping[str, object]:
        """The record tells of a refusal too: the row of the reset itself may have been written before it."""
        try:
            return await self._reset(name, known, is_at_vehicle=is_at_vehicle)
        except CommandRejected as refusal:
            self._note("safety.reset.refused", Severity.WARNING, refusal.message, name)
            raise

    async def _reset(self, name: str, known: int, *, is_at_vehicle: bool) -> Mapping[str, object]:
        """`known` is how often the latch had been tripped when the button went down."""
        kernel, state, wire = self._parts()
        if kernel.latch.trips != known:
            raise CommandRejected("CONFLICT", "the robot was stopped again while the reset button was held")
        kernel.check_reset(state.inputs(wire), is_at_vehicle=is_at_vehicle)
        held = titles(kernel.latch.causes) or kernel.state.name
        row = self._event("safety.reset", Severity.WARNING, f"RESET was pressed: {held}", name)
        try:
            await self._records.record_durably(row)
        except StoreError as problem:
            raise CommandRejected("SYSTEM_ERROR", "the reset could not be recorded, so it is refused") from problem
        kernel, state, wire = self._parts()
        if kernel.latch.trips != known:
            raise CommandRejected("CONFLICT", "the latch was tripped again while the reset was being recorded")
        cleared = kernel.apply_reset(state.inputs(wire), is_at_vehicle=is_at_vehicle)
        self._guardian.poke()
        return {
            "state": kernel.state.name,
            "cleared": [cause.code.value for cause in cleared],
            "epoch": kernel.authority.current.epoch,
        }

    # -- authority and jog

    def arm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """Take authority; needs IDLE, and standstill if somebody else holds it."""
        kernel, state, wire = self._parts()
        self._require(actor, Role.OPERATOR)
        kernel.authority.check(claim.boot_id, claim.epoch)
        if kernel.state not in (MachineState.IDLE, MachineState.MOVE):
            raise CommandRejected("SAFETY_VIOLATION", f"not in state {kernel.state.name}: reset first")
        inputs = state.inputs(wire)
        self._refuse_mixed(inputs.is_anything_simulated and not inputs.is_everything_simulated)
        kernel.authority.take(actor.name, now_ns(), is_at_rest=kernel.state is MachineState.IDLE)
        self._note("robot.authority.taken", Severity.INFO, f"{actor.name} has taken control", actor.name)
        self._guardian.poke()
        current = kernel.authority.current
        return {"holder": current.holder, "epoch": current.epoch, "boot_id": current.boot_id}

    def disarm(self, actor: Actor, claim: Claim) -> Mapping[str, object]:
        """Give authority back; ends a jog by S2."""
        kernel, _, _ = self._parts()
        kernel.authority.check(claim.boot_id, claim.epoch)
        kernel.authority.require(actor.name)
        kernel.lease.release(actor.name)
        kernel.authority.drop()
        self._note("robot.authority.returned", Severity.INFO, f"{actor.name} has returned control", actor.name)
        self._guardian.poke()
        current = kernel.authority.current
        return {"holder": current.holder, "epoch": current.epoch, "boot_id": current.boot_id}

    def press_jog(
        self, actor: Actor, claim: Claim, direction: Direction, speed_mm_s: float | None
    ) -> Mapping[str, object]:  # fmt: skip
        """A new press: judged by a safety step before it is answered. The drives wait for its first echo."""
        kernel, _, _ = self._parts()
        self._require(actor, Role.OPERATOR)
        kernel.authority.check(claim.boot_id, claim.epoch)
        kernel.authority.require(actor.name)
        limit_mm_s = self._config.uncommissioned_speed_mm_s
        if speed_mm_s is not None and not 0 < speed_mm_s <= limit_mm_s:
            why = f"an uncommissioned robot jogs at most at {limit_mm_s:.0f} mm/s"
            raise CommandRejected("SAFETY_VIOLATION", why, {"field": "speed_mm_s"})
        duty_ratio = self._config.jog.duty_ratio * (1.0 if speed_mm_s is None else speed_mm_s / limit_mm_s)
        if not kernel.lease.press(actor.name, MotionDemand(direction, duty_ratio), now_ns()):
            raise CommandRejected("CONFLICT", "let go of the button and press it again")
        against = [cause for cause in self._guardian.step(0).inhibits if cause.code is not CauseCode.NO_DEMAND]
        if against:
            kernel.lease.lose()
            codes = [cause.code.value for cause in against]
            raise CommandRejected("SAFETY_VIOLATION", "motion is not permitted now", {"causes": codes})
        self._note("robot.movement.started", Severity.INFO, f"Jog {direction.name.lower()}", actor.name)
        return {
            "nonce": kernel.lease.nonce,
            "lease_ms": self._config.jog.lease.ns / NS_PER_MS,
            "duty_ratio": duty_ratio,
            "expected_speed_mm_s": None,
        }

    def renew_jog(self, actor: Actor, claim: Claim, nonce: int) -> None:
        """Extends the lease if `nonce` is the newest."""
        kernel, _, _ = self._parts()
        kernel.authority.check(claim.boot_id, claim.epoch)
        kernel.authority.require(actor.name)
        if not kernel.lease.renew(actor.name, nonce, now_ns()):
            raise CommandRejected("CONFLICT", "an old nonce, or no button is held", {"field": "nonce"})
        self._guardian.poke()

    def release_jog(self, actor: Actor) -> None:
        """The button is up."""
        kernel, _, _ = self._parts()
        if kernel.lease.release(actor.name):
            self._guardian.poke()

    def release_holder(self, actor: Actor) -> None:
        """The holder's connection is gone: the same as a released button."""
        self.release_jog(actor)

    # -- helpers

    def _parts(self) -> tuple[SafetyKernel, RobotState, WireStatus]:
        return self._guardian.inputs_now()

    def _require(self, actor: Actor, role: Role) -> None:
        if actor.role < role:
            raise CommandRejected("INSUFFICIENT_PERMISSIONS", f"this needs the role {role.name.lower()}")

    def _refuse_mixed(self, is_mixed: bool) -> None:
        if is_mixed:
            raise CommandRejected("SAFETY_VIOLATION", "simulated and real devices are mixed: no arming")

    def _event(self, kind: str, severity: Severity, message: str, actor: str, **details: object) -> EventRow:
        return EventRow(self._utc_now(), now_ns(), kind, severity, message, actor, details)

    def _note(self, kind: str, severity: Severity, message: str, actor: str) -> None:
        self._records.record(self._event(kind, severity, message, actor))


def _by_whom(actor: Actor | None) -> str:
    """Who pressed STOP, in words for whoever stands before the page."""
    if actor is None:
        return "by somebody who is not signed in"
    if actor.uid is None:
        return f"by {actor.name}"
    return f"by {'root' if actor.uid == 0 else f'user {actor.uid}'} on the machine itself"
