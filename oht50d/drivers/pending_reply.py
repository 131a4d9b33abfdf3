"""How long the reply of the exchange under way is waited for (owner: the line; one exchange at a time).

A stop, or a permit that runs out, shortens the wait (SAFETY.md, Stopping): a reply that has not begun 10 ms after its
earliest time is not waited for, one that has begun gets the time of its characters.
"""

import math

import trio

from oht50d.clock import NS_PER_S, now_ns
from oht50d.core.wire_slots import Slot
from oht50d.model.motion import StopKind

BEGIN_LIMIT_NS = 10_000_000
"""A reply that has not begun this long after its earliest time is not waited for when a stop is pending."""


class PendingReply:
    """`arm` before the frame goes out; then the reply is waited for between `begin` and `end`.

    One scope serves exchange after exchange, because making one costs as much as the exchange itself: its deadline is
    set only while a reply is waited for, and when it has passed the scope is used up.
    """

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._is_waiting = False
        self._deadline_ns = 0
        self._ends_ns = 0
        self._begins_ns = 0
        self._rest_ns = 0
        self._has_begun = False
        self._may_be_abandoned = False
        self._kind: StopKind | None = None
        self._permit_ends_ns: int | None = None

    def open(self) -> trio.CancelScope:
        """The scope of the exchanges to come; it ends when a reply does not come in time."""
        self._scope = trio.CancelScope()
        self._is_waiting = False
        return self._scope

    def arm(
        self,
        slot: Slot,
        *,
        earliest_ns: int,
        reply_ns: int,
        deadline_ns: int,
        kind: StopKind | None,
        permit_ends_ns: int | None,
    ) -> None:
        """`earliest_ns` is when a reply can begin, `reply_ns` what its characters and the silence after them take.

        `kind` is that of the stop whose frame this is; `permit_ends_ns` when the permit of energised drives runs out.
        """
        self._begins_ns = earliest_ns + BEGIN_LIMIT_NS
        self._rest_ns = reply_ns + BEGIN_LIMIT_NS
        self._deadline_ns = self._ends_ns = deadline_ns
        self._has_begun = False
        self._may_be_abandoned = slot.may_be_abandoned
        self._kind = kind
        self._permit_ends_ns = permit_ends_ns if slot.may_be_abandoned else None

    @property
    def deadline_ns(self) -> int:
        """When the reply has to be there, if no stop shortens the wait."""
        return self._deadline_ns

    @property
    def is_shortened(self) -> bool:
        """True if a stop, or a permit that runs out, has shortened the wait."""
        return self._ends_ns < self._deadline_ns

    def begin(self) -> None:
        """The wait begins."""
        self._is_waiting = True
        self._end_at(self._ends_ns)
        self._bound_by_permit()

    def end(self) -> None:
        """Nothing is waited for any more."""
        self._is_waiting = False
        self._scope.deadline = math.inf

    def note_begun(self) -> None:
        """The reply has begun: a permit that runs out gives it the time of its characters."""
        if not self._has_begun:
            self._has_begun = True
            self._bound_by_permit()

    def note_foreign(self) -> None:
        """What came was something else: nothing of what is waited for has begun."""
        self._has_begun = False

    def renew_permit(self, ends_ns: int | None) -> None:
        """A new permit for drives that are energised."""
        if self._permit_ends_ns is not None:
            self._permit_ends_ns = ends_ns
            self._bound_by_permit()

    def hurry(self, kind: StopKind | None) -> None:
        """A stop of this kind wants the wire."""
        is_harder = self._kind is not None and kind is not None and kind > self._kind
        if self._is_waiting and (self._may_be_abandoned or is_harder):
            at_ns = now_ns()
            ends_ns = at_ns + self._rest_ns if self._has_begun else max(self._begins_ns, at_ns)
            self._end_at(min(self._ends_ns, ends_ns))

    def _bound_by_permit(self) -> None:
        """When the permit runs out the bus owner stops by itself, and waits no longer than for any other stop."""
        if not self._is_waiting or self._permit_ends_ns is None:
            return
        ends_ns = max(self._permit_ends_ns, self._begins_ns)
        if self._has_begun:
            ends_ns = max(self._permit_ends_ns, now_ns()) + self._rest_ns
        self._end_at(min(self._deadline_ns, ends_ns))

    def _end_at(self, ends_ns: int) -> None:
        self._ends_ns = ends_ns
        self._scope.deadline = ends_ns / NS_PER_S
