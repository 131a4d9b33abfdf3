"""The modules as Modbus devices: a register image from the map, live registers from `bindings` (no I/O).

Each `SlaveModule` owns its image and how it is set up. Strict devices: an unmapped address, also inside a span, is
exception 2; a write to a read-only register is exception 2; a word outside the map's limits is exception 3 and nothing
of the request is carried out. Source: MODBUS Application Protocol V1.1b3, sections 6.3, 6.6, 6.12 and 7.
"""

from collections.abc import Callable, Mapping

from attrs import Factory, define, field

from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ReadDeviceIdentification,
    ReadRegisters,
    ReadReply,
    RegisterWrite,
    ReportServerId,
    WriteRegister,
    WriteReply,
)
from oht50d.model.registers import DataType, ModuleMap, RegisterSpec
from oht50d.sim.line_settings import LineSettings
from oht50d.sim.module_identity import identify, report_server_id

SERVED_FUNCTIONS = frozenset({3, 6, 16, 17, 43})
ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3
RESET_ROLE = "module.reset_error"
KEPT_ROLES = frozenset({"position.x"})
"""What a module knows after a power cycle without being told: its place, which it measures."""

_LIMITS: Mapping[DataType, tuple[int, int]] = {
    DataType.UINT8: (0, 0xFF),
    DataType.UINT16: (0, 0xFFFF),
    DataType.INT16: (-0x8000, 0x7FFF),
}

Source = Callable[[], float]
Sink = Callable[[int], None]


@define
class SlaveModule:
    """One module: `sources` give engineering values of live registers, `sinks` take raw words that were written.

    `defaults` are the words at power-up. `turnaround_ns` and `line` are None where they are those of the whole line.
    """

    map: ModuleMap
    sources: Mapping[int, Source]
    sinks: Mapping[int, Sink]
    defaults: dict[int, int] = field(factory=dict)
    turnaround_ns: int | None = None
    line: LineSettings | None = None
    image: dict[int, int] = field(default=Factory(lambda self: dict(self.defaults), takes_self=True))
    _stuck: dict[int, int] = field(factory=dict)

    def power_up(self) -> None:
        """As after a loss of power: every register that can be written is at its default, errors are gone."""
        self.image.update(self.defaults)
        for address, sink in self.sinks.items():
            spec = self.map.by_address[address]
            if spec.role == RESET_ROLE:
                sink(1)
            elif spec.is_readable and spec.role not in KEPT_ROLES:
                sink(self.defaults[address])

    def become(self, *, serial: int | None = None, firmware: int | None = None, type_code: int | None = None) -> None:
        """Another board in the same place; what is None stays."""
        wanted = {"identity.firmware": firmware, "identity.type": type_code}
        if serial is not None:
            wanted |= {"identity.serial_low": serial & 0xFFFF, "identity.serial_high": serial >> 16}
        for role, word in wanted.items():
            spec = self.map.by_role.get(role)
            if spec is not None and word is not None:
                self.defaults[spec.address] = self.image[spec.address] = word

    def identity(self) -> dict[str, int]:
        """Serial number, firmware and type code as the module tells them."""
        words = {
            role: self.image[spec.address] for role, spec in self.map.by_role.items() if spec.address in self.image
        }
        serial = words.get("identity.serial_high", 0) << 16 | words.get("identity.serial_low", 0)
        type_code, firmware = words.get("identity.type", 0), words.get("identity.firmware", 0)
        return {"serial": serial, "firmware": firmware, "type": type_code}

    def word(self, address: int) -> int:
        """The word of a mapped register now."""
        if address in self._stuck:
            return self._stuck[address]
        source = self.sources.get(address)
        if source is None:
            return self.image[address]
        return raw_word(self.map.by_address[address], source())

    def hold(self, addresses: frozenset[int]) -> None:
        """Registers that keep their word from now on; those not named any more live again."""
        self._stuck = {address: self.word(address) for address in addresses}

    @property
    def stuck(self) -> frozenset[int]:
        """Addresses of the registers that keep their word."""
        return frozenset(self._stuck)

    def answer(self, request: BusRequest) -> BusReply:
        """Carry out a request and tell what the module replies (the caller drops it for a broadcast)."""
        if isinstance(request, ReadRegisters):
            return self._read(request)
        if isinstance(request, RegisterWrite):
            return self._write(request)
        if isinstance(request, ReportServerId):
            return report_server_id(request, self.identity(), self.map.tag)
        if isinstance(request, ReadDeviceIdentification):
            return identify(request, self.identity(), self.map.tag)
        return ExceptionReply(request.unit, request.function, ILLEGAL_FUNCTION)

    def _read(self, request: ReadRegisters) -> BusReply:
        span = range(request.address, request.address + request.count)
        specs = [self.map.by_address.get(address) for address in span]
        if not all(spec is not None and spec.is_readable for spec in specs):
            return ExceptionReply(request.unit, 3, ILLEGAL_ADDRESS)
        return ReadReply(request.unit, tuple(self.word(address) for address in span))

    def _write(self, request: RegisterWrite) -> BusReply:
        is_single = isinstance(request, WriteRegister)
        words = (request.word,) if isinstance(request, WriteRegister) else request.words
        function = 6 if is_single else 16
        for offset, word in enumerate(words):
            code = self._refusal(request.address + offset, word)
            if code is not None:
                return ExceptionReply(request.unit, function, code)
        for offset, word in enumerate(words):
            self._store(request.address + offset, word)
        return WriteReply(request.unit, request.address, len(words), words[0] if is_single else None)

    def _refusal(self, address: int, word: int) -> int | None:
        spec = self.map.by_address.get(address)
        if spec is None or not spec.is_writable:
            return ILLEGAL_ADDRESS
        raw = signed(spec, word)
        if (spec.minimum is not None and raw < spec.minimum) or (spec.maximum is not None and raw > spec.maximum):
            return ILLEGAL_VALUE
        return None

    def _store(self, address: int, word: int) -> None:
        self.image[address] = word
        sink = self.sinks.get(address)
        if sink is not None:
            sink(word)


def signed(spec: RegisterSpec, word: int) -> int:
    """The raw number of a word: negative for an int16 with the top bit set."""
    return word - 0x10000 if spec.data_type is DataType.INT16 and word & 0x8000 else word


def raw_word(spec: RegisterSpec, engineering: float) -> int:
    """The word for an engineering value, clamped to what the register's type can say."""
    low, high = _LIMITS[spec.data_type]
    return min(max(round(engineering / spec.scale), low), high) & 0xFFFF
