"""Who may do what on the local socket (pure; no state). Source: DECISIONS, roles: root is admin, a member of the
technicians' group may read and stop, STOP needs no login; anything more needs a user and a login elsewhere."""

import enum

from attrs import frozen


@frozen
class Peer:
    """The process at the other end, as the kernel names it; `groups` includes `gid` and the supplementary groups."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]


class LocalRight(enum.Enum):
    """What an operation of the local socket needs."""

    STOP = "stop"
    READ = "read"
    ADMINISTER = "administer"


ROOT_UID = 0


def rights_of(peer: Peer, technicians_gid: int | None) -> frozenset[LocalRight]:
    """The rights of a peer; without a technicians' group only root has more than STOP."""
    if peer.uid == ROOT_UID:
        return frozenset(LocalRight)
    if technicians_gid is not None and technicians_gid in peer.groups:
        return frozenset({LocalRight.STOP, LocalRight.READ})
    return frozenset({LocalRight.STOP})
