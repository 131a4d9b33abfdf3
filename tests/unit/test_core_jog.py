"""The jog lease: hold to run, aged by the server, lost until the button was released."""

from core_fixtures import FORWARD, MS, REVERSE, START_NS

from oht50d.core.jog import JogLease, LeaseState
from oht50d.core.safety_config import JogConfig

T = START_NS


def pressed() -> JogLease:
    lease = JogLease(JogConfig())
    assert lease.press("ann", FORWARD, T)
    return lease


def held() -> JogLease:
    """Pressed, and the first nonce is echoed."""
    lease = pressed()
    assert lease.nonce is not None
    assert lease.renew("ann", lease.nonce, T)
    return lease


def test_nobody_asks_for_anything_at_first() -> None:
    lease = JogLease(JogConfig())
    assert (lease.state, lease.holder, lease.nonce, lease.demand(T), lease.presses) == (
        LeaseState.RELEASED, None, None, None, 0,
    )  # fmt: skip


def test_a_press_moves_nothing_before_its_first_echo() -> None:
    lease = pressed()
    assert (lease.demand(T + 20 * MS), lease.state) == (None, LeaseState.HELD)
    assert lease.nonce is not None
    assert lease.renew("ann", lease.nonce, T + 20 * MS)
    assert lease.demand(T + 20 * MS) == FORWARD


def test_a_new_press_waits_for_its_own_echo() -> None:
    lease = held()
    assert lease.release("ann")
    assert lease.press("ann", FORWARD, T + 50 * MS)
    assert lease.demand(T + 60 * MS) is None


def test_a_press_that_is_never_echoed_is_lost_after_180_ms() -> None:
    lease = pressed()
    lease.tick(T + 180 * MS)
    assert (lease.state, lease.demand(T + 180 * MS)) == (LeaseState.LOST, None)


def test_without_another_echo_the_lease_ends_after_180_ms() -> None:
    lease = held()
    assert lease.demand(T + 180 * MS - 1) == FORWARD
    assert lease.demand(T + 180 * MS) is None
    assert (lease.state, lease.nonce) == (LeaseState.LOST, None)


def test_an_echo_extends_to_180_ms_after_the_issue_of_its_nonce_not_after_the_echo() -> None:
    lease = held()
    lease.tick(T + 100 * MS)
    newest = lease.nonce
    assert newest is not None
    assert lease.renew("ann", newest, T + 170 * MS)
    assert lease.demand(T + 280 * MS - 1) == FORWARD
    assert lease.demand(T + 280 * MS) is None


def test_a_nonce_is_issued_each_100_ms() -> None:
    lease = held()
    first = lease.nonce
    lease.tick(T + 100 * MS - 1)
    assert lease.nonce == first
    lease.tick(T + 100 * MS)
    assert lease.nonce != first


def test_old_nonces_strangers_and_late_echoes_extend_nothing() -> None:
    lease = held()
    old = lease.nonce
    assert old is not None
    lease.tick(T + 100 * MS)
    newest = lease.nonce
    assert newest is not None
    assert not lease.renew("ann", old, T + 101 * MS)
    assert not lease.renew("bob", newest, T + 101 * MS)
    assert not lease.renew("ann", newest + 1, T + 101 * MS)
    assert lease.demand(T + 180 * MS) is None
    assert not lease.renew("ann", newest, T + 181 * MS)


def test_a_lost_lease_needs_a_release_and_a_new_press() -> None:
    lease = held()
    lease.lose()
    assert lease.state is LeaseState.LOST
    assert not lease.press("ann", FORWARD, T + 1)
    assert not lease.release("bob")
    assert lease.release("ann")
    assert lease.press("ann", REVERSE, T + 2)
    assert lease.nonce is not None
    assert lease.renew("ann", lease.nonce, T + 2)
    assert (lease.demand(T + 2), lease.presses) == (REVERSE, 2)


def test_only_the_holder_releases_and_only_once() -> None:
    lease = held()
    assert not lease.release("bob")
    assert lease.demand(T) == FORWARD
    assert lease.release("ann")
    assert not lease.release("ann")
    assert (lease.state, lease.holder, lease.demand(T)) == (LeaseState.RELEASED, None, None)


def test_a_second_press_while_held_is_refused() -> None:
    lease = held()
    assert not lease.press("bob", REVERSE, T + 1)
    assert (lease.holder, lease.demand(T + 1), lease.presses) == ("ann", FORWARD, 1)


def test_losing_what_nobody_holds_changes_nothing() -> None:
    lease = JogLease(JogConfig())
    lease.lose()
    assert lease.state is LeaseState.RELEASED
