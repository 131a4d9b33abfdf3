"""Slots through the fence: as they are, behind a probe of another shape, or not yet (owner: wire schedule)."""

from oht50d.core.fence import Fence
from oht50d.core.module_link import ModuleLink
from oht50d.core.wire_slots import Purpose, Slot, WireTimes
from oht50d.model.bus import BusRequest, ExchangeResult, Failure, ReadRegisters

_LEFT_OPEN = (Failure.SILENT, Failure.ABANDONED, Failure.NOISE, Failure.MISMATCH)


class SlotFence:
    """The fence together with the links whose pause it sets; `links` are the bound modules by address."""

    def __init__(self, links: dict[int, ModuleLink], times: WireTimes) -> None:
        self._links = links
        self._times = times
        self._fence = Fence(times.max_late_ns)

    def passed(self, slot: Slot, now_ns: int) -> Slot | None:
        """The slot, or the probe that must come before it, or None if the unit must stay quiet."""
        request = slot.request
        if self.is_free(request, now_ns) and not self.follows_itself(request, now_ns):
            return slot
        probe = self._fence.probe(request.unit, now_ns)
        if probe is not None:
            return Slot(probe, Purpose.FENCE, slot.timeout_ns)
        link = self._links.get(request.unit)
        if link is not None:
            link.breaker.resume_ns = now_ns + self._times.max_late_ns
        return None

    def is_free(self, request: BusRequest, now_ns: int) -> bool:
        """True if a reply to `request` could be neither a late nor a repeated one."""
        return self._times.has_numbered_replies or self._fence.is_free(request, now_ns)

    def follows_itself(self, request: BusRequest, now_ns: int) -> bool:
        """True if a second copy of the reply just received would pass for the reply to `request`."""
        return not self._times.has_numbered_replies and self._fence.follows_itself(request, now_ns)

    def probe(self, unit: int, now_ns: int) -> ReadRegisters | None:
        """A harmless read whose shape is free; None if the unit must stay quiet first or is being left alone."""
        return None if self._links[unit].is_paused(now_ns) else self._fence.probe(unit, now_ns)

    def record(self, result: ExchangeResult) -> None:
        """Take the outcome of an exchange that went out."""
        request = result.request
        was_free = self._fence.is_free(request, result.sent_ns)
        self._fence.exchanged(request, result.ended_ns)
        if result.failure in _LEFT_OPEN:
            self._fence.missed(request, result.ended_ns)
        elif result.reply is not None and was_free:
            self._fence.answered(request)

    def unexpected(self, unit: int, now_ns: int) -> None:
        """Bytes came that nobody waits for, most likely of `unit`: a reply that is late or comes twice."""
        self._fence.unexpected(unit, now_ns)
