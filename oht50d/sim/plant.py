"""The physics of the simulated carriage: drives, brake, track, battery, in fixed steps (the object owns all of it).

Deterministic: the same calls with the same times give the same state; time is an argument and noise is added outside.
Every figure of `PlantParameters` is an assumption for a carriage of DOMAIN 1, to be set by a scenario; the brake acts
when its relay is not energised and a drive with enable 0 coasts (SAFETY.md, first paragraph).
"""

from collections import deque
from collections.abc import Iterable

from attrs import Factory, define, field, frozen

from oht50d.model.units import Duration
from oht50d.sim.drive import FULL_SCALE, Drive

STEP_NS = 1_000_000
LOG_ENTRIES = 4096
_STEP_S = STEP_NS / 1e9


@frozen(kw_only=True)
class PlantParameters:
    """Figures of one carriage; accelerations are positive magnitudes."""

    full_speed_mm_s: float = 2000.0
    drive_accel_mm_s2: float = 1000.0
    coast_decel_mm_s2: float = 250.0
    brake_decel_mm_s2: float = 1500.0
    brake_delay: Duration = field(default=Duration(100_000_000))
    release_delay: Duration = field(default=Duration(50_000_000))
    start_x_mm: float = 3000.0
    lidar_offset_mm: float = 400.0
    soc_percent: float = 87.5
    capacity_ah: float = 50.0
    idle_current_a: float = 1.5
    drive_current_a: float = 8.0
    chain_cuts_drives: bool = False

    def __attrs_post_init__(self) -> None:
        for name in ("full_speed_mm_s", "drive_accel_mm_s2", "coast_decel_mm_s2", "brake_decel_mm_s2", "capacity_ah"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above 0")


@frozen
class LogEntry:
    """One change of the plant; `event` is output_on, output_zero, moving, standstill, brake_on, brake_off, ..."""

    monotonic_ns: int
    event: str


@define
class Plant:
    """A carriage between `low_x_mm` and `high_x_mm`; `x_mm` is its centre, `v_mm_s` signed along the track."""

    parameters: PlantParameters
    low_x_mm: float
    high_x_mm: float
    now_ns: int
    x_mm: float = field(default=Factory(lambda self: self.parameters.start_x_mm, takes_self=True))
    v_mm_s: float = 0.0
    a_mm_s2: float = 0.0
    soc_percent: float = field(default=Factory(lambda self: self.parameters.soc_percent, takes_self=True))
    drives: tuple[Drive, Drive] = Factory(lambda: (Drive(), Drive()))
    communication_timeout_ms: int = 0
    is_chain_open: bool = False
    is_reset_pressed: bool = False
    is_release_energised: bool = False
    is_brake_engaged: bool = True
    at_rest_since_ns: int | None = field(default=Factory(lambda self: self.now_ns, takes_self=True))
    log: deque[LogEntry] = Factory(lambda: deque(maxlen=LOG_ENTRIES))
    _brake_due_ns: int | None = None
    _last_write_ns: int = field(default=Factory(lambda self: self.now_ns, takes_self=True))
    _is_output_on: bool = False

    @property
    def lidar_x_mm(self) -> float:
        return self.x_mm + self.parameters.lidar_offset_mm

    @property
    def measured_pwm(self) -> int:
        """The speed as the drives report it: unsigned, 255 at full speed."""
        return min(FULL_SCALE, round(abs(self.v_mm_s) / self.parameters.full_speed_mm_s * FULL_SCALE))

    @property
    def battery_current_a(self) -> float:
        """Negative while discharging."""
        load = sum(drive.duty_ratio for drive in self.drives) * self.parameters.drive_current_a
        return -(self.parameters.idle_current_a + load)

    @property
    def battery_voltage_v(self) -> float:
        """Eight LiFePO4 cells: a flat open-circuit curve and 12 milliohm inside."""
        return 24.8 + 2.4 * self.soc_percent / 100 + 0.012 * self.battery_current_a

    def note(self, event: str) -> None:
        self.log.append(LogEntry(self.now_ns, event))

    def touch_drives(self) -> None:
        """A register of the drives' module was written: the communication time-out starts anew, its mark goes."""
        self._last_write_ns = self.now_ns
        for drive in self.drives:
            drive.has_timed_out = False

    def command_brake(self, is_release_energised: bool) -> None:
        """The relay of the brake; mechanically the brake follows after its delay."""
        if is_release_energised == self.is_release_energised:
            return
        self.is_release_energised = is_release_energised
        delay = self.parameters.release_delay if is_release_energised else self.parameters.brake_delay
        self._brake_due_ns = self.now_ns + delay.ns

    def open_chain(self, is_open: bool) -> None:
        """The stop-button chain; it cuts the drives and the brake relay only where the scenario says so."""
        if is_open != self.is_chain_open:
            self.is_chain_open = is_open
            self.note("chain_open" if is_open else "chain_closed")
        is_cut = is_open and self.parameters.chain_cuts_drives
        for drive in self.drives:
            drive.is_cut = is_cut
        if is_cut:
            self.command_brake(False)

    def place(self, x_mm: float) -> None:
        """Put the carriage somewhere, at rest."""
        self.x_mm = min(max(x_mm, self.low_x_mm), self.high_x_mm)
        self._set_speed(0.0)

    def advance(self, now_ns: int) -> None:
        """Integrate up to `now_ns` in whole steps; a time in the past changes nothing."""
        while self.now_ns + STEP_NS <= now_ns:
            if self._is_settled():
                skipped = (now_ns - self.now_ns) // STEP_NS
                self._drain_battery(skipped * _STEP_S)
                self.now_ns += skipped * STEP_NS
                self.a_mm_s2 = 0.0
                return
            self._step()

    def _is_settled(self) -> bool:
        if self.v_mm_s or self._brake_due_ns is not None or self._is_output_on:
            return False
        if self.communication_timeout_ms and self._has_demand():
            return False
        return self.drives[0].is_settled and self.drives[1].is_settled

    def _has_demand(self) -> bool:
        return any(drive.setpoint or drive.linear_input for drive in self.drives)

    def _step(self) -> None:
        self.now_ns += STEP_NS
        self._check_timeout()
        for drive in self.drives:
            drive.step(STEP_NS, self.now_ns)
        self._note_output()
        if self._brake_due_ns is not None and self.now_ns >= self._brake_due_ns:
            self._brake_due_ns = None
            self.is_brake_engaged = not self.is_release_energised
            self.note("brake_on" if self.is_brake_engaged else "brake_off")
        self._move()
        self._drain_battery(_STEP_S)

    def _check_timeout(self) -> None:
        limit_ns = self.communication_timeout_ms * 1_000_000
        if not limit_ns or self.now_ns - self._last_write_ns < limit_ns:
            return
        if self._has_demand():
            for drive in self.drives:
                drive.time_out()
            self.note("drive_timeout")

    def _note_output(self) -> None:
        is_on = self.drives[0].duty_ratio > 0.0 or self.drives[1].duty_ratio > 0.0
        if is_on != self._is_output_on:
            self._is_output_on = is_on
            self.note("output_on" if is_on else "output_zero")

    def _move(self) -> None:
        speed = self.v_mm_s
        after = _towards(speed, 0.0, self._resistance_mm_s2() * _STEP_S)
        if not self.is_brake_engaged:
            after = self._driven(after)
        self.x_mm += (speed + after) / 2 * _STEP_S
        if not self.low_x_mm <= self.x_mm <= self.high_x_mm:
            self.x_mm = min(max(self.x_mm, self.low_x_mm), self.high_x_mm)
            self.note("buffer_hit")
            after = 0.0
        self.a_mm_s2 = (after - speed) / _STEP_S
        self._set_speed(after)

    def _resistance_mm_s2(self) -> float:
        """A closed brake outweighs the drives; a drive without current adds its share of rolling resistance."""
        if self.is_brake_engaged:
            return self.parameters.brake_decel_mm_s2
        free = sum(not drive.is_energised for drive in self.drives)
        return self.parameters.coast_decel_mm_s2 * free / len(self.drives)

    def _driven(self, speed_mm_s: float) -> float:
        """Each energised drive pulls towards its own target with its share of the acceleration."""
        share = self.parameters.drive_accel_mm_s2 / len(self.drives) * _STEP_S
        for drive in self.drives:
            if drive.is_energised:
                speed_mm_s = _towards(speed_mm_s, drive.target_ratio * self.parameters.full_speed_mm_s, share)
        return speed_mm_s

    def _set_speed(self, speed_mm_s: float) -> None:
        is_moving = speed_mm_s != 0.0
        if is_moving and self.at_rest_since_ns is not None:
            self.at_rest_since_ns = None
            self.note("moving")
        elif not is_moving and self.at_rest_since_ns is None:
            self.at_rest_since_ns = self.now_ns
            self.note("standstill")
        self.v_mm_s = speed_mm_s

    def _drain_battery(self, span_s: float) -> None:
        used = self.battery_current_a * span_s / 36.0 / self.parameters.capacity_ah
        self.soc_percent = min(100.0, max(0.0, self.soc_percent + used))


def _towards(speed: float, target: float, most: float) -> float:
    return target if abs(target - speed) <= most else speed + (most if target > speed else -most)


def entries(log: Iterable[LogEntry]) -> list[dict[str, object]]:
    """The log as JSON."""
    return [{"monotonic_ns": entry.monotonic_ns, "event": entry.event} for entry in log]
