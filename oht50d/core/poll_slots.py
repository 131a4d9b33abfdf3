"""Polls and identification as slots of the wire: whose turn it is, and what a reply means (owner: wire schedule)."""

from collections.abc import Callable, Sequence

from oht50d.codec.registers import decode_block
from oht50d.core.module_link import ModuleLink
from oht50d.core.poll_plan import PollPlan, plan_blocks
from oht50d.core.role_table import RoleTable
from oht50d.core.slot_fence import SlotFence
from oht50d.core.stuck_watch import StuckWatch
from oht50d.core.wire_slots import Purpose, Slot, WireTimes, read_of
from oht50d.model.bus import ExceptionReply, ExchangeResult, ReadReply
from oht50d.model.registers import BlockReadings, ModuleKind, ModuleMap, PollClass, RegisterBlock

IDENTITY_ROLE = "identity.type"
BUTTON_ROLE = "reset.button"
PRESSED_PERIOD_NS = 50_000_000
"""How often a pressed reset button is read: a hold is as long as its readings show."""


class PollSlots:
    """Owns the poll plan; `on_identified(unit, now_ns)` is called for a module that is new on the wire."""

    def __init__(
        self,
        maps: Sequence[ModuleMap],
        links: dict[int, ModuleLink],
        fence: SlotFence,
        times: WireTimes,
        roles: RoleTable,
        on_identified: Callable[[int], None],
    ) -> None:
        self._links = links
        self._fence = fence
        self._times = times
        self._roles = roles
        self._on_identified = on_identified
        self._stuck = StuckWatch()
        blocks = [block for module in maps for block in plan_blocks(module)]
        self._plan = PollPlan(blocks)
        self._is_moving = False
        self._skipped: frozenset[int] = frozenset()
        self._due: RegisterBlock | None = None
        self._identity_blocks = {b.unit: b for b in blocks if any(s.role == IDENTITY_ROLE for s in b.specs)}
        for block in self._identity_blocks.values():
            fence.probe_with(read_of(block))

    # -- slots by rank; all of them speak of the moment of the last `look`

    def look(self, now_ns: int, *, is_moving: bool) -> None:
        """Who can be asked now and which block is due: worked out once a turn."""
        self._is_moving = is_moving
        away = [u for u, link in self._links.items() if not link.is_identified or now_ns < link.resume_ns]
        self._skipped = frozenset(away)
        self._due = self._plan.next_block(now_ns, is_moving=is_moving, skip_units=self._skipped)

    def late_safety(self, now_ns: int) -> Slot | None:
        """The safety block past its deadline: repeats of a stop that nobody answers must not starve it."""
        block = self._plan.next_overdue(now_ns, is_moving=True, skip_units=self._skipped, only=PollClass.SAFETY)
        return None if block is None else self._polled(block, now_ns)

    def urgent(self, now_ns: int) -> Slot | None:
        """The safety block when it is due; motor and position when they are past their deadline.

        One that looks like the exchange just made waits for another frame in between.
        """
        block = self._due
        if block is None or block.poll is not PollClass.SAFETY:
            block = self._overdue_block(now_ns, self._skipped)
            if block is not None and self._fence.follows_itself(read_of(block), now_ns):
                block = self._overdue_block(now_ns, self._skipped | {block.unit})
        return None if block is None else self._polled(block, now_ns)

    def identify(self, now_ns: int) -> Slot | None:
        """Modules that have not proved who they are; the safety module first."""
        if not self._skipped:
            return None
        waiting = [
            link for link in self._links.values() if not link.is_identified and not link.is_paused(now_ns)
        ]  # fmt: skip
        waiting.sort(key=lambda link: link.module.kind is not ModuleKind.SAFETY)
        for link in waiting:
            block = self._identity_blocks.get(link.module.address)
            if block is not None:
                return self._read_slot(block, Purpose.IDENTIFY, now_ns, self._times.probe_ns)
        return None

    def due(self, now_ns: int) -> Slot | None:
        """What is due; a block that looks like the exchange just made lets another module go first."""
        block = self._due
        if block is not None and self._fence.follows_itself(read_of(block), now_ns):
            others = self._skipped | {block.unit}
            block = self._plan.next_block(now_ns, is_moving=self._is_moving, skip_units=others) or block
        return None if block is None else self._polled(block, now_ns)

    @property
    def is_due(self) -> bool:
        """True if a poll waits for the wire."""
        return self._due is not None

    def next_due_ns(self, now_ns: int) -> int | None:
        """When the next poll becomes due, or the next module's pause is over."""
        due_ns = self._plan.next_due_ns(is_moving=self._is_moving, skip_units=self._skipped)
        paused = [link.resume_ns for link in self._links.values() if link.is_paused(now_ns)]
        return min([due_ns, *paused] if due_ns is not None else paused, default=None)

    # -- outcomes

    def complete(self, slot: Slot, result: ExchangeResult) -> BlockReadings | None:
        """Decoded readings of an identified module."""
        block, reply = slot.block, result.reply
        assert block is not None
        link = self._links[block.unit]
        if not isinstance(reply, ReadReply):
            self._note_missed(slot, block, result)
            return None
        readings = decode_block(block, reply.words, requested_ns=result.sent_ns, received_ns=result.ended_ns)
        if block is self._identity_blocks.get(block.unit):
            self._identify(link, readings)
        if not link.is_identified:
            return None
        readings = self._stuck.judge(readings)
        if BUTTON_ROLE in self._roles.apply(readings) and self._roles.number(BUTTON_ROLE):
            self._plan.hasten_block(block, readings.received_ns + PRESSED_PERIOD_NS)
        return readings

    def expedite(self, is_wanted: Callable[[RegisterBlock], bool], now_ns: int) -> None:
        """The blocks that are wanted are due now."""
        for block in filter(is_wanted, self._plan.blocks):
            self._plan.expedite_block(block, now_ns)

    # -- helpers

    def _overdue_block(self, now_ns: int, skip_units: frozenset[int]) -> RegisterBlock | None:
        return self._plan.next_overdue(now_ns, is_moving=self._is_moving, skip_units=skip_units)

    def _polled(self, block: RegisterBlock, now_ns: int) -> Slot:
        timeout_ns = self._times.safety_ns if block.kind is ModuleKind.SAFETY else self._times.other_ns
        if self._links[block.unit].failures > 0:
            timeout_ns = min(timeout_ns, self._times.probe_ns)
        return self._read_slot(block, Purpose.POLL, now_ns, timeout_ns)

    def _read_slot(self, block: RegisterBlock, purpose: Purpose, now_ns: int, timeout_ns: int) -> Slot:
        slot = self._fence.passed(Slot(read_of(block), purpose, timeout_ns, block=block), now_ns)
        if slot.purpose is not Purpose.FENCE:
            self._plan.mark_sent(block, now_ns)
        return slot

    def _note_missed(self, slot: Slot, block: RegisterBlock, result: ExchangeResult) -> None:
        """A lost reply is asked for again at once; a refusal is not, or a stubborn module would fill the wire."""
        if not isinstance(result.reply, ExceptionReply):
            self._plan.expedite_block(block, result.ended_ns)
        elif slot.purpose is Purpose.IDENTIFY:
            self._links[block.unit].leave_alone(result.ended_ns)

    def _identify(self, link: ModuleLink, readings: BlockReadings) -> None:
        """Judge a block with an identity; everything about a module that is new on the wire is read at once."""
        was_identified = link.is_identified
        if not link.identify(readings):
            link.leave_alone(readings.received_ns)
        elif not was_identified:
            self._plan.expedite(link.module.address, readings.received_ns)
            self._on_identified(link.module.address)
