"""What appears on the line without having been asked for: babble, bias noise, another master (owns when next).

Every fault of these kinds that is in force runs by its own clock from its beginning on, until it is over or cleared.
"""

import random
from collections.abc import Sequence

from attrs import define

from oht50d.codec.rtu import encode_request
from oht50d.model.bus import ReadRegisters
from oht50d.sim.fault_kinds import FaultKind, Place
from oht50d.sim.faults import Fault, FaultBoard
from oht50d.sim.wire import FOREIGN_REQUEST, NOISE, Emission, Wire

BABBLE_NS = 1_000_000
"""Babble is made in portions of about this length."""
JITTER = 0.2
"""Periods vary by this part, so that nothing stays in step with the master."""
_KINDS = (FaultKind.BABBLE, FaultKind.BIAS_NOISE, FaultKind.SECOND_MASTER)


@define
class _Source:
    """One fault at work; `unit_index` goes round the modules."""

    fault: Fault
    next_ns: int
    unit_index: int = 0


class LineNoise:
    """Asked by the owner of the line; `begin` at every edge of a fault, `advance` when `next_ns` has come."""

    def __init__(self, board: FaultBoard, wire: Wire, chance: random.Random) -> None:
        self._board = board
        self._wire = wire
        self._chance = chance
        self._sources: list[_Source] = []

    def begin(self, now_ns: int) -> None:
        """Let faults begin that are in force now."""
        for kind in _KINDS:
            for fault in self._board.in_force(kind, now_ns):
                is_idle_noise = kind is not FaultKind.BIAS_NOISE or fault.script.place is not Place.REPLY
                if is_idle_noise and all(source.fault is not fault for source in self._sources):
                    self._sources.append(_Source(fault, now_ns))

    def reset(self) -> None:
        """The line is gone; `begin` lets them begin again."""
        self._sources.clear()

    @property
    def next_ns(self) -> int | None:
        return min((source.next_ns for source in self._sources), default=None)

    def advance(self, now_ns: int, units: Sequence[int]) -> list[Emission]:
        """What begins now; `units` are the addresses that another master may ask."""
        found = []
        for source in list(self._sources):
            if source.next_ns > now_ns:
                continue
            if source.fault not in self._board.in_force(source.fault.script.kind, now_ns):
                self._sources.remove(source)
                continue
            found += self._emissions(source, now_ns, units)
        return found

    def _emissions(self, source: _Source, now_ns: int, units: Sequence[int]) -> list[Emission]:
        script = source.fault.script
        is_drawn = script.ratio >= 1.0 or self._chance.random() < script.ratio
        if script.kind is FaultKind.BABBLE:
            count = max(1, BABBLE_NS // self._wire.character_ns)
            # A simulator that was held up does not make up for it.
            begins_ns = source.next_ns if now_ns - source.next_ns < BABBLE_NS else now_ns
            source.next_ns = begins_ns + count * self._wire.character_ns
            return [self._noise(script.kind, script.code, count, begins_ns)] if is_drawn else []
        source.next_ns = now_ns + round(script.period.ns * self._chance.uniform(1 - JITTER, 1 + JITTER))
        if not is_drawn:
            return []
        if script.kind is FaultKind.BIAS_NOISE:
            is_idle = self._wire.backlog_ns(now_ns) <= 0
            return [self._noise(script.kind, script.code, script.count or 1, now_ns)] if is_idle else []
        return self._foreign(source, now_ns, units)

    def _noise(self, kind: FaultKind, code: int | None, count: int, begins_ns: int) -> Emission:
        octets = self._chance.randbytes(count) if code is None else bytes((code,)) * count
        return Emission(octets=octets, begins_ns=begins_ns, way=NOISE, notes=(kind.value,), holds_line=False)

    def _foreign(self, source: _Source, now_ns: int, units: Sequence[int]) -> list[Emission]:
        script = source.fault.script
        if script.module is None and not units:
            return []
        source.unit_index += 1
        unit = script.module if script.module is not None else units[source.unit_index % len(units)]
        count = min(script.count or 1, 0x10000 - script.address)
        octets = encode_request(ReadRegisters(unit, script.address, count))
        notes = (FaultKind.SECOND_MASTER.value,)
        way = FOREIGN_REQUEST
        return [Emission(octets=octets, begins_ns=now_ns, way=way, unit=unit, notes=notes, holds_line=False)]
