"""Does the plan fit the wire, who gives way, and is motion still safe: the sum (pure, no state; ADR 0015).

Everything is a worst case from character times, each module's measured turnaround, the blocks as they are now, one dead
module's probe and the motion writes. Where one exchange is meant the turnaround is its 99th percentile; a sum of many
takes what nine of ten replies keep, and the slowest of them at its 99th percentile: all slow at once is no bus.

Two judgements. *Shares*: all exchanges of a second must fit into it; until they do, classes give way in the order of
`poll_rates.YIELDS`. Vital classes never do: when all others have given way they are read as often as the wire allows.
*Gaps*: while moving, a vital module that loses one reply must have given the next valid one within the loss limit of
SAFETY.md (150 ms). Blocks of one period, the one read longest ago first, without preemption, are read at most every

    gap = max(period, one round of all vital blocks) + motion writes of a round + one other exchange

because a vital block that waits lets each other one pass once at most, and `rounds.py` lets so many writes and one
other exchange in before a due one (compare Jeffay, Stanat and Martel, On Non-Preemptive Scheduling of Periodic and
Sporadic Tasks, RTSS 1991, for the blocking by the longest other exchange). What is left of 150 ms after the gap must
hold the time-out, the fence's probe and the block once more. Two more conditions on motion are in `_starved` and
`_late_writes`: what is left to the other reads on a full wire, and the drives' own time-outs.
"""

from collections.abc import Mapping

from attrs import field, frozen

from oht50d.core.exchange_times import LineSpeed
from oht50d.core.poll_rates import RATES, VITAL, YIELDS, Periods, periods
from oht50d.core.turnaround import Measured
from oht50d.model.bus import WriteRegisters
from oht50d.model.registers import PollClass, RegisterBlock
from oht50d.model.units import Duration

PROBE_SHARE = 0.05
"""Reserved for dead and absent modules (USERS.md, telegraf#11782)."""
LATENESS_NS = 3_000_000
"""How much later than its 99th percentile a reply may be and still be waited for."""
MAX_WRITES = 4
"""Motion writes that may go before due vital blocks in one round, if the gaps allow so many: a start has nine."""
COMFORT = 2
"""Further writes are let in only while a lost reply may be waited for this many times as long as is needed."""
_DRIVE_FRAME = WriteRegisters(1, 0, (0, 0, 0))
"""Enable, setpoint and linear input in one FC16: the longest motion frame."""
_S = 1_000_000_000


@frozen(kw_only=True)
class Load:
    """What wants the wire. `turnarounds` are by unit; `probe_ns` is a whole exchange with a dead module."""

    blocks: tuple[RegisterBlock, ...]
    speed: LineSpeed
    turnarounds: Mapping[int, Measured]
    drives: int
    drive_unit: int
    refresh_ns: int | None
    drive_timeout_ns: int | None
    safety_timeout_ns: int
    other_timeout_ns: int
    probe_ns: int
    loss_ns: int

    def block_ns(self, block: RegisterBlock) -> int:
        return self.speed.read_ns(block.count, self.turnarounds[block.unit].most_ns)

    def slow_block_ns(self, block: RegisterBlock) -> int:
        return self.speed.read_ns(block.count, self.turnarounds[block.unit].p99_ns)

    @property
    def write_ns(self) -> int:
        """One motion frame and its echo."""
        return self.speed.request_ns(_DRIVE_FRAME, self.turnarounds[self.drive_unit].most_ns)


@frozen
class Row:
    """One line of the sum of shares."""

    words: str
    share: float


@frozen
class Gap:
    """One vital block: the longest time between two readings, the one with which a lost reply still fits, and how long
    that may be waited for."""

    block: RegisterBlock
    gap_ns: int
    allowed_ns: int
    wait_ns: int
    needed_wait_ns: int
    retry_ns: int

    @property
    def is_kept(self) -> bool:
        return self.wait_ns >= self.needed_wait_ns

    @property
    def is_comfortable(self) -> bool:
        return self.wait_ns >= COMFORT * self.needed_wait_ns


@frozen(kw_only=True)
class Admission:
    """The outcome for one state of motion; `refusal` is empty if motion is safe.

    The poll plan has to keep `periods`; `waits_ns` are whole exchanges with a module that does not answer.
    """

    is_moving: bool
    level: int
    periods: Periods
    rows: tuple[Row, ...]
    gaps: tuple[Gap, ...]
    writes_per_round: int
    refusal: str
    waits_ns: Mapping[PollClass, int] = field(factory=dict)

    @property
    def share(self) -> float:
        return sum(row.share for row in self.rows)

    @property
    def given_way(self) -> tuple[str, ...]:
        """Classes that are read less often than they would be, in the order in which they gave way."""
        return tuple(
            f"{step.poll.value}: each {Duration(self.periods[step.poll])}"
            for step in YIELDS[: self.level]
            if self.periods[step.poll] > RATES[step.poll].period_ns(is_moving=self.is_moving)
        )

    @property
    def headroom(self) -> float:
        """The share of the wire that is left."""
        return max(0.0, 1.0 - self.share)


def admit(load: Load, *, is_moving: bool, level: int = 0) -> Admission:
    """The first level of giving way, from `level` on, at which the plan fits; the last one if none does."""
    costs = _costs(load)
    wanted = periods(level, is_moving=is_moving)
    while level < len(YIELDS) and _share(load, costs, wanted, is_moving=is_moving) > 1.0:
        level += 1
        wanted = periods(level, is_moving=is_moving)
    rows = _rows(load, costs, wanted, is_moving=is_moving)
    writes, gaps = _gaps(load, costs, wanted) if is_moving else (MAX_WRITES, ())
    refusal = _refusal(load, costs, gaps, wanted, is_full=sum(row.share for row in rows) > 1.0) if is_moving else ""
    waits: dict[PollClass, int] = {}
    for gap in gaps:
        waits[gap.block.poll] = min(gap.wait_ns, waits.get(gap.block.poll, gap.wait_ns))
    return Admission(
        is_moving=is_moving, level=level, periods=wanted, rows=rows, gaps=gaps, writes_per_round=writes,
        refusal=refusal, waits_ns=waits,
    )  # fmt: skip


# -- shares


@frozen
class _Cost:
    """One class: how many blocks, how long all of them take, how long the longest of them takes if it is slow, and by
    how much one of them takes longer then."""

    count: int
    taken_ns: int
    longest_ns: int
    late_ns: int


_Costs = Mapping[PollClass, _Cost]


def _costs(load: Load) -> _Costs:
    taken: dict[PollClass, list[tuple[int, int]]] = {}
    for block in load.blocks:
        taken.setdefault(block.poll, []).append((load.block_ns(block), load.slow_block_ns(block)))
    return {
        poll: _Cost(
            count=len(taken[poll]),
            taken_ns=sum(usual_ns for usual_ns, _ in taken[poll]),
            longest_ns=max(slow_ns for _, slow_ns in taken[poll]),
            late_ns=max(slow_ns - usual_ns for usual_ns, slow_ns in taken[poll]),
        )
        for poll in RATES
        if poll in taken
    }


def _write_share(load: Load, *, is_moving: bool) -> float:
    return load.drives * load.write_ns / load.refresh_ns if is_moving and load.refresh_ns is not None else 0.0


def _share(load: Load, costs: _Costs, wanted: Periods, *, is_moving: bool) -> float:
    polls = sum(cost.taken_ns / wanted[poll] for poll, cost in costs.items())
    return polls + _write_share(load, is_moving=is_moving) + PROBE_SHARE


def _rows(load: Load, costs: _Costs, wanted: Periods, *, is_moving: bool) -> tuple[Row, ...]:
    rows = [
        Row(
            f"{poll.value}: {cost.count} {'read' if cost.count == 1 else 'reads'} of {_ms(cost.taken_ns)} in all,"
            f" each {Duration(wanted[poll])}",
            cost.taken_ns / wanted[poll],
        )
        for poll, cost in costs.items()
    ]
    writes = _write_share(load, is_moving=is_moving)
    if writes and load.refresh_ns is not None:
        words = f"motion writes: {load.drives} of {_ms(load.drives * load.write_ns)} in all"
        rows.append(Row(f"{words}, each {Duration(load.refresh_ns)}", writes))
    rows.append(Row("dead and absent modules, at most", PROBE_SHARE))
    return tuple(rows)


def _round_ns(costs: _Costs) -> int:
    """Every vital block once, one of them slow."""
    vital = [cost for poll, cost in costs.items() if poll in VITAL]
    return sum(cost.taken_ns for cost in vital) + max((cost.late_ns for cost in vital), default=0)


def _other_ns(load: Load, costs: _Costs) -> int:
    """The longest exchange that a due vital block may find on the wire: a probe of a dead module, or a slow reply."""
    longest = max((cost.longest_ns for cost in costs.values()), default=0)
    return max(load.probe_ns, longest + LATENESS_NS)


# -- gaps


def _gaps(load: Load, costs: _Costs, wanted: Periods) -> tuple[int, tuple[Gap, ...]]:
    """How many motion writes a round may hold, and the gaps with that; with one write the gaps may be too long."""
    vital = [block for block in load.blocks if block.poll in VITAL]
    longest_ns = max((wanted[block.poll] for block in vital), default=0)
    bare_ns = max(longest_ns, _round_ns(costs)) + _other_ns(load, costs)
    for writes in range(MAX_WRITES, 1, -1):
        gaps = tuple(_gap(load, block, bare_ns + writes * load.write_ns) for block in vital)
        if all(gap.is_comfortable for gap in gaps):
            return writes, gaps
    return 1, tuple(_gap(load, block, bare_ns + load.write_ns) for block in vital)


def _gap(load: Load, block: RegisterBlock, gap_ns: int) -> Gap:
    """From one valid reply to the next with one lost between them.

    The age of a reading counts from its reply, which came at least its characters and two silences after its request.
    """
    taken_ns = load.slow_block_ns(block)
    retry_ns = load.speed.read_ns(1, load.turnarounds[block.unit].most_ns) + load.block_ns(block)
    left_ns = load.loss_ns - gap_ns - retry_ns + load.speed.read_ns(block.count, 0)
    timeout_ns = load.safety_timeout_ns if block.poll is PollClass.SAFETY else load.other_timeout_ns
    configured_ns = load.speed.whole_ns(block.request, timeout_ns)
    needed_ns = taken_ns + LATENESS_NS
    return Gap(block, gap_ns, gap_ns + left_ns - needed_ns, min(configured_ns, left_ns), needed_ns, retry_ns)


def _refusal(load: Load, costs: _Costs, gaps: tuple[Gap, ...], wanted: Periods, *, is_full: bool) -> str:
    """Why motion is refused, with the sum and the slowest module; empty if it is not."""
    told = next((_told(load, costs, gap) for gap in gaps if not gap.is_kept), "")
    refusal = told or (_starved(load, costs, wanted) if is_full else "") or _late_writes(load, costs)
    if not refusal:
        return ""
    unit, found = max(load.turnarounds.items(), key=lambda entry: entry[1].p99_ns)
    return f"{refusal}; slowest: {unit:#04x}, whose turnaround is {_ms(found.p99_ns)}"


def _told(load: Load, costs: _Costs, gap: Gap) -> str:
    return (
        f"{gap.block.kind.value} is read every {_ms(gap.gap_ns)} at worst, {_ms(gap.allowed_ns)} allowed:"
        f" one round of vital reads {_ms(_round_ns(costs))}, a motion write {_ms(load.write_ns)},"
        f" one other exchange {_ms(_other_ns(load, costs))}; a lost reply costs {_ms(gap.needed_wait_ns)}"
        f" and {_ms(gap.retry_ns)} to ask again, within {_ms(load.loss_ns)}"
    )


def _starved(load: Load, costs: _Costs, wanted: Periods) -> str:
    """With the wire full of vital reads there is one other exchange a round: the rest must manage with that."""
    others = [(cost, wanted[poll]) for poll, cost in costs.items() if poll not in VITAL]
    a_second = sum(cost.count * _S / period_ns for cost, period_ns in others)
    if not a_second:
        return ""
    mean_ns = sum(cost.taken_ns * _S / period_ns for cost, period_ns in others) / a_second
    round_ns = _round_ns(costs) + load.write_ns + mean_ns
    if a_second * round_ns <= _S:
        return ""
    return (
        f"all other reads at their slowest are {a_second:.1f} a second; beside the vital ones one fits into each round"
        f" of {_ms(round(round_ns))}, {_S / round_ns:.1f} a second"
    )


def _late_writes(load: Load, costs: _Costs) -> str:
    """Drives that watch their communication must hear from this computer in time."""
    if load.drive_timeout_ns is None or load.refresh_ns is None:
        return ""
    round_ns = _round_ns(costs) + load.write_ns + _other_ns(load, costs)
    worst_ns = max(load.refresh_ns + round_ns, load.drives * round_ns)
    if worst_ns <= load.drive_timeout_ns:
        return ""
    return (
        f"each of {load.drives} drives is written to every {_ms(worst_ns)} at worst,"
        f" its own time-out is {_ms(load.drive_timeout_ns)}"
    )


def _ms(span_ns: int) -> str:
    return f"{span_ns / 1e6:.1f} ms"
