"""The two wires of the simulated bus: who is on them until when, and what is handed to the master when (owns the line).

A pty is instant, so time is accounted: bytes are handed over when the last of them would have been in. A frame of the
master's takes its characters from its arrival, or from when the line became free. Source of the silence between frames:
MODBUS over Serial Line V1.02, section 2.5.1.1.
"""

import heapq
import random
import time

from attrs import evolve, frozen

from oht50d.codec.rtu import crc16
from oht50d.sim.line_settings import HIGHEST_BAUD, LOWEST_BAUD, LineSettings, Parity
from oht50d.sim.pseudo_terminal import PseudoTerminal
from oht50d.sim.trace import Counters, Trace

EARLY_WAKE_NS = 150_000
MAX_PENDING = 64
REPLY = "reply"
ECHO = "echo"
NOISE = "noise"
FOREIGN_REQUEST = "foreign_request"
FOREIGN_REPLY = "foreign_reply"
_FOREIGN = (FOREIGN_REQUEST, FOREIGN_REPLY)
COLLISION = "collision"


@frozen(kw_only=True)
class Emission:
    """Bytes that somebody puts on the line without a gap; `notes` say what is odd about them.

    `is_reply` counts as a reply of `unit`; one that does not hold the line lets others talk before and meanwhile.
    """

    octets: bytes
    begins_ns: int
    way: str = REPLY
    unit: int | None = None
    notes: tuple[str, ...] = ()
    is_reply: bool = True
    holds_line: bool = True


@frozen(order=True)
class _Delivery:
    """Bytes that are due at the master; ordered by time, then by arrival."""

    due_ns: int
    number: int
    begins_ns: int
    emission: Emission
    octets: bytes
    is_last: bool


class Wire:
    """`chance` makes the garbage where two talk at once; `pieces` is into how many parts the adapter cuts a reply."""

    def __init__(self, terminal: PseudoTerminal, settings: LineSettings, pieces: int, chance: random.Random) -> None:
        self.terminal = terminal
        self.counters = Counters()
        self.trace = Trace()
        self.line = settings
        self.character_ns = settings.character_ns
        self.silence_ns = settings.silence_ns
        self._pieces = pieces
        self._chance = chance
        self._pending: list[_Delivery] = []
        self._number = 0
        self._free_ns = 0
        self._request_ends_ns = 0
        self._last_reply_ns = 0
        self._foreign_ends_ns = 0
        self._set: tuple[int, bool] = (settings.baud, False)

    def tune(self) -> None:
        """Take over the speed and the parity that the master has set."""
        found = self.terminal.settings()
        if found != self._set:
            self._set = found
            baud, is_odd = found
            known = min(max(baud, LOWEST_BAUD), HIGHEST_BAUD)
            self.line = LineSettings(known, Parity.ODD if is_odd else Parity.NONE)
            self.character_ns, self.silence_ns = self.line.character_ns, self.line.silence_ns

    # -- the master's side

    def backlog_ns(self, now_ns: int) -> int:
        """How far the line is taken beyond `now_ns`."""
        return self._free_ns - now_ns

    @property
    def is_full(self) -> bool:
        return len(self._pending) >= MAX_PENDING

    def is_early(self, now_ns: int) -> bool:
        """Less than t3.5 after a reply's last byte, or while a reply is on the wire."""
        if now_ns - self._last_reply_ns < self.silence_ns:
            return True
        return self._free_ns > now_ns and any(delivery.emission.way == REPLY for delivery in self._pending)

    def take_request(self, length: int, now_ns: int) -> tuple[int, int]:
        """Put a frame of the master's on the line; its beginning and its end."""
        begins_ns = max(now_ns, self._free_ns)
        self._free_ns = self._request_ends_ns = begins_ns + length * self.character_ns
        return begins_ns, self._free_ns

    def is_drowned(self, begins_ns: int, ends_ns: int) -> bool:
        """Whether another master is on the line meanwhile; then its bytes are spoilt too."""
        return self._foreign_ends_ns > begins_ns and self._spoil(begins_ns, ends_ns, _FOREIGN)

    def cut_request(self, from_ns: int) -> bool:
        """Another master begins at `from_ns`: if a frame of ours is on the line, nobody understands it."""
        if self._request_ends_ns <= from_ns:
            return False
        self._pending = [delivery for delivery in self._pending if delivery.emission.way != REPLY]
        heapq.heapify(self._pending)
        self._free_ns = self._request_ends_ns
        return True

    # -- the other side

    def emit(self, emission: Emission) -> None:
        """Put bytes on the line; where they meet those of another master both are spoilt."""
        character_ns, octets = self.character_ns, emission.octets
        ends_ns = emission.begins_ns + len(octets) * character_ns
        is_foreign = emission.way in _FOREIGN
        if is_foreign:
            self._foreign_ends_ns = max(self._foreign_ends_ns, ends_ns)
        if self._foreign_ends_ns > emission.begins_ns and emission.way != NOISE:
            others = (REPLY, ECHO) if is_foreign else _FOREIGN
            if self._spoil(emission.begins_ns, ends_ns, others):
                octets = self.spoilt(octets)
                emission = evolve(emission, octets=octets, notes=(*emission.notes, COLLISION))
        if emission.holds_line:
            self._free_ns = max(self._free_ns, ends_ns)
        self._schedule(emission, self._pieces if emission.way == REPLY else 1)

    def _schedule(self, emission: Emission, pieces: int) -> None:
        octets, character_ns = emission.octets, self.character_ns
        size = -(-len(octets) // pieces)
        for start in range(0, len(octets), size):
            ends = min(start + size, len(octets))
            self._number += 1
            begins_ns = emission.begins_ns + start * character_ns
            due_ns = emission.begins_ns + ends * character_ns
            piece = _Delivery(due_ns, self._number, begins_ns, emission, octets[start:ends], ends == len(octets))
            heapq.heappush(self._pending, piece)

    def spoilt(self, octets: bytes) -> bytes:
        """What the master hears where two talk at once: never a whole frame."""
        found = bytes(octet & self._chance.getrandbits(8) for octet in octets)
        if found and (found == octets or not crc16(found)):
            found = found[:-1] + bytes((found[-1] ^ 0xFF,))
        return found

    def _spoil(self, begins_ns: int, ends_ns: int, ways: tuple[str, ...]) -> bool:
        has_met = False
        for index, delivery in enumerate(self._pending):
            emission = delivery.emission
            if emission.way in ways and delivery.begins_ns < ends_ns and delivery.due_ns > begins_ns:
                notes = tuple(dict.fromkeys((*emission.notes, COLLISION)))
                spoilt = evolve(delivery, octets=self.spoilt(delivery.octets), emission=evolve(emission, notes=notes))
                self._pending[index] = spoilt
                has_met = True
        self.counters.collisions += has_met
        return has_met

    @property
    def next_ns(self) -> int | None:
        """When the next bytes are due."""
        return self._pending[0].due_ns if self._pending else None

    def hand_over_due(self) -> None:
        """Everything that is due now or in EARLY_WAKE_NS."""
        while self._pending and self._pending[0].due_ns - time.monotonic_ns() <= EARLY_WAKE_NS:
            self.hand_over(heapq.heappop(self._pending))

    def hand_over(self, delivery: _Delivery) -> None:
        """Spins for the rest of the time: a wake-up's lateness would be charged to the master's share of the wire."""
        emission = delivery.emission
        while (now_ns := time.monotonic_ns()) < delivery.due_ns and emission.way != NOISE:
            pass
        dropped = self.terminal.send(delivery.octets)
        counters = self.counters
        counters.bus_bytes_dropped += dropped
        notes = emission.notes if not dropped else (*emission.notes, "dropped")
        self.trace.add(now_ns, emission.way, delivery.octets, ",".join(notes))
        if emission.way == REPLY:
            self._last_reply_ns = now_ns
            self._free_ns = max(self._free_ns, now_ns)
            if delivery.is_last and emission.is_reply and emission.unit is not None:
                counters.module(emission.unit).replies += 1
        elif emission.way == NOISE:
            counters.noise_bytes += len(delivery.octets)

    def forget(self) -> None:
        """The adapter is gone: what was on its way is lost."""
        self._pending.clear()
        self._foreign_ends_ns = 0
