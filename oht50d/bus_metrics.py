"""The bus in Prometheus' terms: outcomes by module, turnaround, use of the wire's time, the trace (no own state).

Drawn at scrape time from what watches the bus; names and base units: USERS.md, Conventions.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from oht50d.core.bus_sight import Sight
from oht50d.core.bus_stats import UnitStats
from oht50d.core.turnaround_histogram import BUCKETS_NS, TurnaroundHistogram

_MODULE = ("module",)
_UNIT_COUNTERS = (
    ("mismatches", "Replies to something else"),
    ("retries", "Requests that went out again after a failure"),
    ("abandoned", "Exchanges given up for a stop"),
)


class BusCollector(Collector):
    """What `oht50ctl bus stats` tells. Modules that no map binds share one label, so the labels are bounded."""

    def __init__(self, sight: Sight, now_ns: Callable[[], int]) -> None:
        self._sight = sight
        self._now_ns = now_ns

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not draw anything."""
        return ()

    def collect(self) -> Iterator[Metric]:
        sight = self._sight
        yield from self._modules()
        shares = sight.stats.time.recent(self._now_ns())
        use = GaugeMetricFamily("oht50_bus_time_ratio", "Use of the wire's time in the last 10 s", labels=("use",))
        for name in ("characters", "silence", "waiting", "idle", "dead"):
            if shares is not None:
                use.add_metric((name,), getattr(shares, name))
        yield use
        yield CounterMetricFamily("oht50_bus_trace_frames", "Frames traced", sight.trace.next_number)
        yield CounterMetricFamily("oht50_bus_trace_dropped", "Frames fallen out of the ring", sight.trace.first_number)
        errands = CounterMetricFamily("oht50_bus_errands", "Registers asked for from outside", labels=("outcome",))
        for outcome, count in sight.errands.counts.items():
            errands.add_metric((outcome.value,), count)
        yield errands

    def _modules(self) -> Iterator[Metric]:
        """Counters and one histogram a module."""
        units: dict[str, list[UnitStats]] = {}
        for unit, stats in self._sight.stats.units.items():
            module = self._sight.maps.get(unit)
            units.setdefault("other" if module is None else f"{module.kind.value}@{unit:#04x}", []).append(stats)
        for name, words in _UNIT_COUNTERS:
            family = CounterMetricFamily(f"oht50_bus_{name}", words, labels=_MODULE)
            for label, found in units.items():
                family.add_metric((label,), sum(getattr(stats, name) for stats in found))
            yield family
        codes = CounterMetricFamily(
            "oht50_bus_exceptions_by_code", "Modbus exceptions by code", labels=("module", "code")
        )
        turnaround = HistogramMetricFamily(
            "oht50_bus_turnaround_seconds",
            "From the silence after a request to its reply, without characters",
            labels=_MODULE,
        )
        for label, found in units.items():
            for code in sorted({code for stats in found for code in stats.exceptions}):
                codes.add_metric((label, str(code)), sum(stats.exceptions.get(code, 0) for stats in found))
            turnaround.add_metric((label,), *_histogram([stats.turnaround for stats in found]))
        yield codes
        yield turnaround


def _histogram(parts: Sequence[TurnaroundHistogram]) -> tuple[list[tuple[str, float]], float]:
    """Cumulative buckets and the sum, in seconds."""
    total, buckets = 0, []
    bounds = [*(repr(bound_ns / 1e9) for bound_ns in BUCKETS_NS), "+Inf"]
    for index, bound in enumerate(bounds):
        total += sum(part.counts[index] for part in parts)
        buckets.append((bound, float(total)))
    return buckets, sum(part.sum_ns for part in parts) / 1e9
