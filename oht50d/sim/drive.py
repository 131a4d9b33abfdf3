"""One simulated brushed drive: registers in, duty out, in fixed steps (the object owns the drive's whole state).

Source: travel_motor register map, 0x0000 to 0x000C (mode 1 on-off, 2 linear ramp, 3 PID; direction 0 idle, 1 forward,
2 reverse; setpoint 0..255 = 0..100 % duty; UNSIGNED measured speed). The ramp's period of 20 ms, the time constant of
mode 3 and the status bits are assumptions: the map leaves them undocumented.
"""

import enum
import math

from attrs import define

RAMP_PERIOD_NS = 20_000_000
FULL_SCALE = 255
PID_TIME_CONSTANT_NS = 150_000_000


class DriveMode(enum.IntEnum):
    """The drive law of register 0x0000."""

    ON_OFF = 1
    LINEAR = 2
    PID = 3


class StatusBit(enum.IntFlag):
    """The simulator's own layout of the status word."""

    ENABLED = 1
    TURNING = 2
    COMMUNICATION_TIMEOUT = 4
    ERROR = 8


@define
class Drive:
    """One motor with its power stage. `duty_ratio` is what reaches the motor, 0..1; the sign is `direction`."""

    mode: int = DriveMode.ON_OFF
    enable: int = 0
    setpoint: int = 0
    linear_input: int = 0
    linear_step: int = 5
    direction: int = 0
    error_code: int = 0
    has_timed_out: bool = False
    is_cut: bool = False
    duty_ratio: float = 0.0
    is_speeding_up: bool = False
    output_zero_since_ns: int | None = 0
    _ramp_elapsed_ns: int = 0

    @property
    def is_energised(self) -> bool:
        """The power stage drives the motor (or holds it at duty 0); otherwise the motor runs free."""
        return bool(self.enable) and self.direction in (1, 2) and not self.error_code and not self.is_cut

    @property
    def demand_ratio(self) -> float:
        """What the registers ask for, 0..1, before the ramp."""
        if self.mode == DriveMode.LINEAR:
            return min(self.linear_input, 100) / 100
        return min(self.setpoint, FULL_SCALE) / FULL_SCALE

    @property
    def is_settled(self) -> bool:
        """Nothing would change if time passed."""
        return self.duty_ratio == 0.0 and (not self.is_energised or self.demand_ratio == 0.0)

    @property
    def target_ratio(self) -> float:
        """Signed speed that the motor is driven towards, as a part of full speed."""
        return self.duty_ratio if self.direction == 1 else -self.duty_ratio

    def status_word(self, speed_mm_s: float) -> int:
        word = StatusBit.ENABLED if self.enable else StatusBit(0)
        word |= StatusBit.TURNING if speed_mm_s else StatusBit(0)
        word |= StatusBit.COMMUNICATION_TIMEOUT if self.has_timed_out else StatusBit(0)
        return int(word | (StatusBit.ERROR if self.error_code else StatusBit(0)))

    def time_out(self) -> None:
        """The communication time-out of the variant map: both demands go to zero and the status bit is set."""
        self.setpoint = 0
        self.linear_input = 0
        self.has_timed_out = True

    def step(self, step_ns: int, now_ns: int) -> None:
        """Advance the output by one step that ends at `now_ns`."""
        before = self.duty_ratio
        self.duty_ratio = self._next_duty(step_ns) if self.is_energised else 0.0
        if not self.is_energised:
            self._ramp_elapsed_ns = 0
        self.is_speeding_up = self.duty_ratio > before
        if self.duty_ratio > 0.0:
            self.output_zero_since_ns = None
        elif self.output_zero_since_ns is None:
            self.output_zero_since_ns = now_ns

    def _next_duty(self, step_ns: int) -> float:
        demand = self.demand_ratio
        if self.mode == DriveMode.LINEAR:
            return self._ramped(demand, step_ns)
        if self.mode == DriveMode.PID:
            duty = self.duty_ratio + (demand - self.duty_ratio) * -math.expm1(-step_ns / PID_TIME_CONSTANT_NS)
            return demand if abs(duty - demand) < 0.5 / FULL_SCALE else duty
        return demand

    def _ramped(self, demand: float, step_ns: int) -> float:
        self._ramp_elapsed_ns += step_ns
        if self._ramp_elapsed_ns < RAMP_PERIOD_NS:
            return self.duty_ratio
        self._ramp_elapsed_ns -= RAMP_PERIOD_NS
        most = self.linear_step / 100
        return self.duty_ratio + min(max(demand - self.duty_ratio, -most), most)
