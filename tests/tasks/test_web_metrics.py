"""Metrics: what a scrape says about fresh, stale and unknown, and the loop-lag instrument."""

import time

import trio
from attrs import evolve
from bus_fakes import shipped_maps
from prometheus_client import Metric
from web_fakes import boot_snapshot, modules, with_obstacle

from oht50d.clock import now_ns
from oht50d.core.bus_sight import Sight
from oht50d.core.bus_stats import BusStats
from oht50d.core.bus_trace import BusTrace
from oht50d.core.errands import Errands, Patience
from oht50d.core.frame_event import Note, Way
from oht50d.core.poll_plan import NEVER_NS
from oht50d.core.probe_budget import ProbeBudget
from oht50d.core.wire_slots import Purpose, Slot
from oht50d.metrics import TABLE, LoopLag, Metrics
from oht50d.model.bus import BusReply, ExceptionReply, ExchangeResult, Failure, ReadRegisters, ReadReply
from oht50d.model.snapshot import Snapshot
from oht50d.web.present_robot import status_view


def scrape(snapshot: Snapshot) -> dict[str, float]:
    metrics = Metrics(version="9.9.9")
    metrics.watch(lambda: snapshot, now_ns)
    lines = metrics.render().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


async def test_fresh_values_are_exported_in_base_units(autojump_clock) -> None:
    found = scrape(with_obstacle(boot_snapshot(now_ns())))
    assert found["oht50_battery_voltage_volts"] == 26.1
    assert found["oht50_battery_charge_ratio"] == 0.81
    assert found["oht50_position_metres"] == 1.5
    assert found['oht50_machine_state{state="safe"}'] == 1
    assert found['oht50_machine_state{state="move"}'] == 0
    assert found['oht50_stop_cause{cause="boot"}'] == 1
    assert found["oht50_stop_first_frame_seconds"] == 0.007
    assert found["oht50_stop_standstill_seconds"] == 0.29
    assert found['oht50_bus_timeouts_total{module="power@0x02"}'] == 2
    assert found['oht50_bus_crc_errors_total{module="power@0x02"}'] == 1
    assert found['oht50_build_info{version="9.9.9"}'] == 1
    assert found["oht50_stops_total"] == 3


async def test_a_stale_value_stops_and_its_age_goes_on(autojump_clock) -> None:
    snapshot = boot_snapshot(now_ns())
    await trio.sleep(6)
    found = scrape(snapshot)
    assert "oht50_battery_voltage_volts" not in found
    assert "oht50_position_metres" not in found
    assert found['oht50_reading_age_seconds{reading="battery.voltage"}'] >= 6
    assert found['oht50_module_last_reply_age_seconds{module="dock@0x05"}'] >= 6
    assert found["oht50_lidar_scan_age_seconds"] >= 6


async def test_unknown_is_absent(autojump_clock) -> None:
    snapshot = boot_snapshot(now_ns())
    silent = tuple(evolve(module, is_online=False, last_valid_ns=None, readings={}) for module in modules(0))
    found = scrape(evolve(snapshot, modules=silent, lidar=evolve(snapshot.lidar, last_turn_ns=None)))
    assert found['oht50_module_up{module="safety@0x03"}'] == 0
    assert not [name for name in found if name.startswith(("oht50_battery", "oht50_lidar_scan_age"))]
    assert 'oht50_module_last_reply_age_seconds{module="safety@0x03"}' not in found


async def test_the_bus_tells_what_it_does(autojump_clock) -> None:
    stats = BusStats(86_806, 1_750_000)
    slot = Slot(ReadRegisters(5, 0, 2), Purpose.POLL, 1)
    outcomes: list[tuple[int, BusReply | None, Failure | None]] = [
        (5, ReadReply(5, (1, 2)), None),
        (5, ExceptionReply(5, 3, 2), None),
        (5, None, Failure.MISMATCH),
        (5, None, Failure.ABANDONED),
        (0x44, None, Failure.SILENT),
        (0x45, ExceptionReply(0x45, 3, 1), None),
    ]
    await trio.sleep(1)
    for unit, reply, failure in outcomes:
        request = ReadRegisters(unit, 0, 2)
        stats.record(slot, ExchangeResult(request, reply, failure, now_ns() - 6_000_000, now_ns(), 8, 9))
    trace = BusTrace(max_frames=2)
    for _ in range(5):
        trace.add(now_ns(), Way.SENT, b"abcd", Note.SENT, Purpose.POLL)
    maps = {module.address: module for module in shipped_maps()}
    errands = Errands(lambda _: Patience(1, 1), ProbeBudget(lambda: NEVER_NS))
    metrics = Metrics(version="9.9.9")
    sight = Sight(trace=trace, stats=stats, errands=errands, maps=maps, character_ns=1)
    metrics.watch_bus(sight, now_ns)
    lines = metrics.render().decode().splitlines()
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}
    assert found['oht50_bus_mismatches_total{module="dock@0x05"}'] == 1
    assert found['oht50_bus_abandoned_total{module="dock@0x05"}'] == 1
    assert found['oht50_bus_exceptions_by_code_total{code="2",module="dock@0x05"}'] == 1
    assert found['oht50_bus_exceptions_by_code_total{code="1",module="other"}'] == 1
    assert found['oht50_bus_turnaround_seconds_count{module="dock@0x05"}'] == 2
    assert found['oht50_bus_turnaround_seconds_bucket{le="0.003",module="dock@0x05"}'] == 2
    assert found['oht50_bus_turnaround_seconds_count{module="other"}'] == 1
    assert found["oht50_bus_trace_frames_total"] == 5
    assert found["oht50_bus_trace_dropped_total"] == 3
    assert found['oht50_bus_errands_total{outcome="verified"}'] == 0
    assert 0 < found['oht50_bus_time_ratio{use="characters"}'] < 1


def test_names_follow_the_conventions() -> None:
    for row in TABLE:
        assert row.name.startswith("oht50_")
        assert (row.kind == "counter") == row.name.endswith("_total")
        assert row.help


def test_loop_lag_keeps_the_worst_step_until_the_scrape() -> None:
    lag = LoopLag()

    async def slow() -> None:
        await trio.lowlevel.checkpoint()
        began = time.perf_counter()
        while time.perf_counter() - began < 0.03:
            pass

    async def scraped() -> list[Metric]:
        await slow()
        return list(lag.collect())

    trio.run(slow, instruments=[lag])
    assert 0.03 <= lag.worst_s < 5
    assert lag.worst_task.endswith("slow")
    histogram, worst, _tasks = trio.run(scraped)
    counts = {sample.labels.get("le"): sample.value for sample in histogram.samples if sample.name.endswith("_bucket")}
    assert worst.samples[0].value >= 0.03
    assert counts["+Inf"] > counts["0.025"] > 0
    assert lag.worst_s == 0


async def test_the_tasks_of_the_loop_are_counted(autojump_clock) -> None:
    lag = LoopLag()

    def count() -> float:
        *_, tasks = lag.collect()
        return float(tasks.samples[0].value)

    alone = count()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(trio.sleep, 1)
        assert count() == alone + 5
    assert count() == alone


def test_an_instrumented_step_costs_little() -> None:
    lag = LoopLag()
    task = type("Task", (), {"name": "t"})()
    began = time.perf_counter()
    for _ in range(20_000):
        lag.before_task_step(task)
        lag.after_task_step(task)
    assert (time.perf_counter() - began) / 20_000 < 50e-6


async def test_the_word_on_safety_is_the_one_of_the_api(autojump_clock) -> None:
    snapshot = boot_snapshot(now_ns())
    view = status_view(snapshot, now_ns())
    found = scrape(snapshot)
    assert view["safety_status"] == "WARNING"
    assert found['oht50_safety_state{state="warning"}'] == 1
    assert found['oht50_safety_state{state="safe"}'] == 0
    await trio.sleep(2)
    assert scrape(snapshot)['oht50_safety_state{state="unavailable"}'] == 1
