"""One holder of authority at a time; every claim names boot and epoch."""

import pytest
from core_fixtures import START_NS

from oht50d.core.authority import AuthorityDesk
from oht50d.model.errors import CommandRejected


def desk() -> AuthorityDesk:
    return AuthorityDesk("boot-1")


def test_nobody_holds_it_at_first() -> None:
    current = desk().current
    assert (current.boot_id, current.epoch, current.holder, current.since_ns) == ("boot-1", 1, None, None)


def test_every_change_counts_the_epoch_up() -> None:
    authority = desk()
    authority.take("ann", START_NS, is_at_rest=True)
    assert (authority.current.epoch, authority.holder, authority.current.since_ns) == (2, "ann", START_NS)
    authority.take("ann", START_NS + 1, is_at_rest=False)
    authority.drop()
    assert (authority.current.epoch, authority.holder, authority.current.since_ns) == (4, None, None)


@pytest.mark.parametrize(
    ("boot_id", "epoch", "field"), [("boot-0", 1, "boot_id"), ("boot-1", 0, "epoch"), ("boot-1", 2, "epoch")]
)
def test_a_claim_of_another_boot_or_epoch_is_a_conflict(boot_id: str, epoch: int, field: str) -> None:
    with pytest.raises(CommandRejected) as refusal:
        desk().check(boot_id, epoch)
    assert (refusal.value.code, refusal.value.details["field"]) == ("CONFLICT", field)


def test_a_true_claim_passes() -> None:
    desk().check("boot-1", 1)


def test_taking_over_needs_standstill_and_names_the_holder() -> None:
    authority = desk()
    authority.take("ann", START_NS, is_at_rest=False)
    with pytest.raises(CommandRejected) as refusal:
        authority.take("bob", START_NS, is_at_rest=False)
    assert (refusal.value.code, refusal.value.details["holder"], authority.holder) == ("ROBOT_BUSY", "ann", "ann")
    authority.take("bob", START_NS, is_at_rest=True)
    assert authority.holder == "bob"


def test_commands_of_others_are_refused() -> None:
    authority = desk()
    with pytest.raises(CommandRejected, match="nobody"):
        authority.require("ann")
    authority.take("ann", START_NS, is_at_rest=True)
    authority.require("ann")
    with pytest.raises(CommandRejected, match="ann"):
        authority.require("bob")
