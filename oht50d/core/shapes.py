"""Reads of one unit that cannot be taken for each other: no two have the same length (pure, no state).

A reply carries unit, function and length and nothing else, so a late or repeated one can pass for the reply to another
read of the same length (MODBUS Application Protocol V1.1b3, 6.3). Lengths are told apart by reading readable neighbours
too, or by cutting a run in two. Who goes without is told: the fence stands alone there.
"""

from collections.abc import Sequence, Set

from attrs import frozen

MAX_REGISTERS = 40
"""SAFETY.md, Stopping: a stop may have to wait behind a poll."""
MAX_CUT = 8
"""Registers that are cut off at most to make a length free."""


@frozen
class Span:
    """Registers `first` to `last` that one read must bring; `low` to `high` are readable together with them."""

    first: int
    last: int
    low: int
    high: int

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def lengths(self) -> range:
        """Every length that a read of it can have, the shortest first."""
        return range(self.count, min(MAX_REGISTERS, self.high - self.low + 1) + 1)

    def window(self, count: int) -> "Window":
        """The read of `count` registers: upwards first, then downwards."""
        first = min(self.first, self.high - count + 1)
        return Window(first, count)

    def cut(self, registers: int, *, is_low_end: bool) -> "tuple[Span, Span]":
        """What stays and what was cut off at one end; both may still read each other's registers as neighbours."""
        if is_low_end:
            border = self.first + registers
            return Span(border, self.last, self.low, self.high), Span(self.first, border - 1, self.low, self.high)
        border = self.last - registers
        return Span(self.first, border, self.low, self.high), Span(border + 1, self.last, self.low, self.high)


@frozen
class Window:
    """What one read asks for."""

    first: int
    count: int


def assign(spans: Sequence[Span], taken: Set[int] = frozenset()) -> list[int | None]:
    """A length of its own for as many spans as possible; None for the others.

    Maximum matching by augmenting paths (Kuhn 1955; Hopcroft and Karp 1973, section 1): a span that has a length keeps
    one, so earlier spans come first; the shortest free length is tried first.
    """
    owners: dict[int, int] = {}
    for number in range(len(spans)):
        _augment(spans, taken, number, owners, set())
    lengths: list[int | None] = [None] * len(spans)
    for length, number in owners.items():
        lengths[number] = length
    return lengths


def _augment(
    spans: Sequence[Span], taken: Set[int], number: int, owners: dict[int, int], tried: set[int]
) -> bool:  # fmt: skip
    options = [length for length in spans[number].lengths() if length not in taken and length not in tried]
    for length in options:
        if length not in owners:
            owners[length] = number
            return True
    for length in options:
        if length not in tried:
            tried.add(length)
            if _augment(spans, taken, owners[length], owners, tried):
                owners[length] = number
                return True
    return False
