"""Slots of sources outside the schedule: errands first, then searches (owner: wire schedule)."""

import enum
from collections.abc import Callable, Iterator

from attrs import evolve

from oht50d.core.motion_gate import MotionGate
from oht50d.core.slot_fence import SlotFence
from oht50d.core.wire_slots import Slot, SlotSource
from oht50d.model.bus import BusRequest


class Rank(enum.IntEnum):
    """Which of the sources is asked first."""

    ERRAND = 0
    BACKGROUND = 1


class OutsideSlots:
    """Knows the sources; each of their requests passes the motion gate and the fence.

    `bounded_ns(request, timeout_ns, now_ns)` is how long a reply may be waited for beside the polls.
    """

    def __init__(self, gate: MotionGate, fence: SlotFence, bounded_ns: Callable[[BusRequest, int, int], int]) -> None:
        self._gate = gate
        self._fence = fence
        self._bounded_ns = bounded_ns
        self._sources: list[tuple[Rank, SlotSource]] = []

    def attach(self, source: SlotSource, rank: Rank) -> None:
        """One more source, asked after those of its rank that came before."""
        self._sources.append((rank, source))
        self._sources.sort(key=lambda entry: entry[0])

    def next_slot(self, now_ns: int, *, is_stopping: bool) -> Slot | None:
        """The first that may go out; `is_stopping`: a stop is young, and only the search for a missing module goes on.

        A stop lasts for as long as standstill cannot be measured, so later on errands may find out why.
        """
        for rank, source in self._sources:
            if rank is Rank.ERRAND and is_stopping:
                continue
            wanted = source.next_slot(now_ns)
            if wanted is None:
                continue
            refusal = self._gate.refusal(wanted.request)
            if refusal is not None:
                source.refuse(wanted, refusal)
                continue
            timeout_ns = self._bounded_ns(wanted.request, wanted.timeout_ns, now_ns)
            return self._fence.passed(evolve(wanted, source=source, timeout_ns=timeout_ns), now_ns)
        return None

    def wakeups_ns(self, now_ns: int) -> Iterator[int | None]:
        """When each wants to be asked again."""
        return (source.wakeup_ns(now_ns) for _, source in self._sources)
