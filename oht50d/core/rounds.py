"""Whose turn it is beside the vital blocks when these alone could fill the wire (owner: wire schedule; pure).

In each round of vital exchanges, right after the safety module, one motion write and one other exchange may go before
vital blocks that are due; further writes only before those that are in time. So between two readings of one vital block
there are no more of them than `admission.py` counts (ADR 0015).
"""

from collections import deque

from attrs import frozen

from oht50d.core.admission import MAX_WRITES
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.registers import PollClass


@frozen
class Round:
    """The round as it is now: vital blocks that can be asked for, whether the safety module's is one of them, and
    whether the one that waits must not wait for further writes."""

    length: int
    has_safety: bool
    is_pressing: bool


class Rounds:
    """Counts vital exchanges; keeps at which count the newest motion writes and the last other exchange went out."""

    def __init__(self) -> None:
        self._vital = 0
        self._writes: deque[int] = deque([0], maxlen=MAX_WRITES)
        self._other = 0
        self._is_after_safety = False

    def note_vital(self, slot: Slot) -> None:
        """A vital block had its turn; a fence's read in its place is no exchange of the round."""
        if slot.purpose is Purpose.POLL and slot.block is not None:
            self._vital += 1
            self._is_after_safety = slot.block.poll is PollClass.SAFETY

    def note_write(self) -> None:
        """A motion write had its turn, or a fence's read in its place."""
        self._writes.append(self._vital)

    def note_other(self) -> None:
        """Anything else had its turn that is no stop, or a fence's read in its place."""
        self._other = self._vital

    def is_writes_turn(self, now: Round, writes_per_round: int) -> bool:
        """True if a motion write may go before a vital block that is due."""
        allowed = min(writes_per_round, MAX_WRITES)
        is_further_allowed = len(self._writes) < allowed or self._vital - self._writes[-allowed] >= now.length
        return self._has_turn(self._writes[-1], now) or (is_further_allowed and not now.is_pressing)

    def is_others_turn(self, now: Round) -> bool:
        """True if any other exchange may go before a vital block that is due."""
        return self._has_turn(self._other, now)

    def _has_turn(self, last: int, now: Round) -> bool:
        return self._vital - last >= now.length and (self._is_after_safety or not now.has_safety)
