"""What admission judges, put together from the present plan and the settings (no state)."""

from collections.abc import Mapping

from attrs import frozen

from oht50d.core.actuators import Actuators
from oht50d.core.admission import Load
from oht50d.core.safety_config import SafetyConfig
from oht50d.core.turnaround import Measured
from oht50d.core.wire_slots import WireTimes
from oht50d.model.registers import RegisterBlock


@frozen
class LoadMaker:
    """`refresh_ns` is how often each drive is told its demand, None if only when it changes."""

    actuators: Actuators
    config: SafetyConfig
    times: WireTimes
    refresh_ns: int | None

    def __call__(self, blocks: tuple[RegisterBlock, ...], measured: Mapping[int, Measured]) -> Load:
        """`measured` is by unit; for the others the assumption holds."""
        assumed = Measured.always(self.times.turnaround_ns)
        units = {block.unit for block in blocks} | {drive.unit for drive in self.actuators.drives}
        has_timeout = self.actuators.timeout_register is not None
        return Load(
            blocks=blocks,
            speed=self.times.speed,
            turnarounds={unit: measured.get(unit, assumed) for unit in units},
            drives=len(self.actuators.drives),
            drive_unit=self.actuators.drives[0].unit,
            refresh_ns=self.refresh_ns,
            drive_timeout_ns=self.config.drive_timeout.ns if has_timeout else None,
            safety_timeout_ns=self.times.safety_ns,
            other_timeout_ns=self.times.other_ns,
            probe_ns=self.times.probe_ns,
            loss_ns=self.config.moving_loss.ns,
        )
