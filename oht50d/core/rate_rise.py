"""Which blocks are read more often for a while: those in which a code changed, or a fault stands (owner: poll slots).

The rules are data in `poll_rates.py`. What is raised fits into the headroom that admission leaves; safety, motor and
position are never raised, because nothing may cost them anything.
"""

from attrs import frozen

from oht50d.core.poll_rates import CODE_UNITS, FAULT_ROLES, FAULT_UNITS, RISES, Rise
from oht50d.model.registers import BlockReadings, RegisterBlock, RegisterSpec

MAX_BLOCKS = 256
KEPT_FREE = 0.03
"""Share of the wire that raising never takes."""


def _is_code(spec: RegisterSpec) -> bool:
    return bool(spec.choices) or spec.unit in CODE_UNITS


def _is_fault(spec: RegisterSpec) -> bool:
    return spec.role in FAULT_ROLES or (spec.unit in FAULT_UNITS and not spec.is_writable)


@frozen
class _Columns:
    """Where the codes of a block stand in its words, and which of them are faults."""

    codes: tuple[int, ...]
    faults: tuple[int, ...]


@frozen
class _Raised:
    extra: float
    until_ns: int


class RateRise:
    """Remembers the codes of each block; bounded by `MAX_BLOCKS`."""

    def __init__(self) -> None:
        self._columns: dict[int, tuple[RegisterBlock, _Columns]] = {}
        self._codes: dict[tuple[int, int, int], tuple[int, ...]] = {}
        self._raised: dict[tuple[int, int, int], _Raised] = {}

    def judge(self, readings: BlockReadings) -> Rise | None:
        """How this block is to be read from now on, None if there is no reason to change that."""
        block = readings.block
        rise = RISES.get(block.poll)
        if rise is None:
            return None
        columns, place = self._columns_of(block), _place(block)
        codes = tuple(readings.words[index] for index in columns.codes)
        before = self._codes.get(place)
        self._codes[place] = codes
        has_changed = before is not None and before != codes
        has_fault = any(readings.words[index] for index in columns.faults)
        return rise if has_changed or has_fault else None

    def grant(self, block: RegisterBlock, extra: float, headroom: float, until_ns: int, now_ns: int) -> bool:
        """True if the wire has `extra` left beside what is raised already; then it counts as raised until then."""
        self._raised = {place: raised for place, raised in self._raised.items() if raised.until_ns > now_ns}
        place = _place(block)
        others = sum(raised.extra for known, raised in self._raised.items() if known != place)
        if others + extra > headroom - KEPT_FREE:
            return False
        self._raised[place] = _Raised(extra, until_ns)
        return True

    def revoke(self, headroom: float, now_ns: int) -> bool:
        """True if what is raised does not fit any more; then nothing is."""
        total = sum(raised.extra for raised in self._raised.values() if raised.until_ns > now_ns)
        if total <= headroom:
            return False
        self._raised.clear()
        return True

    def _columns_of(self, block: RegisterBlock) -> _Columns:
        known = self._columns.get(id(block))
        if known is not None and known[0] is block:
            return known[1]
        if len(self._columns) >= MAX_BLOCKS:
            self._columns.clear()
            self._codes.clear()
        codes = tuple(index for index, spec in enumerate(block.specs) if _is_code(spec))
        columns = _Columns(codes, tuple(index for index in codes if _is_fault(block.specs[index])))
        self._columns[id(block)] = block, columns
        return columns


def _place(block: RegisterBlock) -> tuple[int, int, int]:
    return block.unit, block.first, block.count
