"""When which register block is read: earliest deadline first at fixed rates (`PollPlan` belongs to the bus owner).

Source of the rates: DECISIONS, "poll rates". A deadline lies half a period after a block becomes due, so a feasible
plan reads every block at most one and a half periods after its last reading. Line times: MODBUS over Serial Line
V1.02, section 2.5.1.1.
"""

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from oht50d.codec.rtu import character_ns, encode_request, reply_length, silence_ns
from oht50d.model.bus import ReadRegisters
from oht50d.model.registers import ModuleMap, PollClass, RegisterBlock, RegisterSpec
from oht50d.model.units import Duration

MAX_BLOCK_REGISTERS = 40


@frozen
class Rate:
    """The period of a poll class at standstill and while moving."""

    rest: Duration
    moving: Duration

    def period_ns(self, *, is_moving: bool) -> int:
        return self.moving.ns if is_moving else self.rest.ns


def _rate(rest: str, moving: str | None = None) -> Rate:
    return Rate(Duration.parse(rest), Duration.parse(moving or rest))


# While moving, motion writes take about a seventh of the wire: IMU and dock yield, safety, motor and position never do.
RATES: Mapping[PollClass, Rate] = {
    PollClass.SAFETY: _rate("50ms"),
    PollClass.MOTOR: _rate("50ms"),
    PollClass.POSITION: _rate("100ms", "50ms"),
    PollClass.DOCK: _rate("100ms", "200ms"),
    PollClass.IMU: _rate("100ms", "500ms"),
    PollClass.INPUTS: _rate("200ms"),
    PollClass.BATTERY: _rate("1s"),
    PollClass.AUXILIARY: _rate("1s"),
    PollClass.SLOW: _rate("5s"),
    PollClass.STATIC: _rate("30s"),
}
VITAL = frozenset({PollClass.SAFETY, PollClass.MOTOR, PollClass.POSITION})
"""Classes whose silence stops a moving robot: past their deadline they go before motion writes."""
_RANKS = {poll: rank for rank, poll in enumerate(RATES)}


def plan_blocks(module_map: ModuleMap, max_registers: int = MAX_BLOCK_REGISTERS) -> tuple[RegisterBlock, ...]:
    """The readable registers of a map in contiguous runs of one poll class; never across an unmapped gap."""
    blocks: list[RegisterBlock] = []
    run: list[RegisterSpec] = []
    for spec in module_map.registers:
        if run and not (_continues(run[-1], spec) and len(run) < max_registers):
            blocks.append(_block(module_map, run))
            run = []
        if spec.is_readable and spec.poll is not None:
            run.append(spec)
    if run:
        blocks.append(_block(module_map, run))
    return tuple(blocks)


def _continues(last: RegisterSpec, spec: RegisterSpec) -> bool:
    return spec.address == last.address + 1 and spec.poll is last.poll and spec.is_readable


def _block(module_map: ModuleMap, run: Sequence[RegisterSpec]) -> RegisterBlock:
    poll = run[0].poll
    assert poll is not None, "plan_blocks collects polled registers only"
    return RegisterBlock(module_map.address, module_map.kind, poll, run[0].address, tuple(run))


def transaction_ns(baud: int, request_bytes: int, reply_bytes: int, turnaround_ns: int) -> int:
    """Request, silence, turnaround of the device, reply, silence: the whole time that one exchange takes the wire."""
    return (request_bytes + reply_bytes) * character_ns(baud) + 2 * silence_ns(baud) + turnaround_ns


def block_ns(block: RegisterBlock, baud: int, turnaround_ns: int) -> int:
    """The time that reading one block takes the wire."""
    request = ReadRegisters(block.unit, block.first, block.count)
    return transaction_ns(baud, len(encode_request(request)), reply_length(request), turnaround_ns)


def worst_block_ns(blocks: Iterable[RegisterBlock], baud: int, turnaround_ns: int) -> int:
    """The longest that a stop can wait behind a poll; 0 without blocks."""
    return max((block_ns(block, baud, turnaround_ns) for block in blocks), default=0)


def plan_utilisation(
    blocks: Iterable[RegisterBlock], baud: int, turnaround_ns: int, *, is_moving: bool = True
) -> float:
    """The share of the wire (1.0 is all of it) that polling at the full rates takes."""
    return sum(
        block_ns(block, baud, turnaround_ns) / RATES[block.poll].period_ns(is_moving=is_moving) for block in blocks
    )


class _Entry:
    """One block's schedule: due one period after `released_ns`, or at `due_ns` as it stands while `is_forced`."""

    __slots__ = ("block", "due_ns", "half_ns", "is_forced", "period_ns", "rank", "released_ns", "unit")

    def __init__(self, block: RegisterBlock) -> None:
        self.block = block
        self.unit = block.unit
        self.rank = _RANKS[block.poll]
        self.period_ns = RATES[block.poll].rest.ns
        self.half_ns = self.period_ns // 2
        self.released_ns = 0
        self.due_ns = 0
        self.is_forced = True

    def set_period(self, period_ns: int) -> None:
        self.period_ns = period_ns
        self.half_ns = period_ns // 2
        if not self.is_forced:
            self.due_ns = self.released_ns + period_ns

    def release(self, now_ns: int) -> None:
        self.released_ns = self.due_ns if 0 <= now_ns - self.due_ns < self.period_ns else now_ns
        self.due_ns = self.released_ns + self.period_ns
        self.is_forced = False

    def force(self, now_ns: int) -> None:
        """Due now, or since before if it was overdue."""
        self.due_ns = min(self.due_ns, now_ns)
        self.is_forced = True


class PollPlan:
    """Picks the next block to read; every block is due at once at the start. Time is always an argument."""

    def __init__(self, blocks: Iterable[RegisterBlock]) -> None:
        self._entries = [_Entry(block) for block in blocks]
        self._by_rank = sorted(self._entries, key=lambda entry: entry.rank)
        self._vital = [entry for entry in self._entries if entry.block.poll in VITAL]
        self._by_block = {id(entry.block): entry for entry in self._entries}
        self._is_moving = False

    @property
    def blocks(self) -> tuple[RegisterBlock, ...]:
        return tuple(entry.block for entry in self._entries)

    def next_block(
        self, now_ns: int, *, is_moving: bool, skip_units: frozenset[int] = frozenset()
    ) -> RegisterBlock | None:
        """The due block with the earliest deadline, None if none is due.

        A deadline that has passed counts as now, so that a unit that was skipped for long cannot push in front of the
        safety class: of equal deadlines the more critical class wins, then the one that has waited longest.
        """
        self._adopt(is_moving)
        best: _Entry | None = None
        best_ns = 0
        for entry in self._by_rank:
            due_ns = entry.due_ns
            if due_ns > now_ns or entry.unit in skip_units:
                continue
            deadline_ns = due_ns + entry.half_ns
            deadline_ns = max(deadline_ns, now_ns)
            is_longer_due = best is not None and entry.rank == best.rank and due_ns < best.due_ns
            if best is None or deadline_ns < best_ns or (deadline_ns == best_ns and is_longer_due):
                best, best_ns = entry, deadline_ns
        return None if best is None else best.block

    def next_overdue(
        self,
        now_ns: int,
        *,
        is_moving: bool,
        skip_units: frozenset[int] = frozenset(),
        only: PollClass | None = None,
    ) -> RegisterBlock | None:
        """The vital block that is longest past its deadline (half a period after it was due); None if none is.

        `only` looks at one of the vital classes.
        """
        self._adopt(is_moving)
        worst: RegisterBlock | None = None
        worst_ns = now_ns
        for entry in self._vital:
            deadline_ns = entry.due_ns + entry.half_ns
            if deadline_ns < worst_ns and entry.unit not in skip_units and only in (None, entry.block.poll):
                worst, worst_ns = entry.block, deadline_ns
        return worst

    def next_due_ns(self, *, is_moving: bool, skip_units: frozenset[int] = frozenset()) -> int | None:
        """When the next block becomes due (in the past if one is due already); None without any block."""
        self._adopt(is_moving)
        return min((entry.due_ns for entry in self._entries if entry.unit not in skip_units), default=None)

    def mark_sent(self, block: RegisterBlock, now_ns: int) -> None:
        """The block was requested; its next turn keeps the rhythm unless a whole period was missed."""
        self._by_block[id(block)].release(now_ns)

    def expedite_block(self, block: RegisterBlock, now_ns: int) -> None:
        """This block is due now: its reply was lost."""
        self._by_block[id(block)].force(now_ns)

    def hasten_block(self, block: RegisterBlock, due_ns: int) -> None:
        """This block is due at `due_ns` at the latest: what it showed is worth a closer look."""
        entry = self._by_block[id(block)]
        entry.due_ns = min(entry.due_ns, due_ns)

    def expedite(self, unit: int, now_ns: int) -> None:
        """Every block of `unit` is due now (after an opening or a changed module); one that is overdue stays so."""
        for entry in self._entries:
            if entry.unit == unit:
                entry.force(now_ns)

    def _adopt(self, is_moving: bool) -> None:
        if is_moving is not self._is_moving:
            self._is_moving = is_moving
            for entry in self._entries:
                entry.set_period(RATES[entry.block.poll].period_ns(is_moving=is_moving))
