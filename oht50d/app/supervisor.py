"""Restarting tasks: the only backoff in the code base (state: attempts of one supervised task)."""

import logging
import random
from collections.abc import Awaitable, Callable

import trio
from attrs import frozen

from oht50d.clock import now_ns
from oht50d.model.errors import LinkError, Oht50Error

_log = logging.getLogger(__name__)


@frozen(kw_only=True)
class RestartPolicy:
    """Capped exponential backoff with jitter. Device absence restarts for ever; defects have a budget."""

    first_s: float = 0.1
    factor: float = 2.0
    cap_s: float = 5.0
    jitter_ratio: float = 0.2
    defects_allowed: int = 5
    defect_window_s: float = 60.0
    settled_s: float = 10.0

    def delay_s(self, attempt: int) -> float:
        """Pause before attempt number `attempt` (0 is the first repeat)."""
        delay_s = min(self.cap_s, self.first_s * self.factor ** min(attempt, 32))
        return delay_s * (1 + self.jitter_ratio * (2 * random.random() - 1))


class Supervised:
    """Runs one task again and again. Link errors never end it; a defect beyond the budget is raised."""

    def __init__(
        self,
        name: str,
        run: Callable[[], Awaitable[None]],
        policy: RestartPolicy,
        *,
        on_defect: Callable[[BaseException], None] = lambda _error: None,
        on_pause: Callable[[BaseException | None], None] = lambda _problem: None,
    ) -> None:
        self._name = name
        self._run = run
        self._policy = policy
        self._on_defect = on_defect
        self._on_pause = on_pause
        self._ended_by: BaseException | None = None
        self._attempt = 0
        self._began_ns = 0
        self._defects: list[int] = []
        self._last_problem = ""
        self._folded = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """For ever; cancellation ends it. Raises the defect that was one too many."""
        task_status.started()
        while True:
            self._began_ns, self._ended_by = now_ns(), None
            try:
                await self._run()
                self._tell("ended by itself")
            except* LinkError as group:
                self._ended_by = first_leaf(group)
                self._tell(str(self._ended_by), self._ended_by)
            except* Exception as group:  # noqa: BLE001 - every defect: counted, and raised beyond the budget
                self._ended_by = first_leaf(group)
                self._note_defect(self._ended_by)
            if self._has_settled:
                self._attempt = 0
            await self._pause(self._policy.delay_s(self._attempt))
            self._attempt += 1

    @property
    def _has_settled(self) -> bool:
        """The present run has lasted long enough to count as a success, however it ended."""
        return now_ns() - self._began_ns > self._policy.settled_s * 1e9

    async def _pause(self, delay_s: float) -> None:
        """Sleep in slices; whoever vouches for this loop is told that it lives, and what ended its last run."""
        ends_ns = now_ns() + round(delay_s * 1e9)
        while (left_ns := ends_ns - now_ns()) > 0:
            self._on_pause(self._ended_by)
            await trio.sleep(min(left_ns / 1e9, 0.5))

    def _note_defect(self, error: BaseException) -> None:
        self._on_defect(error)
        at_ns = now_ns()
        window_ns = self._policy.defect_window_s * 1e9
        self._defects = [moment for moment in self._defects if at_ns - moment < window_ns] + [at_ns]
        _log.error("%s failed: %r", self._name, error, exc_info=error, extra={"event": "task.defect"})
        if len(self._defects) > self._policy.defects_allowed:
            raise error

    def _tell(self, problem: str, error: BaseException | None = None) -> None:
        """The same problem is logged once, then counted, until a run has settled in between."""
        if problem == self._last_problem and not self._has_settled:
            self._folded += 1
            return
        folded = f" (the last problem came {self._folded} more times)" if self._folded else ""
        remedy = error.remedy if isinstance(error, LinkError) else ""
        _log.warning("%s: %s. %s%s", self._name, problem, remedy, folded, extra={"event": "link.problem"})
        self._last_problem, self._folded = problem, 0


def first_leaf(error: BaseException) -> BaseException:
    """The first exception that is not a group; nested nurseries wrap what they raise."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def first_problem(error: BaseException) -> Oht50Error | None:
    """The first error of ours inside `error`, if there is one."""
    leaf = first_leaf(error)
    return leaf if isinstance(leaf, Oht50Error) else None
