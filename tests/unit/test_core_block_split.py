"""Refused blocks are halved, the lesson is kept by firmware, and a stubborn module cannot fill the wire."""

import pytest
from core_fixtures import MS, START_NS

from oht50d.core.block_split import ATTEMPT_EVERY_NS, MAX_LESSONS, LessonBook
from oht50d.core.unit_plan import plan_unit
from oht50d.model.registers import Access, DataType, ModuleKind, ModuleMap, PollClass, RegisterBlock, RegisterSpec

UNIT = 5
REGISTERS = tuple(
    RegisterSpec(address, f"r{address}", DataType.UINT16, 1, "", Access.RO, "d", poll=PollClass.SLOW)
    for address in range(30)
)
MAP = ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, UNIT, True, False, REGISTERS)


class Module:
    """Refuses reads that touch `bad` or are longer than `limit`; asked block by block until nothing changes."""

    def __init__(self, bad: set[int], limit: int = 40) -> None:
        self.bad = bad
        self.limit = limit
        self.book = LessonBook([UNIT])
        self.attempts: list[int] = []
        self.now_ns = START_NS

    def refuses(self, block: RegisterBlock) -> bool:
        return block.count > self.limit or not self.bad.isdisjoint(range(block.first, block.first + block.count))

    def blocks(self) -> tuple[RegisterBlock, ...]:
        return plan_unit(MAP, self.book.lesson(UNIT)).blocks

    def learn(self, rounds: int = 200) -> None:
        for _ in range(rounds):
            has_changed = False
            for block in self.blocks():
                if self.book.is_open(block):
                    self.now_ns = max(self.now_ns, self.book.next_attempt_ns(UNIT))
                if self.refuses(block):
                    self.attempts.append(self.now_ns)
                    has_changed = self.book.refuse(block, self.now_ns)
                    break
                if self.book.answer(block):
                    has_changed = True
                    break
            if not has_changed:
                return
        raise AssertionError("the search does not end")


@pytest.mark.parametrize("bad", [{0}, {29}, {13}, {3, 4, 17}, set(range(0, 30, 2)), set(range(30))])
def test_what_is_refused_is_found_register_by_register(bad: set[int]) -> None:
    module = Module(bad)
    module.learn()
    assert module.book.lesson(UNIT).refused == bad
    assert not any(module.refuses(block) for block in module.blocks())


def test_after_the_search_the_rest_is_read_in_one_piece_again() -> None:
    module = Module({13})
    module.learn()
    covered = sorted((block.first, block.count) for block in module.blocks())
    assert covered == [(0, 13), (14, 16)]


@pytest.mark.parametrize("limit", [1, 7, 16])
def test_a_limit_of_length_is_a_lesson_too(limit: int) -> None:
    module = Module(set(), limit)
    module.learn()
    assert module.book.lesson(UNIT).refused == frozenset()
    assert all(block.count <= limit for block in module.blocks())


def test_both_at_once() -> None:
    module = Module({2, 20}, 9)
    module.learn()
    assert module.book.lesson(UNIT).refused == {2, 20}
    assert not any(module.refuses(block) for block in module.blocks())


def test_ten_attempts_a_second_at_most() -> None:
    module = Module(set(range(30)))
    module.learn()
    for first, second in zip(module.attempts, module.attempts[1:], strict=False):
        assert second - first >= ATTEMPT_EVERY_NS
    assert len(module.attempts) < 2 * 30 + 40


def learned() -> LessonBook:
    book = LessonBook([UNIT])
    book.identify(UNIT, 5, "1.00")
    (block,) = plan_unit(ModuleMap(ModuleKind.DOCK, "t", "D", 5, UNIT, True, False, REGISTERS[:1])).blocks
    assert book.refuse(block, START_NS)
    return book


def test_another_firmware_is_asked_for_everything_and_the_old_one_is_remembered() -> None:
    book = learned()
    assert not book.identify(UNIT, 5, "1.00"), "the same again changes nothing"
    assert book.lesson(UNIT).refused == {0}
    assert book.identify(UNIT, 5, "2.00")
    assert book.lesson(UNIT).is_empty
    assert book.identify(UNIT, 5, "1.00")
    assert book.lesson(UNIT).refused == {0}


def test_on_request_everything_is_asked_for_again() -> None:
    book = learned()
    assert book.forget(UNIT)
    assert book.lesson(UNIT).is_empty
    assert not book.forget(UNIT)
    book.identify(UNIT, 5, "2.00")
    book.identify(UNIT, 5, "1.00")
    assert book.lesson(UNIT).is_empty


def test_what_was_learned_before_a_module_said_its_name_is_its_own() -> None:
    module = Module({13})
    module.learn()
    module.book.identify(UNIT, 5, "1.00")
    assert module.book.lesson(UNIT).refused == {13}
    module.book.identify(UNIT, 5, "2.00")
    assert module.book.identify(UNIT, 5, "1.00")


def test_the_book_is_bounded() -> None:
    book = learned()
    (block,) = plan_unit(ModuleMap(ModuleKind.DOCK, "t", "D", 5, UNIT, True, False, REGISTERS[:1])).blocks
    for number in range(MAX_LESSONS):
        book.identify(UNIT, 5, f"9.{number}")
        book.refuse(block, START_NS + number * MS)
    assert not book.lesson(UNIT).is_empty
    book.identify(UNIT, 5, "1.00")
    assert book.lesson(UNIT).is_empty, "the oldest is forgotten"
