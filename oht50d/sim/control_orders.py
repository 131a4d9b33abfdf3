"""The JSON objects that the control socket understands, one class for each kind of operation (no state).

A key is the name of a field; seconds and milliseconds are plain numbers here, durations with a unit in scenarios.
"""

from typing import Any

import attrs

from oht50d.model.units import Duration, milliseconds
from oht50d.sim.fault_kinds import FaultKind, Place
from oht50d.sim.faults import ScriptedFault
from oht50d.sim.line_settings import Parity
from oht50d.sim.scenario import ModuleSettings
from oht50d.sim.trace import TRACE_LIMIT

_SAME = (
    "module", "ratio", "code", "register", "count", "pieces", "place", "address", "serial", "firmware", "type",
)  # fmt: skip


def _span(seconds: float) -> Duration:
    return Duration(round(seconds * 1e9))


@attrs.frozen(kw_only=True)
class FaultOrder:
    """{"op": "fault"}: a fault from now on for `for_s` seconds (None: until cleared), again each `every_s`."""

    kind: FaultKind
    for_s: float | None = None
    after_s: float = 0.0
    every_s: float | None = None
    module: int | None = None
    ratio: float | None = None
    delay_ms: float | None = None
    delay_most_ms: float | None = None
    code: int | None = None
    register: str | None = None
    count: int | None = None
    pieces: int | None = None
    pause_ms: float | None = None
    period_ms: float | None = None
    place: Place | None = None
    address: int | None = None
    serial: int | None = None
    firmware: int | None = None
    type: int | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("for_s", "after_s", "every_s", "delay_ms", "delay_most_ms", "pause_ms", "period_ms"):
            number = getattr(self, name)
            if number is not None and not 0 <= number <= 1e9:
                raise ValueError(f"{name} must be 0 to 1e9")

    def script(self) -> ScriptedFault:
        spans = {
            "delay": self.delay_ms,
            "delay_most": self.delay_most_ms,
            "pause": self.pause_ms,
            "period": self.period_ms,
        }
        given: dict[str, Any] = {name: milliseconds(number) for name, number in spans.items() if number is not None}
        given |= {name: getattr(self, name) for name in _SAME if getattr(self, name) is not None}
        return ScriptedFault(
            kind=self.kind,
            at=_span(self.after_s),
            for_=None if self.for_s is None else _span(self.for_s),
            every=None if self.every_s is None else _span(self.every_s),
            **given,
        )


@attrs.frozen(kw_only=True)
class ObstacleOrder:
    """{"op": "obstacle"}: a circle in the hall; `ahead_mm` puts its near edge that far in front of the LiDAR."""

    id: str
    x_mm: float | None = None
    y_mm: float = 0.0
    ahead_mm: float | None = None
    radius_mm: float = 200.0
    vx_mm_s: float = 0.0
    vy_mm_s: float = 0.0
    for_s: float | None = None

    def __attrs_post_init__(self) -> None:
        if (self.x_mm is None) == (self.ahead_mm is None):
            raise ValueError("either x_mm or ahead_mm")
        if self.radius_mm <= 0:
            raise ValueError("radius_mm must be above 0")


@attrs.frozen(kw_only=True)
class SwitchOrder:
    """{"op": "estop"} with `open`, {"op": "reset_button"} with `pressed`."""

    open: bool | None = None
    pressed: bool | None = None


@attrs.frozen(kw_only=True)
class NameOrder:
    """{"op": "remove_obstacle"}."""

    id: str


@attrs.frozen(kw_only=True)
class PlaceOrder:
    """{"op": "place"}."""

    x_mm: float


@attrs.frozen(kw_only=True)
class TraceOrder:
    """{"op": "trace"}: frames from number `since` on, at most `limit`."""

    since: int = 0
    limit: int = TRACE_LIMIT


@attrs.frozen(kw_only=True)
class TurnaroundOrder:
    """{"op": "turnaround"}: from now on `module`, or without one every module, answers that long after t3.5."""

    ms: float
    module: int | None = None

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.ms <= 1000:
            raise ValueError("ms must be 0 to 1000")


@attrs.frozen(kw_only=True)
class PowerCycleOrder:
    """{"op": "power_cycle"}: without power from now on for `for_s`."""

    module: int
    for_s: float = 1.0


@attrs.frozen(kw_only=True)
class SwapOrder:
    """{"op": "swap"}: another board in its place, plugged in after `for_s`."""

    module: int
    serial: int | None = None
    firmware: int | None = None
    type: int | None = None
    for_s: float = 1.0

    def __attrs_post_init__(self) -> None:
        if self.serial is None and self.firmware is None and self.type is None:
            raise ValueError("serial, firmware or type: one must differ")


@attrs.frozen(kw_only=True)
class AddModuleOrder:
    """{"op": "add_module"}: one more module, with an identity and nothing else."""

    address: int
    type: int
    tag: str | None = None
    serial: int | None = None
    firmware: int | None = None
    turnaround_ms: float | None = None
    baud: int | None = None
    parity: Parity | None = None

    def settings(self) -> ModuleSettings:
        return ModuleSettings(
            address=self.address,
            type=self.type,
            tag=self.tag,
            serial=self.serial,
            firmware=self.firmware,
            turnaround=None if self.turnaround_ms is None else milliseconds(self.turnaround_ms),
            baud=self.baud,
            parity=self.parity,
        )


@attrs.frozen(kw_only=True)
class AddressOrder:
    """{"op": "remove_module"}."""

    address: int


@attrs.frozen(kw_only=True)
class LineSettingOrder:
    """{"op": "line_setting"}: a module is set to another speed or parity from now on."""

    module: int
    baud: int | None = None
    parity: Parity | None = None
