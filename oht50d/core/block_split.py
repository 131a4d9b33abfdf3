"""What a module refuses to be asked: found by halving, remembered by unit, type and firmware (owner: poll slots; pure).

Exceptions 2 and 3 say that an address, or the length of a read, is not allowed (MODBUS Application Protocol V1.1b3,
section 7). A block that is refused is halved, down to single registers. When every register of it has been answered or
refused, the borders drawn on the way are taken away again if a register was to blame, for that one made every read
across it fail; if none was, the module has a limit of length and the borders are the lesson.
"""

from collections.abc import Iterable

from attrs import define, evolve, frozen

from oht50d.core.unit_plan import NO_LESSON, Lesson
from oht50d.model.registers import RegisterBlock

SPLIT_CODES = frozenset({2, 3})
ATTEMPT_EVERY_NS = 100_000_000
"""Between two attempts at what one unit has refused: ten a second, however stubborn it is."""
MAX_JOINS = 3
"""How often the borders of a search are taken away in one unit; then they stay, so that no search goes on for ever."""
MAX_LESSONS = 32
"""Firmware whose lesson is kept; the oldest is forgotten."""


@frozen
class Firmware:
    """Whom a lesson is about; None before it is known."""

    unit: int
    type_code: int | None = None
    revision: str | None = None


@define
class _Search:
    """What is known of one unit; `open` are the addresses of refused blocks that may be to blame."""

    firmware: Firmware
    lesson: Lesson = NO_LESSON
    open: frozenset[int] = frozenset()
    drawn: frozenset[int] = frozenset()
    is_register_to_blame: bool = False
    joins: int = 0
    next_attempt_ns: int = 0


class LessonBook:
    """The lesson of each unit and of firmware that was there before."""

    def __init__(self, units: Iterable[int]) -> None:
        self._searches = {unit: _Search(Firmware(unit)) for unit in units}
        self._shelf: dict[Firmware, Lesson] = {}

    def lesson(self, unit: int) -> Lesson:
        return self._searches[unit].lesson

    def next_attempt_ns(self, unit: int) -> int:
        """What was refused is not asked for again before this moment."""
        return self._searches[unit].next_attempt_ns

    def is_open(self, block: RegisterBlock) -> bool:
        """True if it is not known whether the unit answers all of this block."""
        return not self._searches[block.unit].open.isdisjoint(range(block.first, block.first + block.count))

    # Each of these returns True if the unit's blocks are other ones now.

    def refuse(self, block: RegisterBlock, now_ns: int) -> bool:
        """The unit has answered a read of this block with exception 2 or 3."""
        search = self._searches[block.unit]
        search.next_attempt_ns = max(now_ns, search.next_attempt_ns) + ATTEMPT_EVERY_NS
        covered = frozenset(range(block.first, block.first + block.count))
        if block.count == 1:
            search.lesson = evolve(search.lesson, refused=search.lesson.refused | covered)
            search.open -= covered
            search.is_register_to_blame = True
        else:
            border = block.first + (block.count + 1) // 2
            search.lesson = evolve(search.lesson, borders=search.lesson.borders | {border})
            search.open |= covered - search.lesson.refused
            search.drawn |= {border}
        self._end(search)
        return True

    def answer(self, block: RegisterBlock) -> bool:
        """The unit has answered this block with its words."""
        search = self._searches[block.unit]
        if not search.open:
            return False
        search.open -= frozenset(range(block.first, block.first + block.count))
        return self._end(search)

    def identify(self, unit: int, type_code: int, revision: str | None) -> bool:
        """The module has said who it is: another firmware is asked for everything, a known one keeps its lesson."""
        search = self._searches[unit]
        firmware = Firmware(unit, type_code, revision)
        if search.firmware == firmware:
            return False
        before = search.lesson
        if firmware in self._shelf:
            search = _Search(firmware, self._shelf[firmware])
        elif search.firmware.type_code is None:
            search.firmware = firmware  # what was learned on the way to its name was learned from it
        else:
            search = _Search(firmware)
        self._searches[unit] = search
        self._remember(search)
        return search.lesson != before

    def forget(self, unit: int) -> bool:
        """On request: this module is asked for everything again."""
        search = self._searches[unit]
        self._shelf.pop(search.firmware, None)
        self._searches[unit] = _Search(search.firmware)
        return not search.lesson.is_empty

    def _end(self, search: _Search) -> bool:
        """Once nothing is open any more: the borders go if a register was to blame; True if they went."""
        if search.open:
            return False
        is_joined = search.is_register_to_blame and bool(search.drawn) and search.joins < MAX_JOINS
        if is_joined:
            search.joins += 1
            search.lesson = evolve(search.lesson, borders=search.lesson.borders - search.drawn)
        search.drawn = frozenset()
        search.is_register_to_blame = False
        self._remember(search)
        return is_joined

    def _remember(self, search: _Search) -> None:
        if search.firmware.type_code is None or search.lesson.is_empty:
            return
        self._shelf.pop(search.firmware, None)
        self._shelf[search.firmware] = search.lesson
        while len(self._shelf) > MAX_LESSONS:
            del self._shelf[next(iter(self._shelf))]
