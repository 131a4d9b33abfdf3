"""The real daemon in a process of its own, watched from outside its code (owner of the recorded times).

The house runs as it is: configuration, supervision, signals, collector. Added are only a wrapper around the guardian's
`on_step`, other poll rates and other register maps where a benchmark asks for them.
"""

import argparse
import json
import signal
import time
from array import array
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

import trio

from oht50d.app import rooms as rooms_module
from oht50d.app.config import load_config
from oht50d.app.house import House
from oht50d.app.preparation import prepared
from oht50d.core import poll_rates
from oht50d.model.motion import Decision
from oht50d.model.registers import PollClass
from oht50d.model.units import Duration

Drive = Callable[[House], Awaitable[None]]


class Lateness:
    """When each tick of the guardian ran and how late it was, in nanoseconds of the monotonic clock."""

    def __init__(self) -> None:
        self.at_ns = array("q")
        self.late_ns = array("q")

    def watch(self, house: House) -> None:
        """Record beside whatever listens to the guardian already; steps that an input woke are not ticks."""
        assert house.rooms is not None
        guardian = house.rooms.guardian
        before = guardian.on_step

        def note(decision: Decision, lateness_ns: int) -> None:
            if lateness_ns > 0:
                self.at_ns.append(time.monotonic_ns())
                self.late_ns.append(lateness_ns)
            before(decision, lateness_ns)

        guardian.on_step = note

    def write(self, path: Path) -> None:
        path.write_text(json.dumps({"at_ns": self.at_ns.tolist(), "late_ns": self.late_ns.tolist()}), encoding="ascii")


def set_rates(periods_ms: Mapping[str, float]) -> None:
    """Other poll periods for rest and motion alike; the key `*` is for the classes that are not named."""
    rates = cast(dict[PollClass, poll_rates.Rate], poll_rates.RATES)
    for poll in PollClass:
        period_ms = periods_ms.get(poll.value, periods_ms.get("*"))
        if period_ms is not None:
            period = Duration(round(period_ms * 1e6))
            rates[poll] = poll_rates.Rate(period, period)


def scale_rates(factor: float) -> None:
    """All poll periods times `factor`: below about 0.7 the wire is always busy."""
    rates = cast(dict[PollClass, poll_rates.Rate], poll_rates.RATES)
    for poll, rate in rates.items():
        rates[poll] = poll_rates.Rate(Duration(round(rate.rest.ns * factor)), Duration(round(rate.moving.ns * factor)))


def use_maps(directory: Path) -> None:
    """Register maps from `directory` instead of the shipped ones."""
    setattr(rooms_module, "find_config_file", lambda name: directory / Path(name).name)  # noqa: B010 - typed attribute


async def _live(house: House, drive: Drive | None, lateness: Lateness) -> None:
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            nursery.start_soon(_obey, signals, house, nursery.cancel_scope)
            await nursery.start(_run, house, nursery.cancel_scope)
            lateness.watch(house)
            print(json.dumps({"event": "serving", "port": house.port}), flush=True)
            if drive is None:
                await trio.sleep_forever()
            else:
                await drive(house)
                house.request_stop("the benchmark is over")
                await trio.sleep_forever()


async def _run(house: House, scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
    await house.run(task_status)
    scope.cancel()


async def _obey(signals: Any, house: House, _scope: trio.CancelScope) -> None:
    async for number in signals:
        house.request_stop(signal.Signals(number).name)


def run_house(config: Path, drive: Drive | None = None) -> Lateness:
    """Run the daemon until SIGTERM or until `drive` has ended; returns what the guardian's ticks showed."""
    loaded = load_config(config, environ={})
    lateness = Lateness()
    house = House(loaded.config)
    with prepared(loaded):
        trio.run(_live, house, drive, lateness, instruments=[house.metrics.loop_lag])
    return lateness


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--lateness", type=Path, help="write the ticks here at the end")
    parser.add_argument("--periods-ms", type=json.loads, default={}, help='such as {"battery": 10, "*": 2000}')
    parser.add_argument("--scale", type=float, default=1.0, help="all poll periods times this")
    parser.add_argument("--maps", type=Path, help="directory of register maps")
    arguments = parser.parse_args()
    set_rates(arguments.periods_ms)
    scale_rates(arguments.scale)
    if arguments.maps is not None:
        use_maps(arguments.maps)
    lateness = run_house(arguments.config)
    if arguments.lateness is not None:
        lateness.write(arguments.lateness)


if __name__ == "__main__":
    main()
