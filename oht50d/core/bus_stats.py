"""What the bus is doing, in numbers: outcomes and turnarounds by module, the use of the wire's time (owner: whoever
holds the instance; pure; bounded by 247 units and the codes of exceptions)."""

from attrs import define, field

from oht50d.core.turnaround_histogram import TurnaroundHistogram
from oht50d.core.wire_slots import Slot
from oht50d.core.wire_time import WireTime
from oht50d.model.bus import BusRequest, ExceptionReply, ExchangeResult, Failure

DEAD_AFTER = 3
"""A module that has failed so often in a row is dead: what its probes take is counted as the dead share."""

_FAILURES = frozenset({Failure.SILENT, Failure.NOISE, Failure.MISMATCH})


@define(eq=False)
class UnitStats:
    """Totals of one address since the start; every request ends as exactly one of the others (retries aside)."""

    requests: int = 0
    replies: int = 0
    timeouts: int = 0
    crc_errors: int = 0
    mismatches: int = 0
    abandoned: int = 0
    link_lost: int = 0
    retries: int = 0
    exceptions: dict[int, int] = field(factory=dict)
    turnaround: TurnaroundHistogram = field(factory=TurnaroundHistogram)
    failures_in_row: int = 0
    failed: BusRequest | None = None

    @property
    def is_dead(self) -> bool:
        return self.failures_in_row >= DEAD_AFTER

    def count(self, result: ExchangeResult) -> None:
        """One outcome."""
        self.requests += 1
        if self.failed is not None and self.failed == result.request:
            # Probes of another shape may have come in between.
            self.retries += 1
            self.failed = None
        if result.reply is not None:
            self.failures_in_row = 0
            if isinstance(result.reply, ExceptionReply):
                self.exceptions[result.reply.code] = self.exceptions.get(result.reply.code, 0) + 1
            else:
                self.replies += 1
            return
        self.failed = result.request
        self.failures_in_row += result.failure in _FAILURES
        self._count_failure(result.failure)

    def _count_failure(self, failure: Failure | None) -> None:
        match failure:
            case Failure.SILENT:
                self.timeouts += 1
            case Failure.NOISE:
                self.crc_errors += 1
            case Failure.MISMATCH:
                self.mismatches += 1
            case Failure.ABANDONED:
                self.abandoned += 1
            case _:
                self.link_lost += 1


class BusStats:
    """`record` takes every exchange; everything else is for reading."""

    def __init__(self, character_ns: int, silence_ns: int) -> None:
        self.units: dict[int, UnitStats] = {}
        self.time = WireTime(character_ns, silence_ns)
        self._character_ns = character_ns
        self._silence_ns = silence_ns

    def record(self, _slot: Slot, result: ExchangeResult) -> None:
        """One exchange that was made."""
        unit = result.request.unit
        stats = self.units.get(unit)
        if stats is None:
            stats = self.units[unit] = UnitStats()
        octets = result.sent_bytes + result.received_bytes
        self.time.add(result.sent_ns, result.ended_ns, octets, is_dead=stats.is_dead and result.reply is None)
        stats.count(result)
        if result.reply is not None:
            took_ns = result.ended_ns - result.sent_ns
            stats.turnaround.add(max(0, took_ns - octets * self._character_ns - self._silence_ns))
