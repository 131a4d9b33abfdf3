"""The newest reading of every role."""

from attrs import evolve
from core_fixtures import SHIPPED, START_NS

from oht50d.codec.registers import decode_block
from oht50d.core.poll_plan import plan_blocks
from oht50d.core.role_table import RoleTable
from oht50d.model.registers import BlockReadings, PollClass


def safety_block(*words: int, at_ns: int = START_NS) -> BlockReadings:
    block = next(b for b in plan_blocks(SHIPPED["safety"]) if b.poll is PollClass.SAFETY)
    return decode_block(block, words, requested_ns=at_ns - 5, received_ns=at_ns)


def test_a_reply_carries_its_roles() -> None:
    roles = RoleTable()
    carried = roles.apply(safety_block(1, 1, 0, 0, 0, 7, 250, 240))
    assert carried == ("safety.status", "chain.open", "safety.zone", "safety.proximity", "safety.error")
    chain = roles.get("chain.open")
    assert chain is not None
    assert (chain.raw, chain.requested_ns, chain.received_ns, chain.is_usable) == (1, START_NS - 5, START_NS, True)
    assert chain.age_ns(START_NS + 7) == 7
    assert roles.number("safety.error") == 7.0


def test_a_later_reply_replaces_the_reading() -> None:
    roles = RoleTable()
    roles.apply(safety_block(0, 1, 0, 0, 0, 0, 0, 0))
    roles.apply(safety_block(0, 0, 0, 0, 0, 0, 0, 0, at_ns=START_NS + 9))
    chain = roles.get("chain.open")
    assert chain is not None
    assert (chain.raw, chain.received_ns) == (0, START_NS + 9)


def test_what_is_out_of_range_a_text_or_unknown_is_no_number() -> None:
    roles = RoleTable()
    roles.apply(safety_block(0, 200, 0, 0, 0, 0, 0, 0))
    chain = roles.get("chain.open")
    assert chain is not None
    assert not chain.is_usable
    assert roles.number("chain.open") is None
    assert roles.number("safety.status") is None, "an enum is a text"
    assert roles.get("velocity.x") is None
    assert roles.number("velocity.x") is None


def test_dirt_in_the_high_byte_of_an_eight_bit_register_is_no_value() -> None:
    roles = RoleTable()
    roles.apply(safety_block(0, 0xA500, 0, 0, 0, 0x0105, 0, 0))
    chain, error = roles.get("chain.open"), roles.get("safety.error")
    assert chain is not None
    assert error is not None
    assert (chain.raw, chain.is_usable, error.raw) == (0, True, 0x0105)


def test_a_reading_that_was_taken_stays_as_it_was() -> None:
    roles = RoleTable()
    roles.apply(safety_block(0, 1, 0, 0, 0, 0, 0, 0))
    before = roles.get("chain.open")
    roles.apply(safety_block(0, 0, 0, 0, 0, 0, 0, 0, at_ns=START_NS + 9))
    assert before is not None
    assert (before.raw, before.received_ns) == (1, START_NS)


def test_of_two_blocks_with_one_role_the_later_reply_counts() -> None:
    roles = RoleTable()
    block = next(b for b in plan_blocks(SHIPPED["safety"]) if b.poll is PollClass.SAFETY)
    twin = evolve(block, unit=0x0E, first=block.first + 1, specs=block.specs[1:])
    roles.apply(safety_block(0, 1, 0, 0, 0, 0, 0, 0))
    roles.apply(decode_block(twin, (0, 0, 0, 0, 0, 0, 0), requested_ns=START_NS, received_ns=START_NS + 9))
    chain, status = roles.get("chain.open"), roles.get("safety.status")
    assert chain is not None
    assert status is not None
    assert (chain.raw, chain.received_ns) == (0, START_NS + 9)
    assert status.received_ns == START_NS, "the twin does not carry it"
