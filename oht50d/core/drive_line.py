"""From a demand to motion frames: what has been sent, what comes next (owner: wire schedule).

Order of a start: mode, direction, enable with demand 0, brake released, demand. A frame that was not answered is sent
again, at most `MAX_ATTEMPTS` times in a row; after that the outcome is unknown and unknown means stop (ARCHITECTURE).
"""

from collections.abc import Iterator

from oht50d.core.actuators import Actuators, Drive
from oht50d.core.motion_gate import MotionGate
from oht50d.core.safety_config import SafetyConfig
from oht50d.model.bus import BusRequest, ExchangeResult, RegisterWrite, WriteRegister
from oht50d.model.motion import MotionDemand, Permit

MAX_ATTEMPTS = 3


def refresh_ns(config: SafetyConfig, *, has_timeout: bool) -> int | None:
    """How often a drive that watches its communication is told its demand: twice within its time-out, and a reserve."""
    return config.drive_timeout.ns * 2 // 5 if has_timeout else None


class DriveLine:
    """What the drives were last told. `refresh_ns` repeats the demand for drives that watch their communication."""

    def __init__(self, actuators: Actuators, gate: MotionGate, refresh_ns: int | None) -> None:
        self._actuators = actuators
        self._gate = gate
        self.refresh_ns = refresh_ns
        self._acknowledged: dict[tuple[int, int], RegisterWrite] = {}
        self._acknowledged_ns: dict[tuple[int, int], int] = {}
        self._failures = 0
        self._is_energised = False

    @property
    def is_energised(self) -> bool:
        """True once any motion frame may have reached a drive since the last `forget`."""
        return self._is_energised

    def mark_energised(self) -> None:
        """A motion frame is about to go out, or drives that an abandoned stop left enabled are taken over."""
        self._is_energised = True

    @property
    def is_unknown(self) -> bool:
        return self._failures >= MAX_ATTEMPTS

    @property
    def commanded_direction(self) -> int:
        """The direction word that was acknowledged last; 0 if none."""
        for drive in self._actuators.drives:
            frame = self._acknowledged.get((drive.unit, drive.direction))
            if isinstance(frame, WriteRegister):
                return frame.word
        return 0

    @property
    def has_started(self) -> bool:
        """True once the brake was released: from then on the demand frames are the enable frames."""
        brake = self._actuators.brake
        return (brake.unit, brake.register) in self._acknowledged

    def acknowledged_ns(self, unit: int, address: int) -> int | None:
        """When the frame to a register was acknowledged last; None if it was not."""
        return self._acknowledged_ns.get((unit, address))

    def forget(self) -> None:
        """After a stop nothing of what was sent counts any more."""
        self._acknowledged.clear()
        self._acknowledged_ns.clear()
        self._failures = 0
        self._is_energised = False

    def next_request(self, demand: MotionDemand, permit: Permit, now_ns: int) -> RegisterWrite | None:
        """The next motion frame on the way to `demand`; None if there is nothing to say or the brake is unknown."""
        release = self._actuators.brake.release()
        if release is None:
            return None
        for request in self._sequence(demand, permit, release):
            if self._acknowledged.get((request.unit, request.address)) != request:
                return request
        return self._refresh(demand, permit, now_ns)

    def complete(self, result: ExchangeResult) -> None:
        """Record the outcome of a frame from `next_request`; one that was sent before `forget` counts for nothing."""
        if not self._is_energised:
            return
        request = result.request
        assert isinstance(request, RegisterWrite), "motion frames are register writes"
        if not result.is_valid:
            self._failures += 1
            return
        self._failures = 0
        self._acknowledged[(request.unit, request.address)] = request
        self._acknowledged_ns[(request.unit, request.address)] = result.ended_ns

    def _sequence(self, demand: MotionDemand, permit: Permit, release: RegisterWrite) -> Iterator[RegisterWrite]:
        drives = self._actuators.drives
        for drive in drives:
            yield WriteRegister(drive.unit, drive.mode, int(self._gate.drive_mode))
        for drive in drives:
            yield WriteRegister(drive.unit, drive.direction, demand.direction.value)
        if not self.has_started:
            for drive in drives:
                yield drive.output(enable=True, setpoint=0, linear_input=0)
        yield release
        for drive in drives:
            yield self._output(drive, demand, permit)

    def _refresh(self, demand: MotionDemand, permit: Permit, now_ns: int) -> RegisterWrite | None:
        """The drive that has waited longest first: on a slow wire none may be forgotten for another."""
        if self.refresh_ns is None:
            return None
        drive = min(self._actuators.drives, key=self._told_ns)
        return self._output(drive, demand, permit) if now_ns - self._told_ns(drive) >= self.refresh_ns else None

    def _told_ns(self, drive: Drive) -> int:
        return self._acknowledged_ns.get((drive.unit, drive.enable), 0)

    def directed(self, request: BusRequest) -> int | None:
        """The number of the drive whose direction a request writes, the last word before enable; None otherwise."""
        if not isinstance(request, WriteRegister):
            return None
        for drive in self._actuators.drives:
            if (request.unit, request.address) == (drive.unit, drive.direction):
                return drive.number
        return None

    def _output(self, drive: Drive, demand: MotionDemand, permit: Permit) -> RegisterWrite:
        setpoint, linear_input = self._gate.demand_words(demand, permit)
        return drive.output(enable=True, setpoint=setpoint, linear_input=linear_input)
