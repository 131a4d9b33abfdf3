"""What goes wrong and when: scheduled and live faults (the board owns the bounded list).

A fault is in force from `begins_ns` until `ends_ns` (None: until cleared). What each kind does stands beside its name
in `fault_kinds.py`; whoever owns the thing that fails asks the board, nothing is pushed.
"""

import random
from collections.abc import Iterator, Mapping

from attrs import Factory, define, field, fields, frozen

from oht50d.model.units import Duration
from oht50d.sim.fault_kinds import (
    DEFAULT_CODES,
    EXCHANGE_KINDS,
    HIGHEST_CODE,
    HIGHEST_CODES,
    LOWEST_CODES,
    NEEDED,
    PARAMETERS,
    FaultKind,
    Place,
)

__all__ = ["MAX_FAULTS", "Fault", "FaultBoard", "FaultKind", "ScriptedFault"]

MAX_FAULTS = 256
MAX_UNIT = 247
MAX_PIECES = 16
MAX_COUNT = 125
MAX_WAIT_NS = 10_000_000_000
LEAST_PERIOD_NS = 5_000_000
_COMMON = frozenset({"kind", "at", "for_", "every"})
_NONE: Mapping[FaultKind, "ScriptedFault"] = {}


@frozen(kw_only=True)
class ScriptedFault:
    """One `[[fault]]` of a scenario; `at` counts from the start, `every` repeats it. What else a kind takes stands in
    PARAMETERS; a parameter of another kind is refused."""

    kind: FaultKind
    at: Duration
    for_: Duration | None = None
    every: Duration | None = None
    module: int | None = None
    ratio: float = 1.0
    delay: Duration = field(default=Duration(0))
    delay_most: Duration | None = None
    code: int | None = field(default=Factory(lambda self: DEFAULT_CODES.get(self.kind), takes_self=True))
    register: str | None = None
    count: int | None = None
    pieces: int = 2
    pause: Duration = field(default=Duration(1_000_000))
    period: Duration = field(default=Duration(50_000_000))
    place: Place = Place.BOTH
    address: int = 0
    serial: int | None = None
    firmware: int | None = None
    type: int | None = None

    def __attrs_post_init__(self) -> None:
        self._check_parameters()
        self._check_code()
        self._check_numbers()
        self._check_identity()
        if self.every and (self.for_ is None or self.for_ >= self.every):
            raise ValueError("every needs a for that is shorter")

    def _check_parameters(self) -> None:
        """Only what this kind takes, and all that it needs."""
        takes = PARAMETERS[self.kind]
        for attribute in fields(ScriptedFault):
            name = attribute.name
            default = DEFAULT_CODES.get(self.kind) if name == "code" else attribute.default
            if name not in _COMMON and name not in takes and getattr(self, name) != default:
                raise ValueError(f"{self.kind.value} takes no {name}; it takes {', '.join(sorted(takes)) or 'none'}")
        missing = sorted(name for name in NEEDED.get(self.kind, ()) if getattr(self, name) is None)
        if missing:
            raise ValueError(f"{self.kind.value} needs {' and '.join(missing)}")

    def _check_code(self) -> None:
        low, high = LOWEST_CODES.get(self.kind, 0), HIGHEST_CODES.get(self.kind, HIGHEST_CODE)
        if self.code is not None and not low <= self.code <= high:
            raise ValueError(f"{self.kind.value} needs a code from {low} to {high}")

    def _check_numbers(self) -> None:
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError("ratio must be above 0 and at most 1")
        if self.module is not None and not 1 <= self.module <= MAX_UNIT:
            raise ValueError(f"module must be 1 to {MAX_UNIT}")
        if self.count is not None and not 1 <= self.count <= MAX_COUNT:
            raise ValueError(f"count must be 1 to {MAX_COUNT}")
        if not 2 <= self.pieces <= MAX_PIECES:
            raise ValueError(f"pieces must be 2 to {MAX_PIECES}")
        if self.period.ns < LEAST_PERIOD_NS:
            raise ValueError(f"period must be at least {Duration(LEAST_PERIOD_NS)}")
        if self.delay_most is not None and self.delay_most < self.delay:
            raise ValueError("delay_most must not be below delay")
        if max(self.delay.ns, self.pause.ns, (self.delay_most or self.delay).ns) > MAX_WAIT_NS:
            raise ValueError(f"delay, delay_most and pause are at most {Duration(MAX_WAIT_NS)}")

    def _check_identity(self) -> None:
        for name, limit in (("address", 0xFFFF), ("serial", 0xFFFF_FFFF), ("firmware", 0xFFFF), ("type", 0xFFFF)):
            number = getattr(self, name)
            if number is not None and not 0 <= number <= limit:
                raise ValueError(f"{name} must be 0 to {limit:#x}")

    def draw_delay_ns(self, chance: random.Random) -> int:
        """`delay`, or by chance anything up to `delay_most`."""
        if self.delay_most is None:
            return self.delay.ns
        return chance.randint(self.delay.ns, self.delay_most.ns)


@frozen(eq=False)
class Fault:
    """A scripted fault with its beginning on the monotonic clock; compared by identity."""

    script: ScriptedFault
    begins_ns: int

    @property
    def ends_ns(self) -> int | None:
        return None if self.script.for_ is None else self.begins_ns + self.script.for_.ns

    def is_over(self, now_ns: int) -> bool:
        return self.script.every is None and self.ends_ns is not None and now_ns >= self.ends_ns

    def is_active(self, now_ns: int) -> bool:
        age_ns = now_ns - self.begins_ns
        if age_ns < 0:
            return False
        if self.script.every:
            age_ns %= self.script.every.ns
        return self.script.for_ is None or age_ns < self.script.for_.ns

    def turn(self, now_ns: int) -> int:
        """How often it has begun until `now_ns`."""
        age_ns = now_ns - self.begins_ns
        if age_ns < 0:
            return 0
        return 1 + age_ns // self.script.every.ns if self.script.every else 1

    def next_edge_ns(self, after_ns: int) -> int | None:
        """The first time after `after_ns` at which the fault begins or ends."""
        edges = [self.begins_ns] if self.ends_ns is None else [self.begins_ns, self.ends_ns]
        if self.script.every and after_ns >= self.begins_ns:
            turns = (after_ns - self.begins_ns) // self.script.every.ns
            edges = [edge + turn * self.script.every.ns for edge in edges for turn in (turns, turns + 1)]
        return min((edge for edge in edges if edge > after_ns), default=None)


@define
class FaultBoard:
    """Every fault that is or will be in force; beyond MAX_FAULTS a new one is refused."""

    random: random.Random
    _faults: list[Fault] = field(factory=list)
    _turns: dict[Fault, int] = field(factory=dict)

    def add(self, script: ScriptedFault, start_ns: int) -> Fault:
        """Schedule at `start_ns` + `script.at`; raises ValueError when the board is full."""
        self._faults = [fault for fault in self._faults if not fault.is_over(start_ns)]
        self._turns = {fault: turn for fault, turn in self._turns.items() if fault in self._faults}
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError(f"at most {MAX_FAULTS} faults")
        fault = Fault(script, start_ns + script.at.ns)
        self._faults.append(fault)
        return fault

    def clear(self) -> int:
        """Forget all faults, scripted ones too; tells how many there were."""
        count = len(self._faults)
        self._faults = []
        self._turns = {}
        return count

    def in_force(self, kind: FaultKind, now_ns: int) -> Iterator[Fault]:
        """The faults of a kind that are in force."""
        return (fault for fault in self._faults if fault.script.kind is kind and fault.is_active(now_ns))

    def active(self, kind: FaultKind, now_ns: int, module: int | None = None) -> Iterator[ScriptedFault]:
        """The scripts of a kind in force for `module` (None: whichever)."""
        for fault in self.in_force(kind, now_ns):
            if module is None or fault.script.module in (None, module):
                yield fault.script

    def first(self, kind: FaultKind, now_ns: int, module: int | None = None) -> ScriptedFault | None:
        """The first fault of a kind in force, its `ratio` drawn."""
        return next((script for script in self.active(kind, now_ns, module) if self._is_drawn(script)), None)

    def draw(self, now_ns: int, unit: int) -> Mapping[FaultKind, ScriptedFault]:
        """For one exchange with `unit`: the first fault of each kind of the bus, every `ratio` drawn once."""
        if not self._faults:
            return _NONE
        found: dict[FaultKind, ScriptedFault] = {}
        for fault in self._faults:
            script = fault.script
            is_meant = script.kind in EXCHANGE_KINDS and script.kind not in found and script.module in (None, unit)
            if is_meant and fault.is_active(now_ns) and self._is_drawn(script):
                found[script.kind] = script
        return found

    def begun(self, kind: FaultKind, now_ns: int) -> list[ScriptedFault]:
        """Each beginning of a fault of that kind, once; those that came and went since the last call too."""
        found = []
        for fault in self._faults:
            if fault.script.kind is kind and fault.turn(now_ns) > self._turns.get(fault, 0):
                self._turns[fault] = fault.turn(now_ns)
                found.append(fault.script)
        return found

    def next_edge_ns(self, after_ns: int) -> int | None:
        edges = (fault.next_edge_ns(after_ns) for fault in self._faults)
        return min((edge for edge in edges if edge is not None), default=None)

    def _is_drawn(self, script: ScriptedFault) -> bool:
        return script.ratio >= 1.0 or self.random.random() < script.ratio
