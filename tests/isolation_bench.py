"""Modules that fall silent on a line of memory: what that does to the polls of the others, in figures."""

import itertools
import math
from collections.abc import Callable, Iterable

import trio
from attrs import define, field
from bus_fakes import MS, SAFETY, SILENCE_NS, Bench, make_bench

from oht50d.clock import now_ns
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import ExchangeResult
from oht50d.model.registers import RegisterBlock

S = 1_000_000_000
PAIRS = [frozenset(dead) for count in (1, 2) for dead in itertools.combinations((2, 3, 4, 5), count)]
WARM_S = 20.0
"""Long enough for every module's turnaround to be known, and for what the start has raised to be over."""


def p99(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[math.ceil(0.99 * len(ordered)) - 1] if ordered else 0.0


@define(slots=False)
class Figures:
    """Everything that went over the wire since the silence began."""

    dead: frozenset[int]
    began_ns: int
    ended_ns: int
    exchanges: list[tuple[Slot, ExchangeResult]] = field(factory=list)
    period_of: Callable[[RegisterBlock], int] = field(default=lambda _block: 0)

    def polls(self) -> dict[tuple[int, int, int], list[int]]:
        """When each block of the others was asked for."""
        found: dict[tuple[int, int, int], list[int]] = {}
        for slot, result in self.exchanges:
            block = slot.block
            if block is not None and slot.purpose is Purpose.POLL and block.unit not in self.dead:
                found.setdefault((block.unit, block.first, block.count), []).append(result.sent_ns)
        return found

    def jitter_ms(self) -> list[float]:
        """How far each interval between two polls of one block is from its period."""
        periods = {
            (slot.block.unit, slot.block.first, slot.block.count): self.period_of(slot.block)
            for slot, _ in self.exchanges
            if slot.block is not None
        }
        return [
            abs(later - before - periods[place]) / MS
            for place, times in self.polls().items()
            for before, later in itertools.pairwise(times)
        ]

    def dead_share(self, since_ns: int = 0) -> float:
        """The share of the wire that exchanges with the dead take, the silence after each included."""
        taken = sum(
            result.ended_ns + SILENCE_NS - result.sent_ns
            for slot, result in self.exchanges
            if slot.request.unit in self.dead and result.sent_ns >= since_ns
        )
        return taken / (self.ended_ns - max(since_ns, self.began_ns))

    def longest_probe_ms(self) -> float:
        """The longest exchange with a module that was dead already."""
        return max(
            (
                (result.ended_ns + SILENCE_NS - result.sent_ns) / MS
                for slot, result in self.exchanges
                if slot.request.unit in self.dead
                and slot.purpose in (Purpose.IDENTIFY, Purpose.FENCE)
                and result.sent_ns > self.began_ns + S
            ),
            default=0.0,
        )

    def safety_gap_ms(self) -> float:
        """The longest time between two valid replies of the safety module's block."""
        received = [
            result.ended_ns
            for slot, result in self.exchanges
            if slot.block is not None and slot.purpose is Purpose.POLL and slot.block.unit == SAFETY
            and slot.block.first == 0 and result.is_valid
        ]  # fmt: skip
        return max((later - before for before, later in itertools.pairwise(received)), default=0) / MS

    def line(self) -> str:
        """One row of a table."""
        names = "+".join(f"{unit:#04x}" for unit in sorted(self.dead)) or "none"
        return (
            f"{names:<10} jitter p99 {p99(self.jitter_ms()):5.1f} ms, safety gap {self.safety_gap_ms():6.1f} ms,"
            f" dead share {self.dead_share():.2%}, longest probe {self.longest_probe_ms():.1f} ms,"
            f" {len(self.exchanges)} exchanges"
        )


async def silenced(
    dead: frozenset[int], seconds: float, *, is_moving: bool = False, bench: Bench | None = None
) -> Figures:
    """Run until all is known, then silence `dead` for so long."""
    bench = make_bench() if bench is None else bench
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.bus.run)
        await bench.settle()
        await _pass(bench, WARM_S, is_moving=is_moving)
        figures = Figures(dead, now_ns(), now_ns() + round(seconds * S))
        periods = bench.schedule.polls.admission.now(is_moving=is_moving).periods
        figures.period_of = lambda block: periods[block.poll]
        bench.on_exchange = lambda slot, result: figures.exchanges.append((slot, result))
        bench.rules.append(lambda request, _: [] if request.unit in dead else None)
        await _pass(bench, seconds, is_moving=is_moving)
        nursery.cancel_scope.cancel()
    return figures


async def _pass(bench: Bench, seconds: float, *, is_moving: bool) -> None:
    """Let time pass; while moving permits come as from a guardian."""
    ends_ns = now_ns() + round(seconds * S)
    while now_ns() < ends_ns:
        if is_moving:
            bench.grant()
        await trio.sleep(0.05)
