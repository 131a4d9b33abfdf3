"""One frame as the line tells it to whoever watches: plain arguments, decoded only when read (no state)."""

import enum
from collections.abc import Callable

from oht50d.core.wire_slots import Purpose


class Way(enum.IntEnum):
    """Which way a frame went; OVERHEARD was sent by somebody else (listen-only), LINE is an event without bytes."""

    SENT = 0
    RECEIVED = 1
    OVERHEARD = 2
    LINE = 3


class Note(enum.IntEnum):
    """What a frame was, as far as the line could tell."""

    SENT = 0
    EARLY = 1
    VALID = 2
    EXCEPTION = 3
    CRC = 4
    MISMATCH = 5
    TIMEOUT = 6
    ABANDONED = 7
    UNEXPECTED = 8
    STALE = 9
    OPENED = 10
    CLOSED = 11
    REQUEST = 12
    REPLY = 13
    NOISE = 14


Observe = Callable[[int, Way, bytes, Note, Purpose | None], None]
"""(monotonic ns, way, octets, note, purpose of the exchange); must never raise and must not keep the caller waiting."""


def observe_nothing(_at_ns: int, _way: Way, _octets: bytes, _note: Note, _purpose: Purpose | None) -> None:
    """For those who do not watch."""
