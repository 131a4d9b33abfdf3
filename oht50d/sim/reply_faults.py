"""What faults make of one reply: its bytes, its time and what comes before and after it (owns who is busy).

Source of the frame and the exceptions: MODBUS Application Protocol V1.1b3, section 7 (5 acknowledge: accepted, takes
long; 6 device busy), and MODBUS over Serial Line V1.02, sections 2.5.1 and 6.2.2.
"""

import random
from collections.abc import Mapping

from attrs import evolve, frozen

from oht50d.codec.rtu import crc16, encode_reply
from oht50d.model.bus import BusReply, ReadReply
from oht50d.sim.fault_kinds import FaultKind, Place
from oht50d.sim.faults import ScriptedFault
from oht50d.sim.wire import Emission, Wire

Drawn = Mapping[FaultKind, ScriptedFault]

ACKNOWLEDGE = 5
BUSY = 6
MAX_UNIT = 247
MOST_EXTRA_BYTES = 4
_EXCEPTION_FLAG = 0x80
_CRC_BYTES = 2


@frozen
class Refusal:
    """An exception instead of the reply; the request may be carried out all the same."""

    code: int
    is_carried_out: bool
    kind: FaultKind


def sealed(body: bytes) -> bytes:
    """A frame with its CRC, whatever its bytes mean."""
    return body + crc16(body).to_bytes(_CRC_BYTES, "little")


def encode_refusal(unit: int, function: int, code: int) -> bytes:
    """An exception frame with any code, also one that the standard does not know."""
    return sealed(bytes((unit, function | _EXCEPTION_FLAG, code)))


class ReplyFaults:
    """One for the line; the same `chance` and the same replies give the same faults."""

    def __init__(self, wire: Wire, chance: random.Random) -> None:
        self._wire = wire
        self._chance = chance
        self._busy_until_ns: dict[int, int] = {}
        self._owed: set[int] = set()

    def reset(self) -> None:
        """Nobody is busy any more."""
        self._busy_until_ns.clear()
        self._owed.clear()

    def draw_ns(self, script: ScriptedFault) -> int:
        """The delay of a fault, drawn if it is a range."""
        return script.draw_delay_ns(self._chance)

    def refuse(self, drawn: Drawn, unit: int, heard_ns: int) -> Refusal | None:
        """Whether the module refuses what it heard at `heard_ns`."""
        refusal = drawn.get(FaultKind.EXCEPTION)
        if refusal is not None:
            return Refusal(refusal.code or 1, False, FaultKind.EXCEPTION)
        if heard_ns < self._busy_until_ns.get(unit, 0):
            return Refusal(BUSY, False, FaultKind.BUSY)
        if unit in self._owed:
            self._owed.discard(unit)
            return None
        busy = drawn.get(FaultKind.BUSY)
        if busy is None:
            return None
        self._busy_until_ns[unit] = heard_ns + busy.delay.ns
        self._owed.add(unit)
        return Refusal(busy.code or BUSY, busy.code == ACKNOWLEDGE, FaultKind.BUSY)

    def emissions(self, reply: bytes, twin: bytes, unit: int, drawn: Drawn, begins_ns: int) -> list[Emission]:
        """Everything that goes onto the line for one reply that would begin at `begins_ns`.

        `twin` is what a second module with the same address would say.
        """
        if not drawn:
            return [Emission(octets=reply, begins_ns=begins_ns, unit=unit)]
        octets, notes = self._altered(reply, drawn)
        if FaultKind.TURNAROUND in drawn:
            notes.append(FaultKind.TURNAROUND.value)
        octets, begins_ns = self._with_noise(octets, begins_ns, drawn, notes)
        slow = drawn.get(FaultKind.DELAY)
        if slow is not None:
            begins_ns += slow.draw_delay_ns(self._chance)
            notes.append(FaultKind.DELAY.value)
        first = Emission(octets=octets, begins_ns=begins_ns, unit=unit, notes=tuple(notes), holds_line=slow is None)
        return self._repeated(self._doubled(first, twin, drawn), drawn)

    def _altered(self, octets: bytes, drawn: Drawn) -> tuple[bytes, list[str]]:
        """Faults of the sender: the frame is whole, or broken with a purpose."""
        notes = []
        body = bytearray(octets[:-_CRC_BYTES])
        for kind, position, following in (
            (FaultKind.WRONG_UNIT, 0, body[0] % MAX_UNIT + 1),
            (FaultKind.WRONG_FUNCTION, 1, body[1] + 1),
        ):
            wrong = drawn.get(kind)
            if wrong is not None:
                body[position] = following if wrong.code is None else wrong.code
                notes.append(kind.value)
        octets = sealed(bytes(body)) if notes else octets
        if FaultKind.CRC in drawn:
            octets = octets[:-1] + bytes((octets[-1] ^ 0x5A,))
            notes.append(FaultKind.CRC.value)
        if FaultKind.BIT_ERROR in drawn:
            bit = self._chance.randrange(8 * len(octets))
            octets = (int.from_bytes(octets, "big") ^ 1 << bit).to_bytes(len(octets), "big")
            notes.append(FaultKind.BIT_ERROR.value)
        return octets, notes

    def _with_noise(self, octets: bytes, begins_ns: int, drawn: Drawn, notes: list[str]) -> tuple[bytes, int]:
        """Faults of the wire: bytes are missing, or there are more of them; noise in front begins before the reply."""
        short = drawn.get(FaultKind.TRUNCATED)
        if short is not None:
            octets = octets[: short.count or self._chance.randrange(1, len(octets))]
            notes.append(FaultKind.TRUNCATED.value)
        extra = drawn.get(FaultKind.EXTRA_BYTES)
        if extra is not None:
            count = extra.count or self._chance.randint(1, MOST_EXTRA_BYTES)
            octets += self._chance.randbytes(count) if extra.code is None else bytes((extra.code,)) * count
            notes.append(FaultKind.EXTRA_BYTES.value)
        bias = drawn.get(FaultKind.BIAS_NOISE)
        if bias is not None and bias.place is not Place.IDLE:
            count = bias.count or 1
            octets = bytes((bias.code or 0,)) * count + octets
            begins_ns -= count * self._wire.character_ns
            notes.append(FaultKind.BIAS_NOISE.value)
        return octets, begins_ns

    def _doubled(self, first: Emission, twin: bytes, drawn: Drawn) -> list[Emission]:
        """With a second module at the address: garbage as long as both send, then what the later one has left."""
        double = drawn.get(FaultKind.DUPLICATE_ADDRESS)
        if double is None:
            return [first]
        note = FaultKind.DUPLICATE_ADDRESS.value
        after_ns = double.draw_delay_ns(self._chance)
        ahead = after_ns // self._wire.character_ns
        if ahead >= len(first.octets):
            begins_ns = first.begins_ns + after_ns
            # It does not hold the line: nobody who talks after the first reply could know of it.
            second = evolve(first, octets=twin, begins_ns=begins_ns, notes=(note,), is_reply=False, holds_line=False)
            return [first, second]
        both = max(len(first.octets) - ahead, 0)
        garbage = self._wire.spoilt(first.octets[ahead:])
        mixed = first.octets[:ahead] + garbage + twin[both:]
        return [evolve(first, octets=mixed, notes=(*first.notes, note))]

    def _repeated(self, found: list[Emission], drawn: Drawn) -> list[Emission]:
        """Cut into pieces, and once more as a late copy."""
        last = found[-1]
        ends_ns = last.begins_ns + len(last.octets) * self._wire.character_ns
        whole = found[0]
        split = drawn.get(FaultKind.SPLIT)
        if split is not None:
            found = self._cut(whole, split) + found[1:]
            ends_ns = max(ends_ns, found[-1].begins_ns + len(found[-1].octets) * self._wire.character_ns)
        copy = drawn.get(FaultKind.COPY)
        if copy is not None:
            begins_ns = ends_ns + copy.draw_delay_ns(self._chance)
            note = (FaultKind.COPY.value,)
            found.append(evolve(whole, begins_ns=begins_ns, notes=note, is_reply=False, holds_line=False))
        return found

    def _cut(self, whole: Emission, split: ScriptedFault) -> list[Emission]:
        size = -(-len(whole.octets) // split.pieces)
        starts = range(0, len(whole.octets), size)
        notes = (*whole.notes, FaultKind.SPLIT.value)
        return [
            evolve(
                whole,
                octets=whole.octets[start : start + size],
                begins_ns=whole.begins_ns + start * self._wire.character_ns + number * split.pause.ns,
                notes=notes,
                is_reply=start == starts[-1],
            )
            for number, start in enumerate(starts)
        ]


def twin_of(reply: BusReply) -> bytes:
    """What a second module of the same kind says: its words differ in their lowest bit, so that they can be told."""
    if isinstance(reply, ReadReply):
        reply = evolve(reply, words=tuple(word ^ 1 for word in reply.words))
    return encode_reply(reply)
