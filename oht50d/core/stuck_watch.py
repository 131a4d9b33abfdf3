"""Values that have not changed for longer than their meaning allows (owner: the polls; pure; bounded by the maps).

A sensor whose converter hangs goes on answering with its last word, and every check of range and age lets it pass. The
module maps name the registers that must vary and for how long they may stand still.
"""

from attrs import define, evolve

from oht50d.model.registers import BlockReadings, Quality, RegisterBlock, RegisterSpec

LEAST_READINGS = 3
"""So many equal readings at least: a register that is read seldom is not stuck because nobody looked."""


@define
class _Unchanged:
    """One register's word and how long it has been that; `read_ns` is when it was read last."""

    word: int
    since_ns: int
    read_ns: int
    readings: int = 1


class StuckWatch:
    """`judge` every reply that is decoded."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], _Unchanged] = {}
        self._watched: dict[tuple[int, int], tuple[RegisterBlock, tuple[tuple[int, RegisterSpec], ...]]] = {}

    def judge(self, readings: BlockReadings) -> BlockReadings:
        """The same readings, or with the quality STUCK where a good value stands still."""
        watched = self._watched_in(readings.block)
        if not watched:
            return readings
        stuck = [index for index, spec in watched if self._is_stuck(readings, index, spec)]
        if not stuck:
            return readings
        qualities = list(readings.qualities)
        for index in stuck:
            if qualities[index] is Quality.GOOD:
                qualities[index] = Quality.STUCK
        return evolve(readings, qualities=tuple(qualities))

    def _watched_in(self, block: RegisterBlock) -> tuple[tuple[int, RegisterSpec], ...]:
        place = (block.unit, block.first)
        known = self._watched.get(place)
        if known is None or known[0] is not block:
            specs = tuple((index, spec) for index, spec in enumerate(block.specs) if spec.stuck_after_ns is not None)
            known = self._watched[place] = (block, specs)
        return known[1]

    def _is_stuck(self, readings: BlockReadings, index: int, spec: RegisterSpec) -> bool:
        limit_ns, now_ns, word = spec.stuck_after_ns or 0, readings.received_ns, readings.words[index]
        place = (readings.block.unit, spec.address)
        last = self._last.get(place)
        if last is None or last.word != word or now_ns - last.read_ns > limit_ns:
            self._last[place] = _Unchanged(word, now_ns, now_ns)
            return False
        last.read_ns = now_ns
        last.readings += 1
        return now_ns - last.since_ns >= limit_ns and last.readings >= LEAST_READINGS
