"""What goes wrong and when: scheduled and live faults (the board owns the bounded list).

A fault is in force from `begins_ns` until `ends_ns` (None: until cleared). What each kind does stands beside its name;
whoever owns the thing that fails asks the board, nothing is pushed.
"""

import enum
import random
from collections.abc import Iterator

from attrs import define, field, frozen

from oht50d.model.units import Duration

MAX_FAULTS = 256


class FaultKind(enum.Enum):
    """Bus faults may name a `module` (bus address); without one they hold for every module."""

    SILENCE = "silence"
    """The module neither answers nor carries out what it is sent."""
    LOST_REPLY = "lost_reply"
    """The module carries out and its reply is lost."""
    DELAY = "delay"
    """Replies come `delay` later."""
    WRONG_UNIT = "wrong_unit"
    """Replies carry the address of the next module."""
    CRC = "crc"
    """The CRC of replies is wrong."""
    EXCEPTION = "exception"
    """Every request is refused with exception `code`."""
    STUCK_REGISTER = "stuck_register"
    """Register `register` (name or role) of `module` keeps the word that it had when the fault was first seen."""
    HANGUP = "hangup"
    """The bus adapter is gone: its pty closes and comes back under the same symlink."""
    ESTOP = "estop"
    """The stop-button chain is open."""
    RESET_BUTTON = "reset_button"
    """The physical reset button is held."""
    SAFETY_ERROR = "safety_error"
    """The safety module reports error `code` and status 3."""
    SAFETY_ZONE = "safety_zone"
    """The safety module reports violated zones, bitmap `code`."""
    DRIVE_ERROR = "drive_error"
    """Both drives trip with error `code` and run free."""
    LIDAR_SILENCE = "lidar_silence"
    """The LiDAR sends nothing."""
    LIDAR_STALL = "lidar_stall"
    """The LiDAR's motor stops turning; it goes on measuring."""
    LIDAR_GARBAGE = "lidar_garbage"
    """The LiDAR's bytes are random."""
    LIDAR_BLIND = "lidar_blind"
    """Every ray comes back without a return."""
    LIDAR_HANGUP = "lidar_hangup"
    """The LiDAR's adapter is gone, like `hangup`."""


@frozen(kw_only=True)
class ScriptedFault:
    """One `[[fault]]` of a scenario; `at` counts from the start, `every` repeats it."""

    kind: FaultKind
    at: Duration
    for_: Duration | None = None
    every: Duration | None = None
    module: int | None = None
    delay: Duration = field(default=Duration(0))
    code: int = 1
    register: str | None = None
    ratio: float = 1.0

    def __attrs_post_init__(self) -> None:
        if not 0.0 < self.ratio <= 1.0:
            raise ValueError("ratio must be above 0 and at most 1")
        if not 0 <= self.code <= 0xFFFF:
            raise ValueError("code must fit into 16 bits")
        if self.kind is FaultKind.EXCEPTION and not 1 <= self.code <= 11:
            raise ValueError("exception needs a code from 1 to 11")
        if self.kind is FaultKind.STUCK_REGISTER and (self.register is None or self.module is None):
            raise ValueError("stuck_register needs module and register")
        if self.every and (self.for_ is None or self.for_ >= self.every):
            raise ValueError("every needs a for that is shorter")


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

    def add(self, script: ScriptedFault, start_ns: int) -> Fault:
        """Schedule at `start_ns` + `script.at`; raises ValueError when the board is full."""
        self._faults = [fault for fault in self._faults if not fault.is_over(start_ns)]
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError(f"at most {MAX_FAULTS} faults")
        fault = Fault(script, start_ns + script.at.ns)
        self._faults.append(fault)
        return fault

    def clear(self) -> int:
        """Forget all faults, scripted ones too; tells how many there were."""
        count = len(self._faults)
        self._faults = []
        return count

    def active(self, kind: FaultKind, now_ns: int, module: int | None = None) -> Iterator[ScriptedFault]:
        """The faults of a kind in force for `module` (None: whichever)."""
        for fault in self._faults:
            script = fault.script
            if script.kind is kind and fault.is_active(now_ns) and (module is None or script.module in (None, module)):
                yield script

    def first(self, kind: FaultKind, now_ns: int, module: int | None = None) -> ScriptedFault | None:
        """The first fault of a kind in force, its `ratio` drawn."""
        for script in self.active(kind, now_ns, module):
            if script.ratio >= 1.0 or self.random.random() < script.ratio:
                return script
        return None

    def next_edge_ns(self, after_ns: int) -> int | None:
        edges = (fault.next_edge_ns(after_ns) for fault in self._faults)
        return min((edge for edge in edges if edge is not None), default=None)
