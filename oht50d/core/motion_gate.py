"""The motion gate: the only place that lets a motion frame be encoded (SAFETY.md, Permits; no state of its own).

Every request passes `classify` before it is encoded. A motion frame needs a permit that is valid at that moment and
must stay inside its direction and limits; stop frames need none; whatever else touches the motion set is refused.
"""

import enum
from collections.abc import Iterable

from oht50d.core.actuators import Actuators, Drive
from oht50d.core.safety_config import DriveMode
from oht50d.model.bus import BusRequest, ReadRegisters, ReadRequest, RegisterWrite, WriteRegister, WriteRegisters
from oht50d.model.motion import MotionDemand, Permit
from oht50d.model.registers import ModuleMap

BROADCAST = 0
FULL_SETPOINT = 255
FULL_LINEAR_PERCENT = 100


class FrameClass(enum.Enum):
    """What a request would do to the robot."""

    READ = "read"
    SETTING = "setting"
    STOP = "stop"
    SET_UP = "set_up"
    MOTION = "motion"


class MotionGate:
    """Knows the motion set of the loaded maps; immutable after construction."""

    def __init__(self, maps: Iterable[ModuleMap], actuators: Actuators, drive_mode: DriveMode) -> None:
        self._maps = {module.address: module for module in maps}
        self._actuators = actuators
        self._mode = drive_mode
        self._stop_frames: frozenset[BusRequest] = frozenset(
            frame
            for drive in actuators.drives
            for frame in (drive.output(enable=False, setpoint=0, linear_input=0), drive.demand_zero())
        ) | {actuators.brake.apply()}

    def classify(self, request: BusRequest) -> FrameClass:
        """What the request is; anything that is not proven harmless is MOTION."""
        if isinstance(request, ReadRequest):
            return FrameClass.READ
        if not isinstance(request, RegisterWrite):
            # Coils, masked and combined writes: no map says what they touch.
            return FrameClass.MOTION
        if request in self._stop_frames:
            return FrameClass.STOP
        if self._is_timeout_set_up(request):
            return FrameClass.SET_UP
        return FrameClass.MOTION if self._touches_motion(request) else FrameClass.SETTING

    def check(self, request: BusRequest, permit: Permit | None, now_ns: int) -> bool:
        """True if the request may be encoded now."""
        if isinstance(request, ReadRegisters) or self.classify(request) is not FrameClass.MOTION:
            return True
        if not isinstance(request, RegisterWrite):
            return False
        return permit is not None and permit.is_valid(now_ns) and self._is_within(request, permit)

    def refusal(self, request: BusRequest) -> str | None:
        """Why somebody outside may not send this request, in words; None if it is a read or a harmless setting.

        Not for root either (SAFETY.md, Permits): stop frames and the drives' time-out are the bus owner's own too.
        """
        found = self.classify(request)
        if found in (FrameClass.READ, FrameClass.SETTING):
            return None
        if request.unit == BROADCAST:
            return "a broadcast is a motion frame, and only the motion gate may send one"
        module = self._maps.get(request.unit)
        if module is None:
            return f"no map binds {request.unit:#04x}: unknown modules are read-only"
        if not isinstance(request, RegisterWrite):
            return "no map says what such a write touches"
        if any(module.by_address.get(address) is None for address in _addresses(request)):
            return "it is in no map: unmapped addresses are never written"
        return "it belongs to the motion set: only the motion gate writes that, and a service mode does not exist yet"

    def demand_words(self, demand: MotionDemand, permit: Permit) -> tuple[int, int]:
        """(setpoint, linear input) of a demand, cut to the permit's duty limit, rounded down."""
        duty = max(0.0, min(demand.duty_ratio, permit.duty_limit_ratio))
        if self._mode is DriveMode.LINEAR:
            return 0, int(duty * FULL_LINEAR_PERCENT + 1e-9)
        return int(duty * FULL_SETPOINT + 1e-9), 0

    @property
    def drive_mode(self) -> DriveMode:
        return self._mode

    def _touches_motion(self, request: RegisterWrite) -> bool:
        module = self._maps.get(request.unit)
        if request.unit == BROADCAST or module is None:
            return True
        for address in _addresses(request):
            spec = module.by_address.get(address)
            if spec is None or spec.is_motion or not spec.is_writable:
                return True
        return False

    def _is_timeout_set_up(self, request: RegisterWrite) -> bool:
        return (
            isinstance(request, WriteRegister)
            and self._actuators.timeout_register is not None
            and (request.unit, request.address) == (self._actuators.timeout_unit, self._actuators.timeout_register)
            and 0 < request.word <= 200
        )

    def _is_within(self, request: RegisterWrite, permit: Permit) -> bool:
        """A motion frame must be one of the few shapes that motion is made of, inside the permit."""
        brake = self._actuators.brake.release()
        if brake is not None and request == brake:
            return True
        return any(self._is_drive_frame(request, drive, permit) for drive in self._actuators.drives)

    def _is_drive_frame(self, request: RegisterWrite, drive: Drive, permit: Permit) -> bool:
        if request.unit != drive.unit:
            return False
        if isinstance(request, WriteRegister):
            allowed = {drive.mode: int(self._mode), drive.direction: permit.direction.value}
            return allowed.get(request.address) == request.word
        if request.address != drive.enable or len(request.words) != 3 or request.words[0] != 1:
            return False
        return self._duty(request.words[1], request.words[2]) <= permit.duty_limit_ratio + 1e-9

    def _duty(self, setpoint: int, linear_input: int) -> float:
        """The duty that a pair of words could cause, whichever of the two the drive obeys."""
        return max(setpoint / FULL_SETPOINT, linear_input / FULL_LINEAR_PERCENT)


def _addresses(request: WriteRegister | WriteRegisters) -> range:
    count = len(request.words) if isinstance(request, WriteRegisters) else 1
    return range(request.address, request.address + count)
