"""Slots through the fence: as they are, or behind a probe of another shape (owner: wire schedule)."""

from attrs import evolve

from oht50d.core.fence import Fence
from oht50d.core.module_link import ModuleLink
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.model.bus import BusRequest, ExchangeResult, Failure, ReadRegisters, ReadRequest


class SlotFence:
    """The fence in front of all slots; `links` are the bound modules by address.

    Replies that carry the number of their request (Modbus TCP) need no fence.
    """

    def __init__(self, links: dict[int, ModuleLink], *, are_replies_numbered: bool = False) -> None:
        self._links = links
        self._are_replies_numbered = are_replies_numbered
        self._fence = Fence()

    def probe_with(self, read: ReadRegisters) -> None:
        """Beginnings of this read, which its unit is known to answer, are the probes for it."""
        self._fence.probe_with(read)

    def passed(self, slot: Slot, now_ns: int) -> Slot:
        """The slot, or the probe that must come before it."""
        request = slot.request
        if self.is_free(request) and not self.follows_itself(request, now_ns):
            return slot
        return Slot(self._fence.probe(request, now_ns), Purpose.FENCE, slot.timeout_ns, delayed=slot)

    def is_free(self, request: BusRequest) -> bool:
        """True if a reply to `request` could be neither a late nor a repeated one."""
        return self._are_replies_numbered or self._fence.is_free(request)

    def follows_itself(self, request: BusRequest, now_ns: int) -> bool:
        """True if a second copy of the reply just received would pass for the reply to `request`."""
        return not self._are_replies_numbered and self._fence.follows_itself(request, now_ns)

    def probe(self, wanted: BusRequest, now_ns: int) -> ReadRegisters | None:
        """The harmless read whose answer frees `wanted`; None while its unit is being left alone."""
        return None if self._links[wanted.unit].is_paused(now_ns) else self._fence.probe(wanted, now_ns)

    def sent(self, slot: Slot) -> Slot:
        """The slot, which goes out now."""
        if not self._are_replies_numbered:
            self._fence.sent(slot.request)
        return slot

    def attributed(self, slot: Slot, result: ExchangeResult) -> ExchangeResult:
        """The outcome of the slot that was sent last, `FENCED` if its reply may belong to an older request.

        Whichever of its repeats a probe's answer belongs to, its unit is there again: that answer is told as it is.
        """
        if self._are_replies_numbered:
            return result
        attributed = self._fence.attributed(result)
        return result if slot.purpose is Purpose.FENCE and result.is_valid else attributed

    def unexpected(self, octets: bytes, now_ns: int) -> None:
        """Bytes came that nobody waits for: a reply that is late or comes twice."""
        self._fence.unexpected(octets, now_ns)

    @staticmethod
    def tell_delayed(probe: Slot, result: ExchangeResult) -> None:
        """A source whose slot waits for a probe that was not answered learns of that: a read has failed in the same
        way, a write was not sent at all."""
        slot = probe.delayed
        if slot is None or slot.source is None or result.reply is not None or result.failure is Failure.ABANDONED:
            return
        if isinstance(slot.request, ReadRequest):
            slot.source.complete(slot, evolve(result, request=slot.request))
        else:
            slot.source.refuse(slot, "not sent: replies to older requests may still come, and the module is silent")
