"""Register maps as values: what one 16-bit holding register means (no state; parsed by `codec/registers.py`)."""

import enum
from collections.abc import Mapping

from attrs import field, frozen

from oht50d.model.bus import ReadRegisters

RegisterValue = int | float | bool | str
"""A typed register: scaled numbers, booleans, enum and ASCII texts."""


class Access(enum.Enum):
    """What a register allows: read only, read and write, write only."""

    RO = "ro"
    RW = "rw"
    WO = "wo"


class DataType(enum.Enum):
    """How the 16 bits are read; `uint8` means only the low byte counts (CONFLICTS.md, CSV conventions)."""

    UINT8 = "uint8"
    UINT16 = "uint16"
    INT16 = "int16"


class PollClass(enum.Enum):
    """How often a register is read; the rates stand in `core/poll_plan.py`."""

    SAFETY = "safety"
    MOTOR = "motor"
    POSITION = "position"
    DOCK = "dock"
    IMU = "imu"
    INPUTS = "inputs"
    BATTERY = "battery"
    AUXILIARY = "auxiliary"
    SLOW = "slow"
    STATIC = "static"


class ModuleKind(enum.Enum):
    """What a module is for; the core knows kinds and roles, never addresses."""

    POWER = "power"
    SAFETY = "safety"
    TRAVEL = "travel"
    DOCK = "dock"


class Quality(enum.Enum):
    """What is known about a decoded value; age is judged by the reader."""

    GOOD = "good"
    OUT_OF_RANGE = "out_of_range"
    UNKNOWN_CODE = "unknown_code"
    STUCK = "stuck"
    """It has not changed for longer than its meaning allows (`stuck_after_ns`)."""


@frozen
class RegisterSpec:
    """One register. `minimum`, `maximum` and `default` are raw; value = raw * scale in `unit`.

    `is_motion` marks the motion set of SAFETY.md: only the motion gate may encode a write to it. `stuck_after_ns` is
    for what must vary by its meaning, such as the noise of a sensor: unchanged for so long it is not believed.
    """

    address: int
    name: str
    data_type: DataType
    scale: float
    unit: str
    access: Access
    description: str
    role: str | None = None
    minimum: int | None = None
    maximum: int | None = None
    default: int | None = None
    poll: PollClass | None = None
    is_safety_critical: bool = False
    is_motion: bool = False
    choices: Mapping[int, str] = field(factory=dict)
    stuck_after_ns: int | None = None

    @property
    def is_readable(self) -> bool:
        return self.access is not Access.WO

    @property
    def is_writable(self) -> bool:
        return self.access is not Access.RO


@frozen
class RegisterPair:
    """Two registers that form one 32-bit unsigned number, low word first (CONFLICTS.md G.2)."""

    name: str
    low: int
    high: int


@frozen
class ModuleMap:
    """All registers of one module as bound to one bus address; `registers` ascend by address."""

    kind: ModuleKind
    title: str
    tag: str
    type_code: int
    address: int
    is_mandatory: bool
    is_actuator: bool
    registers: tuple[RegisterSpec, ...]
    pairs: tuple[RegisterPair, ...] = ()
    source: str = ""
    by_address: Mapping[int, RegisterSpec] = field(init=False, repr=False, eq=False)
    by_name: Mapping[str, RegisterSpec] = field(init=False, repr=False, eq=False)
    by_role: Mapping[str, RegisterSpec] = field(init=False, repr=False, eq=False)

    @by_address.default
    def _index_addresses(self) -> Mapping[int, RegisterSpec]:
        return {spec.address: spec for spec in self.registers}

    @by_name.default
    def _index_names(self) -> Mapping[str, RegisterSpec]:
        return {spec.name: spec for spec in self.registers}

    @by_role.default
    def _index_roles(self) -> Mapping[str, RegisterSpec]:
        return {spec.role: spec for spec in self.registers if spec.role is not None}


@frozen
class RegisterBlock:
    """A contiguous run of mapped, readable registers of one poll class: at most 40 (SAFETY.md, Stopping)."""

    unit: int
    kind: ModuleKind
    poll: PollClass
    first: int
    specs: tuple[RegisterSpec, ...]
    request: ReadRegisters = field(init=False, repr=False, eq=False)
    """What reads it: made once, because it goes out many times a second."""

    @request.default
    def _make_request(self) -> ReadRegisters:
        return ReadRegisters(self.unit, self.first, len(self.specs))

    @property
    def count(self) -> int:
        return len(self.specs)


@frozen
class BlockReadings:
    """One reply, decoded: `values`, `qualities` and `words` run parallel to `block.specs`."""

    block: RegisterBlock
    words: tuple[int, ...]
    values: tuple[RegisterValue, ...]
    qualities: tuple[Quality, ...]
    requested_ns: int
    received_ns: int


@frozen
class Reading:
    """One register's last known value; `quality` speaks of the value, `received_ns` of its age."""

    name: str
    address: int
    role: str | None
    raw: int
    value: RegisterValue
    unit: str
    quality: Quality
    requested_ns: int
    received_ns: int
