"""From a module's map to the blocks that are read: contiguous runs less what it refuses, of different lengths (pure).

Runs are the readable registers of one poll class without a gap, because a strict module refuses a read across one; they
are told apart as `shapes.py` describes. A vital run is cut only where the registers that come off are not judged at
every reading; those are then read with the auxiliary class.
"""

from collections.abc import Iterable, Iterator, Sequence, Set

from attrs import evolve, frozen

from oht50d.core.needed_roles import is_judged
from oht50d.core.poll_rates import RANKS, VITAL
from oht50d.core.shapes import MAX_CUT, MAX_REGISTERS, Span, Window, assign
from oht50d.model.registers import ModuleMap, PollClass, RegisterBlock, RegisterSpec

CUT_OFF_CLASS = PollClass.AUXILIARY


@frozen
class Lesson:
    """What a module has taught: registers that it refuses, addresses before which a read must end."""

    refused: frozenset[int] = frozenset()
    borders: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        return not self.refused and not self.borders


NO_LESSON = Lesson()


@frozen
class UnitPlan:
    """The blocks of one unit, the more critical first; reads of a length in `shared` cannot be told apart by it.

    `read_backs` are the windows for the registers that a stop reads back, in the order in which they were asked for.
    """

    blocks: tuple[RegisterBlock, ...]
    shared: frozenset[int]
    read_backs: tuple[Window, ...] = ()


@frozen
class _Part:
    """A span of one poll class, or what a stop reads back (`poll` is None)."""

    poll: PollClass | None
    span: Span

    @property
    def is_vital(self) -> bool:
        return self.poll in VITAL

    @property
    def rank(self) -> int:
        """A stop's read-backs come after the vital blocks and before all others."""
        rank = -1 if self.poll is None else RANKS[self.poll]
        return rank if not self.is_vital else rank - len(RANKS)


def plan_runs(module_map: ModuleMap, lesson: Lesson = NO_LESSON, max_registers: int = MAX_REGISTERS) -> list[Span]:
    """Contiguous runs of one poll class, ascending; `low` and `high` are the readable neighbourhood."""
    return [
        Span(run[0].address, run[-1].address, stretch[0].address, stretch[-1].address)
        for stretch in _stretches(module_map, lesson)
        for run in _runs(stretch, max_registers)
    ]


def plan_unit(
    module_map: ModuleMap,
    lesson: Lesson = NO_LESSON,
    taken: Set[int] = frozenset(),
    read_backs: Sequence[tuple[int, int]] = (),
) -> UnitPlan:
    """The blocks, and windows for `read_backs` (first and last address of each); lengths in `taken` are avoided."""
    spans = plan_runs(module_map, lesson)
    asked = [_Part(None, _around(first, last, module_map, lesson)) for first, last in read_backs]
    parts = [_Part(module_map.by_address[span.first].poll, span) for span in spans] + asked
    parts.sort(key=lambda part: part.rank)
    parts, lengths = _told_apart(parts, module_map, taken)
    chosen = [length or _least_bad(part, parts, lengths) for part, length in zip(parts, lengths, strict=True)]
    shared = {count for number, count in enumerate(chosen) if count in chosen[:number] or count in taken}
    planned = list(zip(parts, chosen, strict=True))
    return UnitPlan(
        blocks=tuple(_block(module_map, part, count) for part, count in planned if part.poll is not None),
        shared=frozenset(shared),
        read_backs=tuple(part.span.window(count) for part, count in planned if part.poll is None),
    )


# -- runs


def _stretches(module_map: ModuleMap, lesson: Lesson) -> Iterator[list[RegisterSpec]]:
    """Registers that may be read together, of whatever class."""
    stretch: list[RegisterSpec] = []
    for spec in module_map.registers:
        if not spec.is_readable or spec.poll is None or spec.address in lesson.refused:
            continue
        if stretch and (spec.address != stretch[-1].address + 1 or spec.address in lesson.borders):
            yield stretch
            stretch = []
        stretch.append(spec)
    if stretch:
        yield stretch


def _around(first: int, last: int, module_map: ModuleMap, lesson: Lesson) -> Span:
    """The neighbourhood of registers that a stop reads back, whether or not they are polled."""
    for stretch in _stretches(module_map, lesson):
        if stretch[0].address <= first and last <= stretch[-1].address:
            return Span(first, last, stretch[0].address, stretch[-1].address)
    return Span(first, last, first, last)


def _runs(stretch: Iterable[RegisterSpec], max_registers: int) -> Iterator[list[RegisterSpec]]:
    run: list[RegisterSpec] = []
    for spec in stretch:
        if run and (spec.poll is not run[-1].poll or len(run) == max_registers):
            yield run
            run = []
        run.append(spec)
    if run:
        yield run


# -- lengths


def _told_apart(
    parts: Sequence[_Part], module_map: ModuleMap, taken: Set[int]
) -> tuple[list[_Part], list[int | None]]:  # fmt: skip
    """As many lengths of their own as possible; who has none is cut in two if both halves get one by that."""
    parts = list(parts)
    lengths = _lengths(parts, taken)
    for part in [part for part, length in zip(parts, lengths, strict=True) if length is None]:
        if part.poll is None:
            continue
        for halves in _cuts(part, module_map):
            place = parts.index(part)
            tried = [*parts[:place], *halves, *parts[place + 1 :]]
            found = _lengths(tried, taken)
            if found.count(None) < lengths.count(None):
                parts, lengths = tried, found
                break
    return parts, lengths


def _lengths(parts: Sequence[_Part], taken: Set[int]) -> list[int | None]:
    return assign([part.span for part in parts], taken)


def _cuts(part: _Part, module_map: ModuleMap) -> Iterator[tuple[_Part, _Part]]:
    """Ways to cut a part in two, the cheapest first: a vital one where nothing that is judged comes off."""
    costly = []
    for registers in range(1, min(MAX_CUT, part.span.count - 1) + 1):
        for is_low_end in (False, True):
            rest, off = part.span.cut(registers, is_low_end=is_low_end)
            halves = evolve(part, span=rest), evolve(part, span=off)
            is_off_judged = any(is_judged(module_map.by_address[a].role) for a in range(off.first, off.last + 1))
            if not part.is_vital:
                yield halves
            elif is_off_judged:
                costly.append(halves)
            else:
                yield halves[0], _Part(CUT_OFF_CLASS, off)
    yield from costly


def _least_bad(part: _Part, parts: Sequence[_Part], lengths: Sequence[int | None]) -> int:
    """A length that it must share: with no vital part if that is possible, and with as few others as possible."""
    others = [(other, length) for other, length in zip(parts, lengths, strict=True) if other is not part]

    def price(count: int) -> tuple[int, int, int]:
        vital = sum(length == count for other, length in others if other.is_vital or part.is_vital)
        return vital, sum(length == count for _, length in others), count

    return min(part.span.lengths(), key=price)


def _block(module_map: ModuleMap, part: _Part, count: int) -> RegisterBlock:
    assert part.poll is not None, "only polled registers make a block"
    window = part.span.window(count)
    specs = tuple(module_map.by_address[window.first + offset] for offset in range(count))
    return RegisterBlock(module_map.address, module_map.kind, part.poll, window.first, specs)
