"""How much of the wire goes to those that nobody may answer: dead modules and the search (owner: wire schedule; pure).

Source: USERS.md (telegraf#11782) and the bus issue: all dead or absent modules together at most 5 % of the bus. After
an exchange that took c the next one of anybody may start 21 c after its start, so every stretch of time that begins
with a probe gives less than a twentieth to them. What a probe waits for a quiet moment is not lost to the next one.
"""

from collections.abc import Callable

SHARE = 21
"""One part in this many at most; a little below a twentieth, for what a probe costs beside its time on the wire."""
DISCOVERY_CLAIM = "discovery"
PLACE_KEPT_NS = 100_000_000
"""Who asks in vain keeps its place in the turn for this long; whoever still wants a probe asks far more often."""
MAX_CLAIMANTS = 16
MAX_DEBT_NS = 2_000_000_000
"""However much a stop spends on silent drives, nobody waits longer than this for a probe."""
LONGEST_NS = 25_000_000
TOLERATED_NS = 10_000_000
"""A probe waits for a moment from which on it makes no fast poll later than this."""
IMPATIENCE = 40
"""The longer it waits the later it may make one: by a 40th of the time, until nothing is held against it."""
OVERDUE_NS = IMPATIENCE * (LONGEST_NS - TOLERATED_NS)
"""After 600 ms it waits no longer: on a full wire no moment is quiet, and polls that are not vital let it go first."""
MAX_CREDIT_NS = 400_000_000
"""So much of such a wait brings the next probe forward."""


def module_claim(unit: int) -> str:
    """The claimant's name of one address, bound or not."""
    return f"{unit:#04x}"


class ProbeBudget:
    """Claimants take turns: of those that have asked lately, the one that was served longest ago goes first.

    Bounded to `MAX_CLAIMANTS`; who asked or was served longest ago is forgotten for a new one.
    """

    def __init__(self, quiet_until_ns: Callable[[], int]) -> None:
        """`quiet_until_ns()`: no fast poll becomes due before this moment."""
        self._quiet_until_ns = quiet_until_ns
        self._opens_ns = 0
        self._wanted_ns: int | None = None
        self._served_ns: dict[str, int] = {}
        self._asked_ns: dict[str, int] = {}

    @property
    def opens_ns(self) -> int:
        """When the next probe may start."""
        return self._opens_ns

    def may_probe(self, claimant: str, now_ns: int, whole_ns: int = LONGEST_NS) -> bool:
        """True if `claimant` may send one probe of this length now; to be asked each time the wire is free while one is
        wanted."""
        waited_ns = self._waited_ns(claimant, now_ns)
        if waited_ns is None:
            return False
        needed_ns = whole_ns - TOLERATED_NS - waited_ns // IMPATIENCE
        return waited_ns >= OVERDUE_NS or self._quiet_until_ns() - now_ns >= needed_ns

    def is_overdue(self, claimant: str, now_ns: int) -> bool:
        """True if the probe of `claimant` goes before polls that are not vital; to be asked like `may_probe`."""
        waited_ns = self._waited_ns(claimant, now_ns)
        return waited_ns is not None and waited_ns >= OVERDUE_NS

    def spend(self, claimant: str, sent_ns: int, ended_ns: int) -> None:
        """The probe was made, answered or not."""
        self._served_ns[claimant] = ended_ns
        self._asked_ns.pop(claimant, None)
        wanted_ns, self._wanted_ns = self._wanted_ns, None
        due_ns = sent_ns if wanted_ns is None else max(wanted_ns, sent_ns - MAX_CREDIT_NS)
        opens_ns = max(self._opens_ns, due_ns) + SHARE * (ended_ns - sent_ns)
        self._opens_ns = min(opens_ns, ended_ns + MAX_DEBT_NS)
        _bound(self._served_ns)

    def reset(self) -> None:
        """A new opening of the port: nobody is known to be dead."""
        self._opens_ns = 0
        self._wanted_ns = None
        self._served_ns.clear()
        self._asked_ns.clear()

    def _waited_ns(self, claimant: str, now_ns: int) -> int | None:
        """How long the next probe has been waited for; None while the budget is closed or it is another one's turn."""
        self._note_asked(claimant, now_ns)
        if now_ns < self._opens_ns:
            return None
        if self._wanted_ns is None:
            self._wanted_ns = now_ns
        return now_ns - self._wanted_ns if self._is_first(claimant, now_ns) else None

    def _is_first(self, claimant: str, now_ns: int) -> bool:
        waiting = [name for name, asked_ns in self._asked_ns.items() if now_ns - asked_ns <= PLACE_KEPT_NS]
        return min(waiting, key=lambda name: self._served_ns.get(name, 0)) == claimant

    def _note_asked(self, claimant: str, now_ns: int) -> None:
        self._asked_ns[claimant] = now_ns
        _bound(self._asked_ns)


def _bound(times: dict[str, int]) -> None:
    """The oldest entry goes when there are too many."""
    if len(times) > MAX_CLAIMANTS:
        del times[min(times, key=times.__getitem__)]
