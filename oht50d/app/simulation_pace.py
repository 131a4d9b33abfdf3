"""Whether this computer keeps up with its simulated robot (owner of what was late in the last half minute).

A module of the simulator has 25 ms to answer, as a real one has. On a computer that is too slow or too busy it seems
lost, and a technician would look for a plug that is not there.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from oht50d.clock import NS_PER_S, now_ns

_log = logging.getLogger(__name__)

LATE_NS = 20_000_000
"""Less than this is within what a reply's time-out forgives."""
WINDOW_NS = 30 * NS_PER_S
TOO_MUCH_NS = 150_000_000
"""Lateness in the window that makes the hint: as long as the silence after which a module counts as lost."""
LOG_EVERY_NS = 60 * NS_PER_S
MAX_MOMENTS = 500
REMEDY = "Stop other programs or take a computer with more cores; nothing is wrong with the wiring."


@frozen
class SimulatorLateness:
    """Since the simulator's start: the sum of its late wake-ups (of LATE_NS or more) and the worst, in milliseconds."""

    total_ms: float
    worst_ms: float


class SimulationPace:
    """Gathers lateness of the safety step and of the simulator; `hint` is empty while there is nothing to say.

    `ask` reads the simulator's own lateness and returns None if it does not tell; without it only the step counts.
    """

    def __init__(self, ask: Callable[[], Awaitable[SimulatorLateness | None]] | None = None) -> None:
        self._ask = ask
        self._moments: deque[tuple[int, int]] = deque(maxlen=MAX_MOMENTS)
        self._known = SimulatorLateness(0.0, 0.0)
        self._logged_ns: int | None = None

    def note_step(self, lateness_ns: int) -> None:
        """A safety step came this late."""
        if lateness_ns >= LATE_NS:
            self._moments.append((now_ns(), lateness_ns))

    @property
    def hint(self) -> str:
        """One sentence without its remedy."""
        since_ns = now_ns() - WINDOW_NS
        late_ms = round(sum(late_ns for at_ns, late_ns in self._moments if at_ns >= since_ns) / 1e6)
        if late_ms < TOO_MUCH_NS / 1e6:
            return ""
        return f"this computer is too slow or too busy for the simulation ({late_ms} ms late in the last 30 s)"

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Ask once a second, log the hint at most once a minute; ends only by cancellation."""
        task_status.started()
        while True:
            await trio.sleep(1)
            found = None if self._ask is None else await self._ask()
            if found is not None:
                added_ms, self._known = found.total_ms - self._known.total_ms, found
                if added_ms > 0:
                    self._moments.append((now_ns(), round(added_ms * 1e6)))
            self._tell()

    def _tell(self) -> None:
        hint, at_ns = self.hint, now_ns()
        if hint and (self._logged_ns is None or at_ns - self._logged_ns >= LOG_EVERY_NS):
            self._logged_ns = at_ns
            _log.warning("%s; modules may seem lost. %s", hint, REMEDY, extra={"event": "simulation.late"})
