"""When which register block is read: vital blocks when they are due, the rest by earliest deadline (owner: poll slots).

Of the vital blocks that are due the one that was read longest ago goes first. They share one period, so a block that
waits lets each other one pass at most once (ADR 0015, on which `admission.py` builds). A deadline of the rest lies half
a period after a block becomes due. Periods come from outside (`poll_rates.py`, `admission.py`); time is an argument.
"""

from collections.abc import Iterable, Sequence

from oht50d.core.exchange_times import block_ns, plan_utilisation, transaction_ns, worst_block_ns
from oht50d.core.poll_rates import RANKS, RATES, VITAL, Periods, periods
from oht50d.core.shapes import MAX_REGISTERS
from oht50d.core.unit_plan import NO_LESSON, plan_runs
from oht50d.model.registers import ModuleMap, PollClass, RegisterBlock

__all__ = [
    "RATES",
    "PollPlan",
    "block_ns",
    "plan_blocks",
    "plan_utilisation",
    "transaction_ns",
    "worst_block_ns",
]


def plan_blocks(module_map: ModuleMap, max_registers: int = MAX_REGISTERS) -> tuple[RegisterBlock, ...]:
    """The readable registers of a map in contiguous runs of one poll class; `unit_plan.py` makes them differ."""
    blocks = []
    for span in plan_runs(module_map, NO_LESSON, max_registers):
        specs = tuple(module_map.by_address[address] for address in range(span.first, span.last + 1))
        poll = specs[0].poll
        assert poll is not None, "runs are made of polled registers"
        blocks.append(RegisterBlock(module_map.address, module_map.kind, poll, span.first, specs))
    return tuple(blocks)


NEVER_NS = 1 << 62
LEISURELY_NS = 1_000_000_000
"""Blocks with this period or a longer one have time."""
LATE_SAFETY_NS = 2_000_000
"""How far the safety block must be past its deadline to go before a module that has just failed to answer."""
GOLDEN_SECTION = 0.618_033_989
"""Multiples of it, less their whole part, are spread as evenly as can be, however many there are."""
VITAL_RANK = max(RANKS[poll] for poll in VITAL)
PASSED = 0.5
"""Periods after it was due at which a block's deadline lies."""
URGED = 1e9
SAFETY_RANK = RANKS[PollClass.SAFETY]


class _Entry:
    """One block's schedule: due one period after `released_ns`, or at `due_ns` as it stands while `is_forced`.

    While it is raised its period is `raised_ns` at most.
    """

    __slots__ = (
        "base_ns", "block", "due_ns", "half_ns", "is_forced", "is_retry", "is_urged", "period_ns", "raised_ns",
        "raised_until_ns", "rank", "released_ns", "sent_ns", "spread", "unit",
    )  # fmt: skip

    def __init__(self, block: RegisterBlock, period_ns: int) -> None:
        self.block = block
        self.unit = block.unit
        self.rank = RANKS[block.poll]
        self.base_ns = self.period_ns = period_ns
        self.half_ns = period_ns // 2
        self.raised_ns = period_ns
        self.raised_until_ns = 0
        self.released_ns = 0
        self.sent_ns = 0
        self.due_ns = 0
        self.is_forced = True
        self.is_retry = self.is_urged = False
        self.spread = 1.0

    def set_base(self, base_ns: int) -> None:
        self.base_ns = base_ns
        self._set_period(min(base_ns, self.raised_ns) if self.raised_until_ns else base_ns)

    def rise(self, period_ns: int, until_ns: int) -> None:
        self.raised_ns, self.raised_until_ns = period_ns, until_ns
        self._set_period(min(self.base_ns, period_ns))

    def settle(self, now_ns: int) -> None:
        """End what is over."""
        if self.raised_until_ns and now_ns >= self.raised_until_ns:
            self.raised_until_ns = 0
            self._set_period(self.base_ns)

    def release(self, now_ns: int) -> None:
        self.released_ns = self.due_ns if 0 <= now_ns - self.due_ns < self.period_ns else now_ns
        self.due_ns = self.released_ns + self.period_ns
        if self.spread < 1.0:
            self.due_ns = self.released_ns + round(self.period_ns * self.spread)
            self.spread = 1.0
        self.sent_ns = now_ns
        self.is_forced = self.is_retry = self.is_urged = False
        self.settle(now_ns)

    def is_late_safety(self, now_ns: int) -> bool:
        """True for the safety block well past its deadline."""
        return self.rank == SAFETY_RANK and self.due_ns + self.half_ns + LATE_SAFETY_NS < now_ns

    def force(self, now_ns: int) -> None:
        """Due now, or since before if it was overdue."""
        self.due_ns = min(self.due_ns, now_ns)
        self.is_forced = True

    def spread_out(self, number: int) -> None:
        """A block that is read together with many others gets a place of its own in its period; the vital ones stay
        together, so that what is left between them is of one piece."""
        if self.rank > VITAL_RANK:
            self.spread = number * GOLDEN_SECTION % 1.0

    def inherit(self, other: "_Entry") -> None:
        self.released_ns, self.due_ns, self.sent_ns = other.released_ns, other.due_ns, other.sent_ns
        self.spread = other.spread
        self.is_forced, self.is_retry = other.is_forced, other.is_retry

    def _set_period(self, period_ns: int) -> None:
        if period_ns == self.period_ns:
            return
        self.period_ns = period_ns
        self.half_ns = period_ns // 2
        if not self.is_forced:
            self.due_ns = self.released_ns + period_ns


class PollPlan:
    """Picks the next block to read; every block is due at once at the start. Bounded by the blocks of the maps."""

    def __init__(self, blocks: Iterable[RegisterBlock]) -> None:
        self._periods: Periods = periods(0, is_moving=False)
        self._adopt_entries([_Entry(block, self._periods[block.poll]) for block in blocks])

    @property
    def blocks(self) -> tuple[RegisterBlock, ...]:
        return tuple(entry.block for entry in self._entries)

    def set_periods(self, wanted: Periods) -> None:
        """From now on the classes are read this often; the same mapping again costs nothing."""
        if wanted is self._periods:
            return
        self._periods = wanted
        for entry in self._entries:
            entry.set_base(wanted[entry.block.poll])

    def replace(self, unit: int, blocks: Sequence[RegisterBlock], now_ns: int) -> None:
        """Other blocks for one unit: each is due when the one was that it has most of; a new one at once."""
        before = [entry for entry in self._entries if entry.unit == unit]
        after = [_Entry(block, self._periods[block.poll]) for block in blocks]
        for entry in after:
            heirs = [(_overlap(old.block, entry.block), number) for number, old in enumerate(before)]
            most, number = max(heirs, default=(0, 0))
            if most > 0:
                entry.inherit(before[number])
            else:
                entry.force(now_ns)
        self._adopt_entries([entry for entry in self._entries if entry.unit != unit] + after)

    # -- whose turn it is

    def next_vital(
        self, now_ns: int, skip_units: frozenset[int] = frozenset(), in_trouble: frozenset[int] = frozenset()
    ) -> RegisterBlock | None:
        """The due vital block that was read longest ago, one whose reply was lost before those; None if none is due.

        Before a unit `in_trouble` a safety block past its deadline goes: modules that die together must not starve it.
        """
        due = [entry for entry in self._vital if entry.due_ns <= now_ns and entry.unit not in skip_units]
        if len(due) <= 1:
            return due[0].block if due else None
        first = min(due, key=lambda entry: (not entry.is_retry, entry.sent_ns, entry.rank))
        if first.unit in in_trouble:
            late = [entry for entry in due if entry.is_late_safety(now_ns)]
            first = late[0] if late else first
        return first.block

    def next_other(self, now_ns: int, skip_units: frozenset[int] = frozenset()) -> RegisterBlock | None:
        """The due block with the earliest deadline that is not vital; None if none is due.

        Of those whose deadline has passed the one goes first that is latest by its own period: when there is more to
        read than the wire can carry all classes are read less often alike, and none is forgotten.
        """
        best: _Entry | None = None
        best_ns, best_lateness = 0, 0.0
        for entry in self._others:
            if entry.due_ns > now_ns or entry.unit in skip_units:
                continue
            deadline_ns = entry.due_ns + entry.half_ns
            lateness = URGED if entry.is_urged else (now_ns - entry.due_ns) / entry.period_ns
            if lateness >= PASSED:
                if lateness > best_lateness:
                    best, best_lateness = entry, lateness
            elif not best_lateness and (best is None or deadline_ns < best_ns):
                best, best_ns = entry, deadline_ns
        return None if best is None else best.block

    def next_block(self, now_ns: int, skip_units: frozenset[int] = frozenset()) -> RegisterBlock | None:
        """What is read next if nothing else wants the wire."""
        return self.next_vital(now_ns, skip_units) or self.next_other(now_ns, skip_units)

    def late_safety(self, now_ns: int, skip_units: frozenset[int] = frozenset()) -> RegisterBlock | None:
        """The safety block past its deadline, half a period after it was due."""
        for entry in self._vital:
            is_late = entry.due_ns + entry.half_ns < now_ns
            if is_late and entry.block.poll is PollClass.SAFETY and entry.unit not in skip_units:
                return entry.block
        return None

    def next_due_ns(self, skip_units: frozenset[int] = frozenset()) -> int | None:
        """When the next block becomes due (in the past if one is due already); None without any block."""
        return min((entry.due_ns for entry in self._entries if entry.unit not in skip_units), default=None)

    def vital_due_ns(
        self, skip_units: frozenset[int], but_not: RegisterBlock | None, *, is_safety_only: bool
    ) -> int | None:
        """When the next vital block becomes due, or the next one of the safety module; None without any."""
        return min(
            (
                entry.due_ns
                for entry in self._vital
                if entry.unit not in skip_units
                and entry.block is not but_not
                and (entry.block.poll is PollClass.SAFETY or not is_safety_only)
            ),
            default=None,
        )

    def fast_due_ns(self, skip_units: frozenset[int] = frozenset()) -> int:
        """When the next block that is not leisurely becomes due; far away without any."""
        return min(
            (
                entry.due_ns
                for entry in self._entries
                if entry.period_ns < LEISURELY_NS and entry.unit not in skip_units
            ),
            default=NEVER_NS,
        )  # fmt: skip

    def vital_blocks(self, skip_units: frozenset[int] = frozenset()) -> list[RegisterBlock]:
        """The vital blocks that can be asked for."""
        return [entry.block for entry in self._vital if entry.unit not in skip_units]

    def is_late(self, block: RegisterBlock, now_ns: int) -> bool:
        """True if the block is past its deadline, half a period after it was due."""
        entry = self._by_block.get(id(block))
        return entry is not None and entry.due_ns + entry.half_ns < now_ns

    def is_retry(self, block: RegisterBlock) -> bool:
        """True if the block is due because its reply was lost."""
        entry = self._by_block.get(id(block))
        return entry is not None and entry.is_retry

    # -- what happens to a block

    def mark_sent(self, block: RegisterBlock, now_ns: int) -> None:
        """The block was requested; its next turn keeps the rhythm unless a whole period was missed."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.release(now_ns)

    def expedite_block(self, block: RegisterBlock, now_ns: int) -> None:
        """This block is due now."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.force(now_ns)

    def urge_block(self, block: RegisterBlock, now_ns: int) -> None:
        """This block is due now and at its deadline: somebody waits for what it shows."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.force(now_ns)
            entry.is_urged = True

    def mark_turn(self, block: RegisterBlock, now_ns: int) -> None:
        """The fence's read went out instead of this block: it stays due, and has had its turn among the vital ones."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.sent_ns = now_ns

    def has_read_vital(self, since_ns: int, silent_units: frozenset[int]) -> bool:
        """True if every vital block was read since then, or within its period before that; never of a silent unit."""
        return all(e.unit not in silent_units and e.sent_ns + e.period_ns >= since_ns for e in self._vital)

    def drop_retries(self, unit: int) -> None:
        """The unit has failed again: its blocks do not go before others any more."""
        for entry in self._entries:
            if entry.unit == unit:
                entry.is_retry = False

    def retry_block(self, block: RegisterBlock, now_ns: int) -> None:
        """The reply of this block was lost: it is due now, and goes before other vital blocks."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.force(now_ns)
            entry.is_retry = True

    def hasten_block(self, block: RegisterBlock, due_ns: int) -> None:
        """This block is due at `due_ns` at the latest: what it showed is worth a closer look."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.due_ns = min(entry.due_ns, due_ns)

    def postpone_block(self, block: RegisterBlock, due_ns: int) -> None:
        """This block is due at `due_ns` and not before."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.due_ns = due_ns
            entry.is_forced = True

    def raise_block(self, block: RegisterBlock, period_ns: int, until_ns: int) -> None:
        """Read it each `period_ns` until then."""
        entry = self._by_block.get(id(block))
        if entry is not None:
            entry.rise(period_ns, until_ns)

    def expedite(self, unit: int, now_ns: int) -> None:
        """Every block of `unit` is due now (after an opening or a changed module); one that is overdue stays so."""
        for number, entry in enumerate(self._entries, 1):
            if entry.unit == unit:
                entry.force(now_ns)
                entry.spread_out(number)

    def _adopt_entries(self, entries: list[_Entry]) -> None:
        self._entries = entries
        self._vital = [entry for entry in entries if entry.block.poll in VITAL]
        self._others = sorted((e for e in entries if e.block.poll not in VITAL), key=lambda entry: entry.rank)
        self._by_block = {id(entry.block): entry for entry in entries}


def _overlap(one: RegisterBlock, other: RegisterBlock) -> int:
    """How many registers two blocks of one class share."""
    if one.poll is not other.poll:
        return 0
    return min(one.first + one.count, other.first + other.count) - max(one.first, other.first)
