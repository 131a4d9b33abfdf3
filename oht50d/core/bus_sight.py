"""What watches the bus, joined: filled by the bus owner, read by the desks and the metrics (no state of its own)."""

from collections.abc import Callable, Mapping

from attrs import frozen

from oht50d.core.bus_stats import BusStats
from oht50d.core.bus_trace import BusTrace
from oht50d.core.errands import Errands
from oht50d.model.registers import ModuleMap


def _unknown() -> float | None:
    return None


@frozen(kw_only=True)
class Sight:
    """`headroom` is the share of the wire that admission leaves free, None where it is not known."""

    trace: BusTrace
    stats: BusStats
    errands: Errands
    maps: Mapping[int, ModuleMap]
    character_ns: int
    is_tcp: bool = False
    headroom: Callable[[], float | None] = _unknown
