"""Turns beside the vital blocks: no more motion writes and other exchanges in a round than admission counts."""

from core_fixtures import SHIPPED

from oht50d.core.poll_plan import plan_blocks
from oht50d.core.poll_rates import VITAL
from oht50d.core.rounds import Round, Rounds
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.registers import PollClass

VITAL_BLOCKS = [
    block for name in ("safety", "travel_motor", "dock") for block in plan_blocks(SHIPPED[name]) if block.poll in VITAL
]
LENGTH = len(VITAL_BLOCKS)


def vital(rounds: Rounds, number: int) -> None:
    block = VITAL_BLOCKS[number % LENGTH]
    rounds.note_vital(Slot(block.request, Purpose.POLL, 1, block=block))


def present(*, is_pressing: bool = True, has_safety: bool = True) -> Round:
    return Round(LENGTH, has_safety, is_pressing)


def test_the_safety_block_comes_first_in_these_tests() -> None:
    assert VITAL_BLOCKS[0].poll is PollClass.SAFETY
    assert LENGTH == 4


def test_a_full_wire_gives_one_write_and_one_other_exchange_a_round_after_the_safety_module() -> None:
    rounds, writes, others = Rounds(), [], []
    for number in range(10 * LENGTH):
        vital(rounds, number)
        if rounds.is_writes_turn(present(), 1):
            rounds.note_write()
            writes.append(number)
        if rounds.is_others_turn(present()):
            rounds.note_other()
            others.append(number)
    assert writes == others
    assert all(number % LENGTH == 0 for number in writes)
    assert len(writes) == 9


def test_without_a_safety_module_the_turn_comes_all_the_same() -> None:
    rounds = Rounds()
    for number in range(1, LENGTH + 1):
        vital(rounds, number)
        if number < LENGTH:
            assert not rounds.is_others_turn(present(has_safety=False))
    assert rounds.is_others_turn(present(has_safety=False))


def test_further_writes_go_before_vital_blocks_that_are_in_time_and_never_more_than_allowed() -> None:
    rounds = Rounds()
    for number in range(LENGTH):
        vital(rounds, number)
    count = 0
    while rounds.is_writes_turn(present(is_pressing=False), 3):
        rounds.note_write()
        count += 1
    assert count == 3
    assert not rounds.is_writes_turn(present(is_pressing=True), 3)


def test_a_read_of_the_fence_in_place_of_a_vital_block_is_no_vital_exchange() -> None:
    rounds = Rounds()
    for _ in range(5 * LENGTH):
        rounds.note_vital(Slot(VITAL_BLOCKS[0].request, Purpose.FENCE, 1))
    assert not rounds.is_others_turn(present(has_safety=False))
