"""Who is at a bound address: identification at an opening and after a return, probes of the dead (owner: poll slots).

Modules that were not asked since the port was opened come right after stops and vital polls; one whose breaker is open
gets a probe within the budget of `probe_budget.py`, in a quiet stretch of the wire. A probe is the identity block, so
that an answer is the identification.
"""

from collections.abc import Callable, Mapping

from oht50d.core.admission import LATENESS_NS
from oht50d.core.block_split import SPLIT_CODES, LessonBook
from oht50d.core.module_link import ModuleLink
from oht50d.core.poll_plan import PollPlan
from oht50d.core.probe_budget import ProbeBudget, module_claim
from oht50d.core.slot_fence import SlotFence
from oht50d.core.wire_slots import LEAST_WAIT_NS, Purpose, Slot, WireTimes
from oht50d.model.bus import ExceptionReply, ExchangeResult
from oht50d.model.registers import BlockReadings, ModuleKind, RegisterBlock

IDENTITY_ROLE = "identity.type"


class IdentitySlots:
    """`on_identified(unit)` is called for a module that is new on the wire."""

    def __init__(
        self,
        links: Mapping[int, ModuleLink],
        plan: PollPlan,
        lessons: LessonBook,
        budget: ProbeBudget,
        fence: SlotFence,
        times: WireTimes,
        on_identified: Callable[[int], None],
    ) -> None:
        self._links = links
        self._plan = plan
        self._lessons = lessons
        self._budget = budget
        self._fence = fence
        self._times = times
        self._on_identified = on_identified
        self._is_moving = False
        self._blocks: dict[int, RegisterBlock] = {}
        self.find_blocks()

    def find_blocks(self) -> None:
        """The block of each unit that tells its type, and as much else about its identity as possible."""
        self._blocks.clear()
        for block in self._plan.blocks:
            known = self._blocks.get(block.unit)
            if _says_who(block) and (known is None or _identity_roles(block) > _identity_roles(known)):
                self._blocks[block.unit] = block
        for block in self._blocks.values():
            self._fence.probe_with(block.request)

    def next_slot(self, now_ns: int) -> Slot | None:
        """A module that has not proved who it is and is not known to be dead; the safety module first."""
        waiting = [link for link in self._unknown(now_ns) if not link.is_dead]
        return self._first(waiting, now_ns)

    def probe(self, now_ns: int, *, is_moving: bool) -> Slot | None:
        """A dead module whose pause is over, if the budget lets it."""
        self._is_moving = is_moving
        waiting = [
            link
            for link in self._dead(now_ns)
            if self._budget.may_probe(module_claim(link.module.address), now_ns, self._probe_ns(link))
        ]
        return self._first(waiting, now_ns)

    def overdue_probe(self, now_ns: int, *, is_moving: bool) -> Slot | None:
        """A dead module that has waited so long that other polls wait for it."""
        self._is_moving = is_moving
        waiting = [
            link for link in self._dead(now_ns) if self._budget.is_overdue(module_claim(link.module.address), now_ns)
        ]
        return self._first(waiting, now_ns)

    def wakeup_ns(self, now_ns: int) -> int | None:
        """When the next module may be asked."""
        opens_ns = self._budget.opens_ns
        times = [
            max(link.resume_ns, opens_ns) if link.is_dead else link.resume_ns
            for link in self._links.values()
            if not link.is_identified or link.is_paused(now_ns)
        ]
        # One that may be asked now waits for a quiet stretch: it is looked at again after the next poll.
        return min((moment for moment in times if moment > now_ns), default=None)

    def note_missed(self, block: RegisterBlock, result: ExchangeResult) -> None:
        """A question for identity was refused: the next half of the block is asked for soon, if halving helps."""
        link = self._links[block.unit]
        if not isinstance(result.reply, ExceptionReply):
            return
        if block.count > 1 and result.reply.code in SPLIT_CODES:
            link.breaker.resume_ns = self._lessons.next_attempt_ns(block.unit)
        else:
            link.leave_alone(result.ended_ns)

    def judge(self, block: RegisterBlock, readings: BlockReadings) -> bool:
        """True if this block has shown that the module is the one that its map is for.

        Everything about a module that is new on the wire is read at once; the dead ones are asked again soon, because
        what brought this one back may have brought back them too.
        """
        if block is not self._blocks.get(block.unit):
            return False
        link = self._links[block.unit]
        was_identified = link.is_identified
        if not link.identify(readings):
            link.leave_alone(readings.received_ns)
            return False
        if not was_identified:
            self._plan.expedite(block.unit, readings.received_ns)
            self._plan.mark_sent(block, readings.requested_ns)
            self._on_identified(block.unit)
            for other in self._links.values():
                other.breaker.hasten(readings.received_ns)
        return True

    def _unknown(self, now_ns: int) -> list[ModuleLink]:
        return [link for link in self._links.values() if not link.is_identified and not link.is_paused(now_ns)]

    def _dead(self, now_ns: int) -> list[ModuleLink]:
        return [link for link in self._unknown(now_ns) if link.is_dead]

    def _first(self, waiting: list[ModuleLink], now_ns: int) -> Slot | None:
        waiting.sort(key=lambda link: link.module.kind is not ModuleKind.SAFETY)
        for link in waiting:
            block = self._blocks.get(link.module.address)
            if block is not None:
                wait_ns = max(LEAST_WAIT_NS, self._times.speed.wait_ns(block.request, self._probe_ns(link)))
                return self._fence.passed(Slot(block.request, Purpose.IDENTIFY, wait_ns, block=block), now_ns)
        return None

    def _probe_ns(self, link: ModuleLink) -> int:
        """The whole time of a probe. A dead module that was quick before gets only what it needed then; at rest every
        other time the longest, for a slower one may be there now."""
        block, known_ns = self._blocks.get(link.module.address), link.turnaround.p99_ns
        is_longest = not self._is_moving and link.breaker.openings % 2 == 0
        if block is None or not link.is_dead or known_ns is None or is_longest:
            return self._times.probe_ns
        return min(self._times.probe_ns, self._times.speed.request_ns(block.request, known_ns) + LATENESS_NS)


def _says_who(block: RegisterBlock) -> bool:
    return any(spec.role == IDENTITY_ROLE for spec in block.specs)


def _identity_roles(block: RegisterBlock) -> int:
    return sum(spec.role is not None and spec.role.startswith("identity.") for spec in block.specs)
