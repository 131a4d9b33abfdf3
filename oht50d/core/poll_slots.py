"""Polls as slots of the wire: whose turn it is, how long a reply is waited for, what it means (owner: schedule)."""

from collections.abc import Callable, Mapping, Sequence

from oht50d.codec.registers import decode_block
from oht50d.core.admission import LATENESS_NS, Load
from oht50d.core.admission_watch import AdmissionWatch, rounded_up
from oht50d.core.block_split import SPLIT_CODES, LessonBook
from oht50d.core.identity_slots import IdentitySlots
from oht50d.core.module_link import ModuleLink
from oht50d.core.poll_plan import PollPlan
from oht50d.core.poll_rates import RATES, VITAL
from oht50d.core.probe_budget import ProbeBudget
from oht50d.core.rate_rise import RateRise
from oht50d.core.role_table import RoleTable
from oht50d.core.rounds import Round
from oht50d.core.slot_fence import SlotFence
from oht50d.core.stuck_watch import StuckWatch
from oht50d.core.turnaround import Measured
from oht50d.core.unit_plan import UnitPlan, plan_unit
from oht50d.core.wire_slots import Purpose, Slot, WireTimes
from oht50d.model.bus import BusRequest, ExceptionReply, ExchangeResult, ReadRegisters, ReadReply
from oht50d.model.registers import BlockReadings, ModuleKind, ModuleMap, PollClass, RegisterBlock
from oht50d.model.snapshot import PlanStatus

BUTTON_ROLE = "reset.button"
PRESSED_PERIOD_NS = 50_000_000
"""How often a pressed reset button is read: a hold is as long as its readings show."""
HALF_VITAL_NS = 25_000_000
"""While moving no lost reply makes a vital block later than this after it was due."""
BUSY_CODE = 6
BUSY_PAUSE_NS = 30_000_000
"""How long a module that says that it is busy is left in peace: several more attempts fit into 150 ms."""

MakeLoad = Callable[[tuple[RegisterBlock, ...], Mapping[int, Measured]], Load]


class PollSlots:
    """Owns the poll plan, the lessons and the admission.

    `on_identified(unit, now_ns)` is called for a module that is new on the wire; `taken` are the lengths of reads by
    unit that a stop's read-backs have.
    """

    def __init__(
        self,
        maps: Sequence[ModuleMap],
        links: dict[int, ModuleLink],
        fence: SlotFence,
        times: WireTimes,
        roles: RoleTable,
        on_identified: Callable[[int], None],
        make_load: MakeLoad,
        taken: Mapping[int, frozenset[int]],
    ) -> None:
        self._maps = {module.address: module for module in maps}
        self._links = links
        self._fence = fence
        self._times = times
        self._roles = roles
        self._stuck = StuckWatch()
        self._taken = taken
        self._make_load = make_load
        self.lessons = LessonBook(self._maps)
        self._plans = {unit: self._planned(unit) for unit in self._maps}
        self._plan = PollPlan([block for unit in self._maps for block in self._plans[unit].blocks])
        self.probe_budget = ProbeBudget(lambda: self._plan.fast_due_ns(self._skipped))
        self.identities = IdentitySlots(links, self._plan, self.lessons, self.probe_budget, fence, times, on_identified)
        self.admission = AdmissionWatch(self._load)
        self._rises = RateRise()
        self._is_moving = False
        self._moving_since_ns = 0
        self._skipped: frozenset[int] = frozenset()
        self._in_trouble: frozenset[int] = frozenset()
        self._vital: RegisterBlock | None = None
        self._asked_counts: dict[int, int] = {}

    # -- slots by rank; all of them speak of the moment of the last `look`

    def look(self, now_ns: int, *, is_moving: bool) -> None:
        """Who can be asked now and which block is due: worked out once a turn."""
        if is_moving and not self._is_moving:
            self._moving_since_ns = now_ns
        self._is_moving = is_moving
        self.admission.review(now_ns)
        current = self.admission.now(is_moving=is_moving)
        self._plan.set_periods(current.periods)
        away = [u for u, link in self._links.items() if not link.is_identified or now_ns < link.resume_ns]
        self._skipped = frozenset(away)
        self._in_trouble = frozenset([u for u, link in self._links.items() if link.failures > 0])
        self._vital = self._plan.next_vital(now_ns, self._skipped, self._in_trouble)

    @property
    def plan_status(self) -> PlanStatus:
        """How the polls fit the wire now, and whether motion is refused for it."""
        current = self.admission.now(is_moving=self._is_moving)
        return PlanStatus(current.headroom, current.given_way, self.admission.moving.refusal)

    @property
    def is_at_moving_rate(self) -> bool:
        """True once every vital block is as new as moving demands: at rest some are read less often. False while one of
        their modules cannot be asked, or has not answered the last time."""
        return self._plan.has_read_vital(self._moving_since_ns, self._skipped | self._in_trouble)

    @property
    def has_vital(self) -> bool:
        """True if a vital block waits for the wire."""
        return self._vital is not None

    @property
    def is_retrying(self) -> bool:
        """True if the vital block that waits has just lost its reply."""
        return self._vital is not None and self._plan.is_retry(self._vital)

    def present_round(self, now_ns: int) -> Round:
        """The vital blocks that take part, and whether the one that waits may wait for a motion write."""
        vital = self._plan.vital_blocks(self._skipped)
        has_safety = any(block.poll is PollClass.SAFETY for block in vital)
        block = self._vital
        is_pressing = block is not None and (block.poll is PollClass.SAFETY or self._plan.is_late(block, now_ns))
        return Round(len(vital), has_safety, is_pressing)

    def late_safety(self, now_ns: int) -> Slot | None:
        """The safety block past its deadline: repeats of a stop that nobody answers must not starve it."""
        block = self._plan.late_safety(now_ns, self._skipped)
        return None if block is None else self._polled(block, now_ns)

    def urgent(self, now_ns: int) -> Slot | None:
        """The vital block that is due and was read longest ago.

        One that looks like the exchange just made waits for another frame in between; one whose reply was lost does
        not, for the fence puts a read of another length before it.
        """
        block = self._vital
        if block is not None and not self.is_retrying and self._is_taken_for_last(block, now_ns):
            block = self._plan.next_vital(now_ns, self._skipped | {block.unit}, self._in_trouble) or block
        return None if block is None else self._polled(block, now_ns)

    def identify(self, now_ns: int) -> Slot | None:
        """Modules that have not proved who they are since the port was opened or since they came back."""
        return self.identities.next_slot(now_ns) if self._skipped else None

    def due(self, now_ns: int) -> Slot | None:
        """What is due and not vital; one that looks like its unit's last exchange lets another one go first."""
        skipped = self._skipped
        block = first = self._plan.next_other(now_ns, skipped)
        while block is not None and self._is_taken_for_last(block, now_ns):
            skipped |= {block.unit}
            block = self._plan.next_other(now_ns, skipped)
        if block is None and first is not None:
            # Nothing else is due: a read of another length goes in between.
            read = self._fence.probe(first.request, now_ns)
            return None if read is None else Slot(read, Purpose.FENCE, self._times.probe_wait_ns(read))
        return None if block is None else self._polled(block, now_ns)

    def overdue_probe(self, now_ns: int) -> Slot | None:
        """A dead module that has waited too long for a quiet moment."""
        return self.identities.overdue_probe(now_ns, is_moving=self._is_moving) if self._skipped else None

    def probe(self, now_ns: int) -> Slot | None:
        """A module that is dead, when the budget allows it."""
        return self.identities.probe(now_ns, is_moving=self._is_moving) if self._skipped else None

    def is_due(self, now_ns: int) -> bool:
        """True if a poll waits for the wire."""
        return self._vital is not None or self._plan.next_other(now_ns, self._skipped) is not None

    def next_due_ns(self, now_ns: int) -> int | None:
        """When the next poll becomes due, or the next module's pause is over."""
        times = [self._plan.next_due_ns(self._skipped), self.identities.wakeup_ns(now_ns)]
        return min((moment for moment in times if moment is not None), default=None)

    def bounded_ns(self, request: BusRequest, timeout_ns: int, now_ns: int) -> int:
        """`timeout_ns` for anybody's request, cut while moving so that no vital block becomes late by its silence."""
        return self._bounded_ns(request, timeout_ns, now_ns, None)

    # -- outcomes

    def complete(self, slot: Slot, result: ExchangeResult) -> BlockReadings | None:
        """Decoded readings of an identified module."""
        block, reply = slot.block, result.reply
        assert block is not None
        link = self._links[block.unit]
        if not isinstance(reply, ReadReply):
            self._note_missed(block, result)
            if slot.purpose is Purpose.IDENTIFY:
                self.identities.note_missed(block, result)
            return None
        taken_ns = result.ended_ns - result.sent_ns
        link.turnaround.add(self._times.speed.turnaround_of_read(block.count, taken_ns), result.ended_ns)
        readings = decode_block(block, reply.words, requested_ns=result.sent_ns, received_ns=result.ended_ns)
        has_changed = self.lessons.answer(block)
        if self.identities.judge(block, readings):
            has_changed |= self._know(link)
        elif link.is_identified:
            link.learn(readings)
        if has_changed:
            self._plan_again(block.unit, result.ended_ns)
        if not link.is_identified:
            return None
        readings = self._stuck.judge(readings)
        self._look_closer(readings)
        return readings

    def note_exchange(self, result: ExchangeResult) -> None:
        """Anybody's request went out: what was read last from each unit tells which read may not follow."""
        request = result.request
        if isinstance(request, ReadRegisters):
            self._asked_counts[request.unit] = request.count
        link = self._links.get(request.unit)
        if link is not None and link.failures > 1:
            self._plan.drop_retries(request.unit)

    def expedite(self, is_wanted: Callable[[RegisterBlock], bool], now_ns: int) -> None:
        """The blocks that are wanted are due now: somebody waits for what they show."""
        for block in filter(is_wanted, self._plan.blocks):
            self._plan.urge_block(block, now_ns)

    def ask_again(self, unit: int, now_ns: int) -> bool:
        """On request: a module is asked for everything that it has refused; True if there was anything."""
        if not self.lessons.forget(unit):
            return False
        self._plan_again(unit, now_ns)
        return True

    def refused(self, unit: int) -> frozenset[int]:
        """Addresses of registers that a module refuses."""
        return self.lessons.lesson(unit).refused

    # -- helpers

    def _planned(self, unit: int) -> UnitPlan:
        return plan_unit(self._maps[unit], self.lessons.lesson(unit), self._taken.get(unit, frozenset()))

    def _plan_again(self, unit: int, now_ns: int) -> None:
        """Other blocks; what may still be refused waits for the next attempt."""
        self._plans[unit] = self._planned(unit)
        self._plan.replace(unit, self._plans[unit].blocks, now_ns)
        next_ns = self.lessons.next_attempt_ns(unit)
        if next_ns > now_ns:
            for block in self._plans[unit].blocks:
                if self.lessons.is_open(block):
                    self._plan.postpone_block(block, next_ns)
        self.identities.find_blocks()
        self.admission.hurry()

    def _load(self) -> Load:
        known = {unit: link.turnaround.measured for unit, link in self._links.items()}
        return self._make_load(
            self._plan.blocks, {unit: rounded_up(found) for unit, found in known.items() if found is not None}
        )

    def _is_taken_for_last(self, block: RegisterBlock, now_ns: int) -> bool:
        """True if a late or second copy of the last reply could pass for the reply to this block."""
        if self._fence.follows_itself(block.request, now_ns):
            return True
        is_shared = block.count in self._plans[block.unit].shared
        return is_shared and self._asked_counts.get(block.unit) == block.count

    def _polled(self, block: RegisterBlock, now_ns: int) -> Slot:
        timeout_ns = self._times.safety_ns if block.kind is ModuleKind.SAFETY else self._times.other_ns
        timeout_ns = self._bounded_ns(block.request, timeout_ns, now_ns, block)
        slot = self._fence.passed(Slot(block.request, Purpose.POLL, timeout_ns, block=block), now_ns)
        if slot.purpose is Purpose.FENCE:
            self._plan.mark_turn(block, now_ns)
        else:
            self._plan.mark_sent(block, now_ns)
        return slot

    def _bounded_ns(self, request: BusRequest, timeout_ns: int, now_ns: int, block: RegisterBlock | None) -> int:
        """A module that has just failed is waited for no longer than a dead one. Nobody is waited for beyond half a
        period of the next vital block (at rest: of the safety module), and while moving a vital block only as long as
        one more attempt fits."""
        speed, link = self._times.speed, self._links.get(request.unit)
        is_failing = link is not None and link.failures > 0
        due_ns = self._plan.vital_due_ns(self._skipped, but_not=block, is_safety_only=not self._is_moving)
        if not (is_failing or self._is_moving) and (due_ns is None or due_ns - now_ns >= timeout_ns):
            return timeout_ns  # nothing bounds it
        least_ns = self._times.probe_ns
        known_ns = None if link is None else link.turnaround.p99_ns
        if known_ns is not None:
            least_ns = max(least_ns, speed.request_ns(request, known_ns) + LATENESS_NS)
        whole_ns = speed.whole_ns(request, timeout_ns)
        if is_failing:
            whole_ns = least_ns
        if self._is_moving and block is not None:
            whole_ns = min(whole_ns, self.admission.moving.waits_ns.get(block.poll, whole_ns))
        if due_ns is not None:
            whole_ns = min(whole_ns, due_ns + HALF_VITAL_NS - now_ns)
        return speed.wait_ns(request, max(whole_ns, least_ns))

    def _note_missed(self, block: RegisterBlock, result: ExchangeResult) -> None:
        """A lost reply is asked for again at once; a refusal is not, or a stubborn module would fill the wire."""
        reply, now_ns = result.reply, result.ended_ns
        if not isinstance(reply, ExceptionReply):
            if block.poll in VITAL and self._links[block.unit].failures == 1:
                self._plan.retry_block(block, now_ns)
            else:
                self._plan.expedite_block(block, now_ns)
        elif reply.code in SPLIT_CODES:
            if self.lessons.refuse(block, now_ns):
                self._plan_again(block.unit, now_ns)
        elif reply.code == BUSY_CODE:
            self._plan.hasten_block(block, now_ns + BUSY_PAUSE_NS)

    def _know(self, link: ModuleLink) -> bool:
        """A module has said who it is: its lesson is known or begins; True if its blocks are other ones now."""
        return self.lessons.identify(link.module.address, link.module.type_code, link.firmware)

    def _look_closer(self, readings: BlockReadings) -> None:
        block, now_ns = readings.block, readings.received_ns
        if BUTTON_ROLE in self._roles.apply(readings) and self._roles.number(BUTTON_ROLE):
            self._plan.hasten_block(block, now_ns + PRESSED_PERIOD_NS)
        rise = self._rises.judge(readings)
        if rise is None:
            return
        current = self.admission.now(is_moving=self._is_moving)
        normal_ns = current.periods[block.poll]
        if normal_ns > RATES[block.poll].period_ns(is_moving=self._is_moving):
            return  # its class has given way
        taken_ns = self._times.speed.read_ns(block.count, self._links[block.unit].turnaround.p99_ns or 0)
        extra = taken_ns / rise.period.ns - taken_ns / normal_ns
        if self._rises.grant(block, extra, current.headroom, now_ns + rise.hold.ns, now_ns):
            self._plan.raise_block(block, rise.period.ns, now_ns + rise.hold.ns)
