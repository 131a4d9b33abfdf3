"""The latch: first time counts, repeats are folded, only `clear` opens it."""

from core_fixtures import START_NS, cause

from oht50d.core.latch import Latch
from oht50d.model.motion import CauseCode

C = CauseCode


def test_a_new_latch_is_open() -> None:
    latch = Latch()
    assert (latch.is_tripped, latch.causes, latch.is_person_related, latch.trips) == (False, (), False, 0)


def test_a_repeat_keeps_the_first_time_and_is_counted() -> None:
    latch = Latch()
    assert latch.trip(cause(C.OPERATOR_STOP, START_NS))
    assert not latch.trip(cause(C.OPERATOR_STOP, START_NS + 5))
    assert not latch.trip(cause(C.OPERATOR_STOP, START_NS + 6))
    assert latch.causes == (cause(C.OPERATOR_STOP, START_NS),)
    assert (latch.repeats(C.OPERATOR_STOP), latch.repeats(C.BOOT), latch.trips) == (2, 0, 3)


def test_causes_come_most_severe_first_and_one_person_related_cause_is_enough() -> None:
    latch = Latch()
    latch.trip(cause(C.BOOT))
    assert not latch.is_person_related
    latch.trip(cause(C.CHAIN_OPEN))
    assert [held.code for held in latch.causes] == [C.CHAIN_OPEN, C.BOOT]
    assert latch.is_person_related


def test_clear_returns_what_was_held_and_keeps_counting_trips() -> None:
    latch = Latch()
    latch.trip(cause(C.BOOT))
    latch.trip(cause(C.BOOT))
    assert latch.clear() == (cause(C.BOOT),)
    assert (latch.is_tripped, latch.repeats(C.BOOT), latch.trips) == (False, 0, 2)
