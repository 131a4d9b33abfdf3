"""Requests, replies and results of the field bus (no state).

Function codes and exception codes: MODBUS Application Protocol Specification V1.1b3, sections 6 and 7.
"""

import enum
from collections.abc import Mapping
from typing import ClassVar

from attrs import frozen


@frozen
class ReadCoils:
    """Function 1: `count` coils from `address` of `unit`."""

    function: ClassVar[int] = 1
    unit: int
    address: int
    count: int


@frozen
class ReadDiscreteInputs:
    """Function 2: `count` discrete inputs."""

    function: ClassVar[int] = 2
    unit: int
    address: int
    count: int


@frozen
class ReadRegisters:
    """Function 3: `count` holding registers from `address` of `unit`."""

    function: ClassVar[int] = 3
    unit: int
    address: int
    count: int


@frozen
class ReadInputRegisters:
    """Function 4: `count` input registers."""

    function: ClassVar[int] = 4
    unit: int
    address: int
    count: int


@frozen
class WriteCoil:
    """Function 5: one coil."""

    function: ClassVar[int] = 5
    unit: int
    address: int
    is_on: bool


@frozen
class WriteRegister:
    """Function 6: one holding register."""

    function: ClassVar[int] = 6
    unit: int
    address: int
    word: int


@frozen
class WriteCoils:
    """Function 15: consecutive coils."""

    function: ClassVar[int] = 15
    unit: int
    address: int
    bits: tuple[bool, ...]


@frozen
class WriteRegisters:
    """Function 16: consecutive holding registers."""

    function: ClassVar[int] = 16
    unit: int
    address: int
    words: tuple[int, ...]


@frozen
class ReportServerId:
    """Function 17: what the device says of itself, in its maker's own format; serial line only."""

    function: ClassVar[int] = 17
    unit: int


@frozen
class MaskWriteRegister:
    """Function 22: the register becomes (itself AND `and_mask`) OR (`or_mask` AND NOT `and_mask`)."""

    function: ClassVar[int] = 22
    unit: int
    address: int
    and_mask: int
    or_mask: int


@frozen
class ReadWriteRegisters:
    """Function 23: writes `words` from `write_address`, then reads `read_count` registers from `read_address`."""

    function: ClassVar[int] = 23
    unit: int
    read_address: int
    read_count: int
    write_address: int
    words: tuple[int, ...]


class DeviceIdAccess(enum.IntEnum):
    """ReadDevId code of function 43/14: three streams of objects, or one object by its number."""

    BASIC = 1
    REGULAR = 2
    EXTENDED = 3
    INDIVIDUAL = 4


@frozen
class ReadDeviceIdentification:
    """Function 43, MEI type 14: the identification objects from number `object_id`, or that one object."""

    function: ClassVar[int] = 43
    unit: int
    access: DeviceIdAccess = DeviceIdAccess.BASIC
    object_id: int = 0


BusRequest = (
    ReadRegisters
    | WriteRegister
    | WriteRegisters
    | ReadCoils
    | ReadDiscreteInputs
    | ReadInputRegisters
    | WriteCoil
    | WriteCoils
    | ReportServerId
    | MaskWriteRegister
    | ReadWriteRegisters
    | ReadDeviceIdentification
)

ReadRequest = (
    ReadRegisters | ReadCoils | ReadDiscreteInputs | ReadInputRegisters | ReportServerId | ReadDeviceIdentification
)
"""Requests that change nothing in a device."""
RegisterWrite = WriteRegister | WriteRegisters
"""The only writes that register maps are made for."""


@frozen
class ReadReply:
    """The words of a function 3, 4 or 23 reply."""

    unit: int
    words: tuple[int, ...]
    function: int = 3


@frozen
class BitsReply:
    """The coils (`function` 1) or discrete inputs (2) that were asked for, without the padding."""

    unit: int
    function: int
    bits: tuple[bool, ...]


@frozen
class WriteReply:
    """The echo of a function 6 (count 1, `word`) or 16 (`count`, word None) request."""

    unit: int
    address: int
    count: int
    word: int | None

    @property
    def function(self) -> int:
        return 16 if self.word is None else 6


@frozen
class WriteCoilReply:
    """The echo of a function 5 request."""

    function: ClassVar[int] = 5
    unit: int
    address: int
    is_on: bool


@frozen
class WriteCoilsReply:
    """The echo of a function 15 request."""

    function: ClassVar[int] = 15
    unit: int
    address: int
    count: int


@frozen
class MaskWriteReply:
    """The echo of a function 22 request."""

    function: ClassVar[int] = 22
    unit: int
    address: int
    and_mask: int
    or_mask: int


@frozen
class ServerIdReply:
    """The bytes of a function 17 reply.

    They are a server id, a run indicator (0x00 off, 0xFF on) and more; where one ends only the device's maker knows.
    """

    function: ClassVar[int] = 17
    unit: int
    content: bytes


@frozen
class DeviceObject:
    """One identification object: 0 vendor, 1 product code, 2 revision, 3 URL, 4 product, 5 model, 6 application name,
    from 0x80 the maker's own."""

    object_id: int
    content: bytes


@frozen
class DeviceIdentificationReply:
    """Some objects of function 43/14; `next_object_id` names the first of those that follow, None if none do.

    `conformity` is what the device can: 1 basic, 2 regular, 3 extended, + 0x80 with individual access.
    """

    function: ClassVar[int] = 43
    unit: int
    access: DeviceIdAccess
    conformity: int
    next_object_id: int | None
    objects: tuple[DeviceObject, ...]


@frozen
class ExceptionReply:
    """A Modbus exception: `code` 1 to 11 (application protocol V1.1b3, section 7)."""

    unit: int
    function: int
    code: int


BusReply = (
    ReadReply
    | WriteReply
    | ExceptionReply
    | BitsReply
    | WriteCoilReply
    | WriteCoilsReply
    | MaskWriteReply
    | ServerIdReply
    | DeviceIdentificationReply
)

EXCEPTION_WORDS: Mapping[int, str] = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge",
    6: "busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target failed to respond",
}
"""The codes of section 7. 7 and 9 are no codes of V1.1b3; a device that sends them refuses all the same."""


class Failure(enum.Enum):
    """Why an exchange brought no reply that can be used."""

    SILENT = "silent"
    NOISE = "noise"
    MISMATCH = "mismatch"
    ABANDONED = "abandoned"
    FENCED = "fenced"
    LINK_LOST = "link_lost"


class Hint(enum.Enum):
    """What the bytes of a failed exchange say about its cause.

    ECHO: what came first is the request itself. BIAS: it begins with a byte that a line without bias makes.
    """

    ECHO = "echo"
    BIAS = "bias"


@frozen
class ExchangeResult:
    """One exchange on the wire; exactly one of `reply` and `failure` is set. Times are Trio-clock nanoseconds.

    The bytes are those of the frames as they were on the line. `hint` is of a failure only.
    """

    request: BusRequest
    reply: BusReply | None
    failure: Failure | None
    sent_ns: int
    ended_ns: int
    sent_bytes: int = 0
    received_bytes: int = 0
    hint: Hint | None = None

    @property
    def is_valid(self) -> bool:
        """True for a reply that carries what was asked for (an exception reply does not)."""
        return self.reply is not None and not isinstance(self.reply, ExceptionReply)
