"""What watches the bus, joined: filled by the bus owner, read by the desks and the metrics (no state of its own)."""

from collections.abc import Callable, Mapping

from attrs import frozen

from oht50d.core.bus_stats import BusStats
from oht50d.core.bus_trace import BusTrace
from oht50d.core.errands import Errands
from oht50d.model.registers import ModuleMap


def _unknown(_unit: int) -> int | None:
    return None


@frozen(kw_only=True)
class Sight:
    """`p99_ns` is the turnaround of a unit's newest replies that admission counts with, None before enough of them."""

    trace: BusTrace
    stats: BusStats
    errands: Errands
    maps: Mapping[int, ModuleMap]
    character_ns: int
    is_tcp: bool = False
    p99_ns: Callable[[int], int | None] = _unknown
