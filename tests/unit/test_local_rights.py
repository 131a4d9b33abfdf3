"""Who may do what on the local socket."""

import pytest

from oht50d.core.local_rights import LocalRight, Peer, rights_of

EVERYTHING = frozenset(LocalRight)
STOP_ONLY = frozenset({LocalRight.STOP})


@pytest.mark.parametrize(
    ("uid", "groups", "technicians_gid", "expected"),
    [
        (0, {0}, 900, EVERYTHING),
        (0, {0}, None, EVERYTHING),
        (1000, {1000, 900}, 900, frozenset({LocalRight.STOP, LocalRight.READ})),
        (1000, {1000}, 900, STOP_ONLY),
        (1000, {1000, 900}, None, STOP_ONLY),
        (1000, {0}, 900, STOP_ONLY),
    ],
)
def test_rights(uid: int, groups: set[int], technicians_gid: int | None, expected: frozenset[LocalRight]) -> None:
    assert rights_of(Peer(1, uid, uid, frozenset(groups)), technicians_gid) == expected
