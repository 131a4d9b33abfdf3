"""Joins what watches the bus, and the technician's desks on it (no state of its own)."""

from collections.abc import Callable, Mapping, Sequence

from oht50d.core.bus_sight import Sight
from oht50d.core.bus_stats import BusStats
from oht50d.core.bus_trace import BusTrace
from oht50d.core.errands import Errands, Patience
from oht50d.core.motion_gate import MotionGate
from oht50d.core.probe_budget import module_claim
from oht50d.core.register_names import RegisterNames
from oht50d.core.wire_schedule import Rank, WireSchedule, WireTimes
from oht50d.drivers.bus_config import BusConfig, Transport
from oht50d.drivers.bus_transport import line_times
from oht50d.drivers.wall_clock import utc_now, utc_now_ns
from oht50d.model.bus import BusRequest
from oht50d.model.registers import ModuleMap
from oht50d.services.bus_desk import BusDesk
from oht50d.services.local_desk import Operation
from oht50d.services.ports import RecordSink, SnapshotSource
from oht50d.services.register_desk import RegisterDesk


def build_sight(
    config: BusConfig, schedule: WireSchedule, wire: WireTimes, maps: Sequence[ModuleMap]
) -> Sight:  # fmt: skip
    """Trace, statistics and errands; the errands become a source of the schedule."""

    def patience(request: BusRequest) -> Patience:
        link = schedule.links.get(request.unit)
        if link is None or link.is_dead:
            return Patience(wire.probe_wait_ns(request), 1, module_claim(request.unit))
        return Patience(wire.other_ns, 2)

    def p99_ns(unit: int) -> int | None:
        link = schedule.links.get(unit)
        return None if link is None else link.turnaround.p99_ns

    errands = Errands(patience, schedule.probe_budget)
    schedule.attach(errands, Rank.ERRAND)
    times = line_times(config)
    return Sight(
        trace=BusTrace(),
        stats=BusStats(times.character_ns, times.silence_ns),
        errands=errands,
        maps={module.address: module for module in maps},
        character_ns=times.character_ns,
        is_tcp=config.transport is Transport.TCP,
        p99_ns=p99_ns,
    )


def bus_operations(
    sight: Sight,
    gate: MotionGate,
    wake: Callable[[], None],
    snapshots: SnapshotSource,
    records: RecordSink,
) -> Sequence[Mapping[str, Operation]]:
    """What the local socket answers about the bus and its registers."""
    registers = RegisterDesk(
        names=RegisterNames(sight.maps.values()), errands=sight.errands, wake=wake, refusal=gate.refusal,
        snapshots=snapshots, records=records, utc_now=utc_now,
    )  # fmt: skip
    return BusDesk(sight, snapshots, utc_now_ns).operations, registers.operations
