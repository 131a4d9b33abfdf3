"""Our bus owner alone on a port, for the benchmarks: schedule, fence, line and typed decoding; no guardian, history or
web (no state of its own)."""

import gc
from collections.abc import Callable, Mapping
from pathlib import Path

import trio
from house_probe import set_rates

from oht50d.codec.registers import load_module_map
from oht50d.core.actuators import find_actuators
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.wire_schedule import WireSchedule, WireTimes
from oht50d.drivers import field_bus
from oht50d.drivers.field_bus import BusConfig, FieldBus
from oht50d.drivers.modbus_line import LineTimes
from oht50d.drivers.serial_port import SerialPortConfig, open_serial_port
from oht50d.drivers.timer import PreciseTimer
from oht50d.model.registers import BlockReadings

NAMES = ("power", "safety", "travel_motor", "dock")


def load_schedule(maps_dir: Path) -> WireSchedule:
    """The schedule of a robot with the four modules whose maps are in `maps_dir`."""
    maps = [load_module_map((maps_dir / f"{name}.toml").read_text(encoding="utf-8"), file=name) for name in NAMES]
    times = WireTimes(safety_ns=25_000_000, other_ns=50_000_000, probe_ns=25_000_000)
    return WireSchedule(maps, find_actuators(maps, released_word=1), SafetyConfig(), times)


def run_bus(
    port: str,
    maps_dir: Path,
    periods_ms: Mapping[str, float],
    publish: Callable[[WireSchedule, BlockReadings], bool],
    *,
    limit_s: float = float("inf"),
    is_paced: bool = True,
    lead_ns: int | None = None,
) -> None:
    """Poll until `publish` answers True. Unpaced means that no silence is kept. Raises trio.TooSlowError."""
    set_rates(periods_ms)
    schedule = load_schedule(maps_dir)
    scope = trio.CancelScope()

    def hear(readings: BlockReadings) -> bool:
        if publish(schedule, readings):
            scope.cancel()
        return False

    async def main() -> None:
        config = BusConfig(serial=SerialPortConfig(port=port, lock_dir=str(maps_dir)))
        timer = PreciseTimer()
        if lead_ns is not None:
            timer.lead_ns = lead_ns
        bus = FieldBus(config, schedule, timer, open_serial_port, hear, lambda _report: None)
        with trio.fail_after(limit_s), scope:
            await bus.run()
        timer.close()

    if not is_paced:
        setattr(field_bus, "line_times", lambda _config: LineTimes(0, 0))  # noqa: B010 - typed attribute
    gc.freeze()
    trio.run(main)
