"""What goes out on the wire next, and what its outcome means (owner: the field bus driver; pure, time is an argument).

Order (ARCHITECTURE, The wire): stop, safety poll, identification, motion write, set-up write, errands and searches from
outside, then the rest by earliest deadline. Polls are in `poll_slots.py`. The permit is checked here at the moment of
encoding; when it runs out the schedule trips S1 by itself.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from attrs import evolve

from oht50d.core.actuators import Actuators
from oht50d.core.bus_scan import COMPLETE, FOR_A_STOP, PORT_LOST, BusScan, PollingPause
from oht50d.core.drive_line import DriveLine, refresh_ns
from oht50d.core.drive_timeout import DriveTimeout
from oht50d.core.module_link import ModuleLink
from oht50d.core.motion_gate import MotionGate
from oht50d.core.outside_slots import OutsideSlots, Rank
from oht50d.core.poll_slots import PollSlots
from oht50d.core.probe_budget import ProbeBudget, module_claim
from oht50d.core.role_table import RoleTable
from oht50d.core.rounds import Rounds
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.slot_fence import SlotFence
from oht50d.core.stop_run import MotionFeedback
from oht50d.core.stop_sequence import StopSequencer
from oht50d.core.wire_feedback import are_drives_prepared, motion_feedback, residual_words
from oht50d.core.wire_load import LoadMaker
from oht50d.core.wire_slots import Idle, Purpose, Slot, SlotSource, WireTimes
from oht50d.model.bus import BusRequest, ExchangeResult, Hint, WriteRegisters
from oht50d.model.errors import CommandRejected
from oht50d.model.motion import Cause, CauseCode, Decision, Permit, StopKind, StopReport
from oht50d.model.registers import BlockReadings, ModuleMap

__all__ = ["Idle", "Purpose", "Rank", "Slot", "SlotSource", "WireSchedule", "WireTimes"]

PAUSE_NS = 1_000_000_000
RECHECK_NS = 1_000_000


class WireSchedule:
    """Joins stop sequencer, drive line, polls, fence, links and further sources into one answer: the next slot."""

    def __init__(
        self,
        maps: Sequence[ModuleMap],
        actuators: Actuators,
        config: SafetyConfig,
        times: WireTimes,
        predicted_ms: float | None = None,
    ) -> None:
        self.links = {module.address: ModuleLink(module) for module in maps}
        self._config = config
        self._times = times
        self._actuators = actuators
        self.gate = MotionGate(maps, actuators, config.drive_mode)
        self.sequencer = StopSequencer(config.stop, actuators, predicted_ms)
        has_timeout = actuators.timeout_register is not None
        self.drive_line = DriveLine(actuators, self.gate, refresh_ns(config, has_timeout=has_timeout))
        self._fence = SlotFence(self.links, are_replies_numbered=times.has_numbered_replies)
        self._roles = RoleTable()
        self._timeout = DriveTimeout(actuators, self._roles, config.drive_timeout)
        self.polls = PollSlots(
            maps, self.links, self._fence, times, self._roles, self._note_identified,
            LoadMaker(actuators, config, times, self.drive_line.refresh_ns), actuators.read_lengths,
        )  # fmt: skip
        self._rounds = Rounds()
        self._outside = OutsideSlots(self.gate, self._fence, self.polls.bounded_ns)
        self._is_polls_turn = False
        self._decision: Decision | None = None
        self._is_open = False
        self.opened_ns: int | None = None
        """When the modules had to begin to prove who they are: the last opening, or the end of a scan."""
        self.pause = PollingPause()
        self.on_open: Callable[[], None] = lambda: None
        self.on_unexpected: Callable[[int, int], None] = lambda _unit, _now_ns: None
        self.adopted_sequence = 0

    def attach(self, source: SlotSource, rank: Rank) -> None:
        """One more source of slots, asked after those of its rank that came before."""
        self._outside.attach(source, rank)

    # -- what the outside says

    def open(self, now_ns: int, cause: Cause) -> None:
        """The port was opened: S0 to the bound addresses first, then everybody proves who he is."""
        self._is_open = True
        self.opened_ns = now_ns
        self.drive_line.forget()
        self._timeout.forget()
        for link in self.links.values():
            link.forget_identity()
        self.on_open()
        self.probe_budget.reset()
        self.sequencer.secure_opening((cause,), now_ns)

    def close(self) -> None:
        """The port is gone: no frame can be sent."""
        self._is_open = False
        self.pause.end(PORT_LOST)

    def observe_closed(self, now_ns: int) -> None:
        """While the port is closed nobody asks for slots; the limits of a stop run all the same."""
        if not self._is_open:
            self.sequencer.observe(self._feedback(now_ns), now_ns)

    @property
    def probe_budget(self) -> ProbeBudget:
        """What dead and absent modules may take of the wire together."""
        return self.polls.probe_budget

    @property
    def is_open(self) -> bool:
        return self._is_open

    @property
    def is_set_up(self) -> bool:
        """True once the drives' communication time-out was written and read back, or the map has none."""
        return self._timeout.is_proven

    def take_over(self, decision: Decision, now_ns: int) -> bool:
        """Adopt the guardian's newest decision; True if it asks for a stop that is not under way."""
        self._decision = decision
        if decision.stop is not None:
            return self.trip(decision.stop, decision.stop_causes, now_ns)
        if decision.permit is not None and decision.demand is not None and self.sequencer.abandon():
            # Its drives are still enabled: without a permit they get a stop again.
            self.drive_line.mark_energised()
        return False

    @property
    def may_search(self) -> bool:
        """No drive is energised and no stop with time limits is under way."""
        return not self.drive_line.is_energised and not self.sequencer.is_judged

    def begin_scan(self, scan: BusScan) -> None:
        """Nobody is polled until it is over. Raises CommandRejected for the reasons why it may not begin."""
        if not self._is_open:
            raise CommandRejected("NOT_READY", "the port is closed")
        if not self.may_search:
            raise CommandRejected("SAFETY_VIOLATION", "no scan while drives are energised or a stop is under way")
        self.pause.begin(scan)

    def end_scan(self, why: str, now_ns: int) -> None:
        """What follows is what follows an opening: S0, and everybody proves who he is. Nothing without a scan."""
        if self.pause.end(why):
            self.open(now_ns, Cause(CauseCode.BUS_SCAN, now_ns, "the bus scan is over"))

    def trip(self, kind: StopKind, causes: tuple[Cause, ...], now_ns: int) -> bool:
        """Start or escalate a stop; True if that changed anything."""
        was_scanning = self.pause.is_on
        self.end_scan(FOR_A_STOP, now_ns)
        before = (self.sequencer.is_active, self.sequencer.kind)
        self.sequencer.trip(kind, causes, now_ns)
        self.drive_line.forget()
        if self._decision is not None:
            # A stop that is over before the permit would have been gives the permit no second life.
            self._decision = evolve(self._decision, permit=None, demand=None)
        return was_scanning or before != (True, self.sequencer.kind)

    @property
    def permit_ends_ns(self) -> int | None:
        """When energised drives get their S1 unless a new permit comes; None while there is nothing to stop."""
        permit = None if self._decision is None else self._decision.permit
        is_watched = self.drive_line.is_energised and not self.sequencer.is_active
        return permit.expires_ns if permit is not None and is_watched else None

    @property
    def stop_report(self) -> StopReport | None:
        """The present or last stop; with a closed port it says what the robot may still do."""
        report = self.sequencer.report
        if report is None or self._is_open or not self.sequencer.is_active:
            return report
        return evolve(report, residual=residual_words(self._roles, self._actuators, self._config.drive_timeout))

    def adopt(self) -> None:
        """Acknowledge the newest decision; by the wire's own task, as the service manager's watchdog hangs on it."""
        if self._decision is not None:
            self.adopted_sequence = self._decision.sequence

    # -- the next slot

    def next(self, now_ns: int) -> Slot | Idle:
        """The exchange that should be made now, or how long nothing is due."""
        self.adopt()
        if not self._is_open:
            return Idle(now_ns + PAUSE_NS)
        if self.pause.is_on:
            step = self.pause.next_slot(now_ns)
            if step is not None:
                return self._fence.sent(step) if isinstance(step, Slot) else step
            self.end_scan(COMPLETE, now_ns)
        self._watch_permit(now_ns)
        if self.sequencer.is_active:
            self.sequencer.observe(self._feedback(now_ns), now_ns)
        self.polls.look(now_ns, is_moving=self._is_moving)
        slot = (
            (self._stop_or_safety_slot(now_ns) if self.sequencer.is_active else None)
            or self._turn_slot(now_ns)
            or self._vital_slot(self.polls.urgent(now_ns))
            or self.polls.identify(now_ns)
            or self._motion_slot(now_ns)
            or self._other_slot(now_ns)
        )
        return Idle(self._next_due_ns(now_ns)) if slot is None else self._fence.sent(slot)

    def complete(self, slot: Slot, result: ExchangeResult) -> BlockReadings | None:
        """Take the outcome of a slot; decoded readings of an identified module are returned."""
        attributed = self._fence.attributed(slot, result)
        # The questions of a scan are not held up by the fence, and their answers are no values.
        result = result if self.pause.is_on else attributed
        self._record(slot, result)
        self.polls.note_exchange(result)
        self._is_polls_turn = (slot.delayed or slot).source is not None
        match slot.purpose:
            case Purpose.POLL | Purpose.IDENTIFY:
                return self.polls.complete(slot, result)
            case Purpose.STOP:
                assert slot.stop_frame is not None
                self.sequencer.complete(slot.stop_frame, result)
            case Purpose.MOTION:
                self._complete_motion(result)
            case Purpose.SET_UP:
                self._timeout.complete(result.ended_ns)
                self.polls.expedite(self._timeout.is_read_by, result.ended_ns)
            case Purpose.ERRAND | Purpose.SEARCH:
                assert slot.source is not None
                slot.source.complete(slot, result)
            case Purpose.FENCE:
                self._fence.tell_delayed(slot, result)
            case _:
                assert_never(slot.purpose)
        return None

    def note_unexpected(self, octets: bytes, now_ns: int, hint: Hint | None = None) -> None:
        """Bytes came that nobody waits for, most likely a reply that is late or comes twice."""
        self._fence.unexpected(octets, now_ns)
        if hint is Hint.ECHO:  # said by this end of the line
            return
        if self.pause.scan is not None:
            self.pause.scan.note_unexpected(octets[0], now_ns)
        self.on_unexpected(octets[0], now_ns)

    # -- slots by rank

    def _turn_slot(self, now_ns: int) -> Slot | None:
        """What goes before a vital block that is due, once a round; nothing before one whose reply was lost."""
        if not self.polls.has_vital or self.polls.is_retrying:
            return None
        present = self.polls.present_round(now_ns)
        writes = self.polls.admission.moving.writes_per_round
        slot = self._motion_slot(now_ns) if self._rounds.is_writes_turn(present, writes) else None
        if slot is None and self._rounds.is_others_turn(present):
            slot = self.polls.identify(now_ns) or self._other_slot(now_ns)
        return slot

    def _vital_slot(self, slot: Slot | None) -> Slot | None:
        if slot is not None:
            self._rounds.note_vital(slot)
        return slot

    def _other_slot(self, now_ns: int) -> Slot | None:
        slot = self._set_up_slot(now_ns) or self._outside_slot(now_ns)
        slot = slot or self.polls.overdue_probe(now_ns) or self.polls.due(now_ns) or self.polls.probe(now_ns)
        if slot is not None:
            self._rounds.note_other()
        return slot

    def _stop_or_safety_slot(self, now_ns: int) -> Slot | None:
        return (
            self._stop_slot(now_ns, is_first_only=True)
            or self._vital_slot(self.polls.late_safety(now_ns))
            or self._stop_slot(now_ns)
        )  # fmt: skip

    def _stop_slot(self, now_ns: int, *, is_first_only: bool = False) -> Slot | None:
        """Writes are exempt from the fence; a read-back that it holds up must not hold up the frames of other units."""
        held_up: list[BusRequest] = []
        for frame in self.sequencer.frames(now_ns):
            if is_first_only and not frame.is_first:
                break
            if not frame.is_first and self._is_left_alone(frame.request.unit, now_ns):
                continue
            if not frame.is_read_back or self._fence.is_free(frame.request):
                timeout_ns = self._times.stop_ns
                if not frame.is_first:
                    timeout_ns = self.polls.bounded_ns(frame.request, self._times.safety_ns, now_ns)
                return Slot(frame.request, Purpose.STOP, timeout_ns, stop_frame=frame)
            held_up.append(frame.request)
        probes = (self._fence.probe(wanted, now_ns) for wanted in held_up)
        return next((Slot(probe, Purpose.FENCE, self._times.safety_ns) for probe in probes if probe is not None), None)

    def _motion_slot(self, now_ns: int) -> Slot | None:
        decision = self._decision
        if decision is None or decision.permit is None or decision.demand is None:
            return None
        if self.sequencer.is_active or not decision.permit.is_valid(now_ns) or not self.is_set_up:
            return None
        if not (self.drive_line.is_energised or self.polls.is_at_moving_rate):
            return None  # or a loss in the first round would cost a stop
        request = self.drive_line.next_request(decision.demand, decision.permit, now_ns)
        if request is None or not self.gate.check(request, decision.permit, now_ns):
            return None
        if not self.links[request.unit].is_identified:
            return None  # who has just come back has not shown who he is, nor got his settings again
        if isinstance(request, WriteRegisters) and not self._is_prepared(decision.permit):
            return None  # until mode and direction are read back: the ramp of a stop depends on the mode
        timeout_ns = self.polls.bounded_ns(request, self._times.other_ns, now_ns)
        slot = self._fence.passed(Slot(request, Purpose.MOTION, timeout_ns), now_ns)
        self._rounds.note_write()
        if slot.purpose is Purpose.MOTION:
            self.drive_line.mark_energised()
        return slot

    def _set_up_slot(self, now_ns: int) -> Slot | None:
        """Write the drives' communication time-out once the module is identified."""
        request = self._timeout.next_write(now_ns)
        if request is None or not self.gate.check(request, None, now_ns):
            return None
        link = self.links[request.unit]
        if not link.is_identified or link.is_paused(now_ns):
            return None
        timeout_ns = self.polls.bounded_ns(request, self._times.other_ns, now_ns)
        return self._fence.passed(Slot(request, Purpose.SET_UP, timeout_ns), now_ns)

    def _outside_slot(self, now_ns: int) -> Slot | None:
        """Errands, then searches; between two of them a due poll gets its turn; a new stop has the wire alone."""
        if self.sequencer.is_pressing(now_ns) or (self._is_polls_turn and self.polls.is_due(now_ns)):
            return None
        return self._outside.next_slot(now_ns, is_stopping=self.sequencer.is_young(now_ns))

    # -- helpers

    def _record(self, slot: Slot, result: ExchangeResult) -> None:
        """What a search asks says nothing of a module, and it spends by itself."""
        link = self.links.get(slot.request.unit)
        if slot.purpose is Purpose.SEARCH:
            return
        if link is None or link.is_dead:
            ended_ns = result.ended_ns + self._times.speed.silence_ns
            self.probe_budget.spend(module_claim(slot.request.unit), result.sent_ns, ended_ns)
        if link is not None:
            link.record(result)

    def _complete_motion(self, result: ExchangeResult) -> None:
        self.drive_line.complete(result)
        unit = result.request.unit
        number = self.drive_line.directed(result.request)
        if number is not None:
            wanted = {f"drive.{number}.mode", f"drive.{number}.direction"}
            self.polls.expedite(lambda block: any(spec.role in wanted for spec in block.specs), result.ended_ns)
        if self.drive_line.is_unknown:
            detail = f"unit {unit:#04x} did not answer a motion frame"
            self.trip(StopKind.S1, (Cause(CauseCode.MOTION_UNKNOWN, result.ended_ns, detail),), result.ended_ns)

    def _is_left_alone(self, unit: int, now_ns: int) -> bool:
        """Repeats of a stop to a dead module keep to the budget that all dead modules have, but not at first."""
        if self.sequencer.is_pressing(now_ns) or not self.links[unit].is_dead:
            return False
        return not self.probe_budget.may_probe(module_claim(unit), now_ns)

    def _note_identified(self, unit: int) -> None:
        """The module is new on the wire: its settings may be gone."""
        if unit == self._actuators.timeout_unit:
            self._timeout.forget()

    def _watch_permit(self, now_ns: int) -> None:
        if not self.drive_line.is_energised or self.sequencer.is_active:
            return
        permit = None if self._decision is None else self._decision.permit
        if permit is None or not permit.is_valid(now_ns) or not self._is_same_way(permit):
            self.trip(StopKind.S1, (Cause(CauseCode.PERMIT_EXPIRED, now_ns, "sent by the bus owner itself"),), now_ns)
        elif self.drive_line.has_started and not self._is_prepared(permit):
            detail = "a drive reports another mode or direction"
            self.trip(StopKind.S1, (Cause(CauseCode.MOTION_UNKNOWN, now_ns, detail),), now_ns)

    def _is_prepared(self, permit: Permit) -> bool:
        mode, direction = int(self.gate.drive_mode), permit.direction.value
        return are_drives_prepared(self._roles, self._actuators, self.drive_line, mode, direction)

    def _is_same_way(self, permit: Permit) -> bool:
        """Energised drives are never told to reverse: the way back leads through a stop."""
        return self.drive_line.commanded_direction in (0, permit.direction.value)

    def _feedback(self, now_ns: int) -> MotionFeedback:
        return motion_feedback(self._roles, self._actuators, now_ns, self._config.moving_loss.ns)

    @property
    def _is_moving(self) -> bool:
        """Drives energised or about to be, or a stop under way: the position source is read at its higher rate."""
        is_wanted = self._decision is not None and None not in (self._decision.permit, self._decision.demand)
        return self.drive_line.is_energised or self.sequencer.is_active or is_wanted

    def _next_due_ns(self, now_ns: int) -> int:
        polls_ns, stop_ns = self.polls.next_due_ns(now_ns), self.sequencer.wakeup_ns(now_ns)
        times = [polls_ns, stop_ns, now_ns + 20_000_000, *self._outside.wakeups_ns(now_ns)]
        due_ns = min(moment for moment in times if moment is not None)
        # What is due and cannot go out (a unit that must stay quiet) is looked at again soon, not in a busy loop.
        return due_ns if due_ns > now_ns else now_ns + RECHECK_NS
