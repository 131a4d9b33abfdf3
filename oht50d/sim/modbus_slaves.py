"""The four modules as Modbus devices: a register image from the map, live registers from `bindings` (no I/O).

Each `SlaveModule` owns its image. Strict devices: an unmapped address, also inside a span, is exception 2; a write to a
read-only register is exception 2; a word outside the map's limits is exception 3 and nothing of the request is carried
out. Source: MODBUS Application Protocol V1.1b3, sections 6.3, 6.6, 6.12 and 7.
"""

from collections.abc import Callable, Mapping

from attrs import define, field

from oht50d.model.bus import (
    BusReply,
    BusRequest,
    ExceptionReply,
    ReadRegisters,
    ReadReply,
    RegisterWrite,
    WriteRegister,
    WriteReply,
)
from oht50d.model.registers import DataType, ModuleMap, RegisterSpec

SERVED_FUNCTIONS = frozenset({3, 6, 16})
ILLEGAL_FUNCTION = 1
ILLEGAL_ADDRESS = 2
ILLEGAL_VALUE = 3

Source = Callable[[], float]
Sink = Callable[[int], None]


@define
class SlaveModule:
    """One module: `sources` give engineering values of live registers, `sinks` take raw words that were written."""

    map: ModuleMap
    sources: Mapping[int, Source]
    sinks: Mapping[int, Sink]
    image: dict[int, int] = field(factory=dict)
    _stuck: dict[int, int] = field(factory=dict)

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

    def answer(self, request: BusRequest) -> BusReply:
        """Carry out a request and tell what the module replies (the caller drops it for a broadcast)."""
        if isinstance(request, ReadRegisters):
            return self._read(request)
        if isinstance(request, RegisterWrite):
            return self._write(request)
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
    low, high = {
        DataType.UINT8: (0, 0xFF),
        DataType.UINT16: (0, 0xFFFF),
        DataType.INT16: (-0x8000, 0x7FFF),
    }[spec.data_type]
    return min(max(round(engineering / spec.scale), low), high) & 0xFFFF
