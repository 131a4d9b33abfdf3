"""The one Prometheus registry: a table of metrics drawn from the snapshot, HTTP counters, the loop-lag instrument.

Owner of the state: `Metrics` (one instance, made by `app/house.py`). Names and base units: USERS.md, Conventions;
`http_requests_total{status}` and `http_request_duration_seconds` are what the site's alert rules use (REQ_BE_14, 6.2).
A stale value stops being exported while its age goes on.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

import trio
from attrs import frozen
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from oht50d.bus_metrics import BusCollector
from oht50d.core.bus_sight import Sight
from oht50d.core.safety_word import CHAIN_FRESH_NS, SafetyWord, evaluate_safety_word
from oht50d.model.lidar import LidarLinkState
from oht50d.model.motion import MachineState
from oht50d.model.registers import Quality, Reading
from oht50d.model.snapshot import ModuleStatus, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[str, ...]
Sample = tuple[Labels, float]
Draw = Callable[[Snapshot, int], Iterable[Sample]]

_STEP_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25)
_HTTP_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_S = 1_000_000_000

FRESH_LIMITS_NS: dict[str, int] = {
    "battery": 5 * _S,
    "position": _S,
    "velocity": _S,
    "chain": CHAIN_FRESH_NS,
    "safety": _S,
    "drive": _S,
    "brake": _S,
    "docking": _S,
}
"""How long a reading counts as fresh for display, by the first word of its role (never used for control)."""

DEFAULT_FRESH_LIMIT_NS = 90 * _S
"""Three turns of the slowest poll set (30 s, DECISIONS, poll rates)."""


def fresh_limit_ns(role: str | None) -> int:
    """How old a reading with `role` may be and still count as fresh for display."""
    return FRESH_LIMITS_NS.get((role or "").partition(".")[0], DEFAULT_FRESH_LIMIT_NS)


def is_fresh(reading: Reading, now_ns: int) -> bool:
    """True while the reading is young enough and its value is good."""
    return reading.quality is Quality.GOOD and now_ns - reading.received_ns <= fresh_limit_ns(reading.role)


@frozen
class MetricRow:
    """One metric family: its name, kind (`gauge` or `counter`), help, label names and how its samples are drawn."""

    name: str
    kind: str
    help: str
    labels: Labels
    draw: Draw


def _one(number: float | None) -> Iterable[Sample]:
    return () if number is None else (((), float(number)),)


def _age_s(since_ns: int | None, now_ns: int) -> float | None:
    return None if since_ns is None else max(0, now_ns - since_ns) / 1e9


def _module_name(module: ModuleStatus) -> str:
    return f"{module.kind.value}@{module.address:#04x}"


def _per_module(number: Callable[[ModuleStatus, int], float | None]) -> Draw:
    def draw(snapshot: Snapshot, now_ns: int) -> Iterator[Sample]:
        for module in snapshot.modules:
            drawn = number(module, now_ns)
            if drawn is not None:
                yield (_module_name(module),), float(drawn)

    return draw


def _role(role: str, factor: float = 1.0) -> Draw:
    def draw(snapshot: Snapshot, now_ns: int) -> Iterable[Sample]:
        reading = snapshot.role(role)
        if reading is None or not is_fresh(reading, now_ns) or isinstance(reading.value, str):
            return ()
        return _one(float(reading.value) * factor)

    return draw


def _reading_age(snapshot: Snapshot, now_ns: int) -> Iterator[Sample]:
    for role in ("battery.voltage", "position.x", "velocity.x", "chain.open"):
        reading = snapshot.role(role)
        if reading is not None:
            yield (role,), (now_ns - reading.received_ns) / 1e9


def _states(snapshot: Snapshot, _: int) -> Iterator[Sample]:
    for state in MachineState:
        yield (state.name.lower(),), float(state is snapshot.state)


def _safety_words(snapshot: Snapshot, now_ns: int) -> Iterator[Sample]:
    present = evaluate_safety_word(snapshot, now_ns)
    for word in SafetyWord:
        yield (word.name.lower(),), float(word is present)


def _causes(snapshot: Snapshot, _: int) -> Iterator[Sample]:
    codes = {cause.code.value for cause in (*snapshot.latched_causes, *snapshot.decision.stop_causes)}
    for code in sorted(codes):
        yield (code,), 1.0


def _last_stop(name: str) -> Draw:
    def draw(snapshot: Snapshot, _: int) -> Iterable[Sample]:
        stop = snapshot.stop or (snapshot.last_stops[-1] if snapshot.last_stops else None)
        reached_ns: int | None = getattr(stop, name) if stop is not None else None
        return () if stop is None or reached_ns is None else _one((reached_ns - stop.detected_ns) / 1e9)

    return draw


def _stops(snapshot: Snapshot, _: int) -> Iterable[Sample]:
    numbers = [stop.number for stop in (*snapshot.last_stops, *((snapshot.stop,) if snapshot.stop else ()))]
    return _one(max(numbers, default=0))


def _lidar_up(snapshot: Snapshot, _: int) -> Iterable[Sample]:
    return _one(snapshot.lidar.state is LidarLinkState.SCANNING)


def _simulated(snapshot: Snapshot, _: int) -> Iterable[Sample]:
    return _one(snapshot.is_simulated)


_G, _C = "gauge", "counter"
_M = ("module",)

TABLE: tuple[MetricRow, ...] = (
    MetricRow("oht50_snapshot_age_seconds", _G, "Age of the snapshot that everything here is drawn from", (),
              lambda s, now: _one(_age_s(s.taken_ns, now))),
    MetricRow("oht50_simulated", _G, "1 if devices are simulated", (), _simulated),
    MetricRow("oht50_machine_state", _G, "1 for the present state of the machine", ("state",), _states),
    MetricRow("oht50_safety_state", _G, "1 for the API's word on safety", ("state",), _safety_words),
    MetricRow("oht50_latched", _G, "1 while the safety latch holds", (), lambda s, _: _one(s.is_latched)),
    MetricRow("oht50_stop_cause", _G, "1 for every cause that stops or latches now", ("cause",), _causes),
    MetricRow("oht50_permit", _G, "1 while a permit to move is valid", (),
              lambda s, now: _one(s.decision.permit is not None and s.decision.permit.is_valid(now))),
    MetricRow("oht50_speed_limit_metres_per_second", _G, "Active speed limit", (),
              lambda s, _: _one(s.speed_limit_mm_s / 1e3)),
    MetricRow("oht50_velocity_metres_per_second", _G, "Measured velocity along the track", (),
              _role("velocity.x", 1e-3)),
    MetricRow("oht50_position_metres", _G, "Measured position along the track", (), _role("position.x", 1e-3)),
    MetricRow("oht50_reading_age_seconds", _G, "Age of a reading, exported even when its value no longer is",
              ("reading",), _reading_age),
    MetricRow("oht50_module_up", _G, "1 while the module is identified and answers", _M,
              _per_module(lambda m, _: m.is_online)),
    MetricRow("oht50_module_last_reply_age_seconds", _G, "Age of the module's last valid reply", _M,
              _per_module(lambda m, now: _age_s(m.last_valid_ns, now))),
    MetricRow("oht50_bus_up", _G, "1 while the field bus port is open", (), lambda s, _: _one(s.wire.is_open)),
    MetricRow("oht50_bus_transactions_total", _C, "Exchanges on the field bus", (),
              lambda s, _: _one(s.wire.transactions)),
    MetricRow("oht50_bus_early_frames_total", _C, "Frames that came before they were due", (),
              lambda s, _: _one(s.wire.early_frames)),
    MetricRow("oht50_bus_unexpected_bytes_total", _C, "Bytes that came after a complete reply", (),
              lambda s, _: _one(s.wire.unexpected_bytes)),
    MetricRow("oht50_bus_headroom_ratio", _G, "Share of the wire that the poll plan leaves in the worst case", (),
              lambda s, _: _one(None if s.wire.plan is None else s.wire.plan.headroom)),
    MetricRow("oht50_bus_classes_given_way", _G, "Poll classes that are read less often because the wire is full", (),
              lambda s, _: _one(None if s.wire.plan is None else len(s.wire.plan.given_way))),
    MetricRow("oht50_bus_requests_total", _C, "Requests by module", _M, _per_module(lambda m, _: m.counters.requests)),
    MetricRow("oht50_bus_timeouts_total", _C, "Requests without a reply", _M,
              _per_module(lambda m, _: m.counters.timeouts)),
    MetricRow("oht50_bus_crc_errors_total", _C, "Replies thrown away for their CRC or shape", _M,
              _per_module(lambda m, _: m.counters.noise)),
    MetricRow("oht50_bus_exceptions_total", _C, "Modbus exception replies", _M,
              _per_module(lambda m, _: m.counters.exceptions)),
    MetricRow("oht50_lidar_up", _G, "1 while the LiDAR is scanning", (), _lidar_up),
    MetricRow("oht50_lidar_scan_age_seconds", _G, "Age of the last whole turn", (),
              lambda s, now: _one(_age_s(s.lidar.last_turn_ns, now))),
    MetricRow("oht50_lidar_samples_total", _C, "Measurements received", (), lambda s, _: _one(s.lidar.samples)),
    MetricRow("oht50_lidar_checksum_errors_total", _C, "Answers with a wrong checksum", (),
              lambda s, _: _one(s.lidar.checksum_errors)),
    MetricRow("oht50_lidar_noise_bytes_total", _C, "Bytes that belong to no answer", (),
              lambda s, _: _one(s.lidar.noise_bytes)),
    MetricRow("oht50_stops_total", _C, "Stops since the start", (), _stops),
    MetricRow("oht50_stop_first_frame_seconds", _G, "Last stop: detection to first frame", (),
              _last_stop("first_frame_ns")),
    MetricRow("oht50_stop_output_zero_seconds", _G, "Last stop: detection to zero output", (),
              _last_stop("output_zero_ns")),
    MetricRow("oht50_stop_standstill_seconds", _G, "Last stop: detection to measured standstill", (),
              _last_stop("standstill_ns")),
    MetricRow("oht50_battery_voltage_volts", _G, "Pack voltage", (), _role("battery.voltage")),
    MetricRow("oht50_battery_current_amperes", _G, "Pack current, sign as the module reports it", (),
              _role("battery.current")),
    MetricRow("oht50_battery_charge_ratio", _G, "State of charge, 0 to 1", (), _role("battery.soc", 1e-2)),
    MetricRow("oht50_battery_temperature_celsius", _G, "Mean pack temperature", (), _role("battery.temperature")),
)  # fmt: skip


class SnapshotCollector(Collector):
    """Draws TABLE from the newest snapshot at scrape time; must be called inside Trio (its clock gives the ages)."""

    def __init__(self, snapshot: Callable[[], Snapshot], now_ns: Callable[[], int]) -> None:
        self._snapshot = snapshot
        self._now_ns = now_ns

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not draw a snapshot before there is one."""
        return ()

    def collect(self) -> Iterator[Metric]:
        snapshot, now_ns = self._snapshot(), self._now_ns()
        for row in TABLE:
            family: GaugeMetricFamily | CounterMetricFamily
            if row.kind == "counter":
                family = CounterMetricFamily(row.name.removesuffix("_total"), row.help, labels=row.labels)
            else:
                family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
            for labels, number in row.draw(snapshot, now_ns):
                family.add_metric(labels, number)
            yield family


class LoopLag(trio.abc.Instrument, Collector):
    """How long single task steps keep the event loop (a histogram, the worst since the last scrape), and its tasks."""

    def __init__(self, clock_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._clock_ns = clock_ns
        self._bounds_ns = tuple(round(bound_s * 1e9) for bound_s in _STEP_BUCKETS_S)
        self._counts = [0] * (len(self._bounds_ns) + 1)
        self._began_ns = 0
        self._sum_ns = 0
        self._worst_ns = 0
        self._worst_task = ""

    @property
    def worst_s(self) -> float:
        """The worst step since the last scrape."""
        return self._worst_ns / 1e9

    @property
    def worst_task(self) -> str:
        """The name of the task that took it."""
        return self._worst_task

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._began_ns = self._clock_ns()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        step_ns = self._clock_ns() - self._began_ns
        self._counts[bisect_left(self._bounds_ns, step_ns)] += 1
        self._sum_ns += step_ns
        if step_ns > self._worst_ns:
            self._worst_ns, self._worst_task = step_ns, task.name

    def describe(self) -> Iterable[Metric]:
        """Nothing: a collect() would forget the worst step."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The step times and how many tasks there are; forgets the worst step. Call it inside Trio."""
        total, buckets = 0, []
        for bound_s, count in zip((*_STEP_BUCKETS_S, float("inf")), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if bound_s == float("inf") else repr(bound_s), float(total)))
        histogram = HistogramMetricFamily("oht50_loop_step_seconds", "How long a task step kept the event loop")
        histogram.add_metric((), buckets, self._sum_ns / 1e9)
        yield histogram
        yield GaugeMetricFamily("oht50_loop_step_worst_seconds", "The worst step since the last scrape", self.worst_s)
        living = trio.lowlevel.current_statistics().tasks_living
        yield GaugeMetricFamily("oht50_loop_tasks", "Tasks of the event loop; growth without end is a leak", living)
        self._worst_ns, self._worst_task = 0, ""


class Metrics:
    """The registry with everything in it; one per process."""

    def __init__(self, *, version: str) -> None:
        self.registry = CollectorRegistry()
        self.loop_lag = LoopLag()
        self.registry.register(self.loop_lag)
        ProcessCollector(registry=self.registry)
        self._requests = Counter("http_requests", "HTTP requests by status", ["status"], registry=self.registry)
        self._durations = Histogram(
            "http_request_duration_seconds", "HTTP request duration", buckets=_HTTP_BUCKETS_S, registry=self.registry
        )
        build = GaugeMetricFamily("oht50_build_info", "The running version", labels=("version",))
        build.add_metric((version,), 1.0)
        self.registry.register(_Constant(build))

    def watch(self, snapshot: Callable[[], Snapshot], now_ns: Callable[[], int]) -> None:
        """From now on a scrape draws TABLE from `snapshot()`, aged by `now_ns()`; call once."""
        self.registry.register(SnapshotCollector(snapshot, now_ns))

    def watch_bus(self, sight: Sight, now_ns: Callable[[], int]) -> None:
        """From now on a scrape tells what the bus is doing; call once."""
        self.registry.register(BusCollector(sight, now_ns))

    def count_request(self, status: int, duration_s: float) -> None:
        """One HTTP request was answered."""
        self._requests.labels(str(status)).inc()
        self._durations.observe(duration_s)

    def render(self) -> bytes:
        """The exposition text (CONTENT_TYPE); call it inside Trio."""
        return generate_latest(self.registry)


class _Constant(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family
