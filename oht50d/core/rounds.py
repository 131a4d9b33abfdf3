"""Whose turn it is beside the vital blocks when these alone could fill the wire (owner: wire schedule; pure).

Within each round of vital exchanges some motion writes and one other exchange may go before a vital block that is due.
So between two readings of one vital block there are no more of them: `admission.py` builds on that (ADR 0015).
"""

from collections import deque

from oht50d.core.admission import MAX_WRITES
from oht50d.core.poll_rates import VITAL
from oht50d.core.wire_slots import Purpose, Slot


class Rounds:
    """Counts vital exchanges; keeps at which count the newest motion writes and the last other exchange went out."""

    def __init__(self) -> None:
        self._vital = 0
        self._writes: deque[int] = deque(maxlen=MAX_WRITES)
        self._other = 0

    def note(self, slot: Slot) -> None:
        """This slot goes out."""
        match slot.purpose:
            case Purpose.STOP | Purpose.FENCE:
                pass  # a stop is not bounded by turns, and a fence's read belongs to what follows it
            case Purpose.MOTION:
                self._writes.append(self._vital)
            case _ if slot.purpose is Purpose.POLL and slot.block is not None and slot.block.poll in VITAL:
                self._vital += 1
            case _:
                self._other = self._vital

    def is_writes_turn(self, round_length: int, writes_per_round: int) -> bool:
        """True if a round has passed since the write that was so many writes ago."""
        allowed = min(writes_per_round, MAX_WRITES)
        return len(self._writes) < allowed or self._vital - self._writes[-allowed] >= round_length

    def is_others_turn(self, round_length: int) -> bool:
        """True if a round has passed since anything else went out."""
        return self._vital - self._other >= round_length
