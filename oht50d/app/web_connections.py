"""The open connections of one listener (owner: `ConnectionTable`, one per start of the web server).

A new connection is always taken: it may carry STOP. Above the bounds an old one is ended for it.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Protocol

from oht50d.web.app_config import WebConfig

_BESIDE_WEBSOCKETS = 192
_BESIDE_WEBSOCKETS_PER_ADDRESS = 64


class Member(Protocol):
    """What the table wants to know of a connection, and what it does to one."""

    @property
    def address(self) -> str:
        """The client's address."""

    @property
    def is_idle(self) -> bool:
        """No complete request is in flight."""

    @property
    def is_websocket(self) -> bool:
        """A WebSocket or about to be one."""

    def end(self) -> None:
        """Give the descriptor back at once."""


class ConnectionTable:
    """All open connections, oldest first; the numbers leave room for every WebSocket that `WebConfig` allows."""

    def __init__(self, config: WebConfig) -> None:
        self.most = config.ws_clients + _BESIDE_WEBSOCKETS
        self.most_per_address = config.ws_clients + _BESIDE_WEBSOCKETS_PER_ADDRESS
        self._members: dict[Member, None] = {}

    def enter(self, newcomer: Member) -> None:
        """Count `newcomer`, and end an old connection if there is no room."""
        neighbours = [member for member in self._members if member.address == newcomer.address]
        if len(neighbours) >= self.most_per_address:
            self._end_one(neighbours)
        elif len(self._members) >= self.most:
            self._end_one(self._members)
        self._members[newcomer] = None

    def leave(self, member: Member) -> None:
        """Its descriptor is given back."""
        self._members.pop(member, None)

    def mark_used(self, member: Member) -> None:
        """It has just had an answer: of all idle ones it is now the youngest."""
        if member in self._members:
            del self._members[member]
            self._members[member] = None

    def _end_one(self, candidates: Iterable[Member]) -> None:
        victim = _victim(list(candidates))
        self.leave(victim)
        victim.end()


def _victim(candidates: list[Member]) -> Member:
    """The oldest idle one of the address that holds the most, else the oldest request, else the oldest WebSocket."""
    held = Counter(member.address for member in candidates)
    idle = [member for member in candidates if member.is_idle]
    if idle:
        return max(idle, key=lambda member: held[member.address])  # the first of equals: the oldest
    return next((member for member in candidates if not member.is_websocket), candidates[0])
