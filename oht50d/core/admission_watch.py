"""The admission that holds now, worked out again when something it rests on has changed (owner: poll slots; pure).

What gets worse counts at once. What gets better counts only when it has held for `PATIENCE_NS`: classes must not go to
and fro, and motion that was refused is not allowed again by one good second.
"""

from collections.abc import Callable

from attrs import evolve

from oht50d.core.admission import Admission, Load, admit
from oht50d.core.poll_rates import YIELDS
from oht50d.core.turnaround import Measured

REVIEW_NS = 250_000_000
PATIENCE_NS = 3_000_000_000
GRAIN_NS = 250_000
"""Turnarounds are rounded up to this: the figure breathes, the plan should not."""


def rounded_up(found: Measured) -> Measured:
    return Measured(*(-(-turnaround_ns // GRAIN_NS) * GRAIN_NS for turnaround_ns in (found.most_ns, found.p99_ns)))


class AdmissionWatch:
    """Keeps the admission at rest and the one while moving; both follow the same load."""

    def __init__(self, make_load: Callable[[], Load]) -> None:
        self._make_load = make_load
        self._load = make_load()
        self._review_ns = 0
        self._better_since_ns: int | None = None
        self.rest = admit(self._load, is_moving=False)
        self.moving = admit(self._load, is_moving=True)

    def review(self, now_ns: int) -> None:
        """Look at the load again if it is time to; at most four times a second."""
        if now_ns < self._review_ns:
            return
        self._review_ns = now_ns + REVIEW_NS
        load = self._make_load()
        if load == self._load and self._better_since_ns is None:
            return
        self._load = load
        self._adopt(admit(load, is_moving=False), admit(load, is_moving=True), now_ns)

    def hurry(self) -> None:
        """Something has changed: the next review is due."""
        self._review_ns = 0

    def now(self, *, is_moving: bool) -> Admission:
        return self.moving if is_moving else self.rest

    def _adopt(self, rest: Admission, moving: Admission, now_ns: int) -> None:
        is_better = rest.level < self.rest.level or moving.level < self.moving.level
        is_better |= bool(self.moving.refusal) and not moving.refusal
        if not is_better:
            self._better_since_ns = None
            self.rest, self.moving = rest, moving
            return
        since_ns = now_ns if self._better_since_ns is None else self._better_since_ns
        if now_ns - since_ns >= PATIENCE_NS:
            self._better_since_ns = None
            self.rest, self.moving = rest, moving
            return
        self._better_since_ns = since_ns
        self.rest = self._held(rest, self.rest)
        self.moving = self._held(moving, self.moving)

    def _held(self, found: Admission, before: Admission) -> Admission:
        """The new sum, at the level that holds, with a refusal that holds."""
        held = found
        if found.level < before.level <= len(YIELDS):
            held = admit(self._load, is_moving=found.is_moving, level=before.level)
        return held if held.refusal or not before.refusal else evolve(held, refusal=before.refusal)
