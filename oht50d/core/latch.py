"""The latch: causes that hold the robot stopped until an explicit reset (owned by the safety kernel)."""

from oht50d.core.failsafes import FAILSAFES, by_severity
from oht50d.model.motion import Cause, CauseCode


class Latch:
    """Set synchronously by whoever sees a latching cause; only `clear` opens it. Bounded: one entry per code."""

    def __init__(self) -> None:
        self._causes: dict[CauseCode, Cause] = {}
        self._repeats: dict[CauseCode, int] = {}
        self._trips = 0

    @property
    def trips(self) -> int:
        """How often it was tripped in this boot, repeats included: a reset must not wipe out what came after it."""
        return self._trips

    @property
    def is_tripped(self) -> bool:
        return bool(self._causes)

    @property
    def causes(self) -> tuple[Cause, ...]:
        """What holds it, the most severe first."""
        return by_severity(list(self._causes.values()))

    @property
    def is_person_related(self) -> bool:
        """True if any cause may only be reset at the vehicle."""
        return any(FAILSAFES[code].is_person_related for code in self._causes)

    def trip(self, cause: Cause) -> bool:
        """Add a cause; False (and one more repeat) if it is held already: the first time stays."""
        self._trips += 1
        if cause.code in self._causes:
            self._repeats[cause.code] = self._repeats.get(cause.code, 0) + 1
            return False
        self._causes[cause.code] = cause
        return True

    def repeats(self, code: CauseCode) -> int:
        """How often a cause that is held was tripped again."""
        return self._repeats.get(code, 0)

    def clear(self) -> tuple[Cause, ...]:
        """Open the latch; what was held is returned for the record."""
        held = self.causes
        self._causes.clear()
        self._repeats.clear()
        return held
