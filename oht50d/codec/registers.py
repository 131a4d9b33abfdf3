"""Register words to typed values and back, after the module maps (state: one bounded cache of decoders).

Source of the conventions: CONFLICTS.md of the register lists (raw limits times scale; uint8 is the low byte; pairs low
word first) and the lists' own units: `version` reads 0x0101 as 1.01, `ascii2` is two ASCII characters.
"""

import re
from collections.abc import Callable, Mapping
from operator import call, ge, index, le
from struct import Struct
from typing import cast

from oht50d.codec.map_file import RAW_LIMITS, load_module_map
from oht50d.model.errors import LocalProtocolError
from oht50d.model.registers import (
    BlockReadings,
    DataType,
    ModuleMap,
    Quality,
    Reading,
    RegisterBlock,
    RegisterSpec,
    RegisterValue,
)

__all__ = ["decode_block", "decode_register", "encode_register", "load_module_map", "raw_of_word", "serial_number"]

_DECODERS: "dict[int, tuple[RegisterBlock, _BlockDecoder]]" = {}
_MAX_CACHED_BLOCKS = 512
_EXACT_DIVISOR_TOLERANCE = 1e-9
_FORMATS = {DataType.UINT8: "xB", DataType.UINT16: "H", DataType.INT16: "h"}
_MAX_MAGNITUDE = 1e12
_BYTE = re.compile("[0-9]{1,3}")


def raw_of_word(spec: RegisterSpec, word: int) -> int:
    """The 16 bits as the raw number that limits and defaults speak of: low byte, signed or unsigned."""
    if spec.data_type is DataType.UINT8:
        return word & 0xFF
    return word - 0x10000 if spec.data_type is DataType.INT16 and word & 0x8000 else word


def decode_register(spec: RegisterSpec, word: int) -> tuple[RegisterValue, Quality]:
    """One word as a typed value; a value out of its limits or with an unknown code is still given, and marked."""
    raw = raw_of_word(spec, word)
    to_value = _value_of_raw(spec)
    value = raw if to_value is None else to_value(raw)
    return raw if value is None else value, _quality(value, raw, *_limits(spec))


def decode_block(block: RegisterBlock, words: tuple[int, ...], *, requested_ns: int, received_ns: int) -> BlockReadings:
    """All words of one reply. Raises LocalProtocolError if there are not as many as the block has registers."""
    if len(words) != len(block.specs):
        raise LocalProtocolError(f"{len(words)} words for a block of {len(block.specs)} registers")
    values, qualities = _decoder_of(block).decode(words)
    return BlockReadings(block, words, values, qualities, requested_ns, received_ns)


def encode_register(spec: RegisterSpec, value: RegisterValue) -> int:
    """The word that a typed value is written as; numbers are rounded to the register's resolution.

    Raises LocalProtocolError for a read-only register, a value of another type, an unknown word, or a raw number
    outside the limits. An enum takes its word or its code, a bool also 0 and 1.
    """
    if not spec.is_writable:
        raise LocalProtocolError(f"{spec.name} is read-only")
    raw = _raw_of_value(spec, value)
    lowest, highest = _limits(spec)
    if not lowest <= raw <= highest:
        raise LocalProtocolError(f"{value!r} is out of range for {spec.name}")
    return raw & 0xFFFF


def serial_number(module_map: ModuleMap, readings: Mapping[str, Reading]) -> int | None:
    """The 32-bit serial number out of readings by register name; None if the map or the readings lack it."""
    low = module_map.by_role.get("identity.serial_low")
    high = module_map.by_role.get("identity.serial_high")
    if low is None or high is None or low.name not in readings or high.name not in readings:
        return None
    return readings[high.name].raw << 16 | readings[low.name].raw


class _BlockDecoder:
    """The columns of one block made ready, so that a reply in which all is well takes no step of Python a register.

    Words to raw numbers by one struct ("xB" is the low byte), raw numbers to values by one callable each.
    """

    __slots__ = ("_converters", "_highest", "_is_limited", "_lowest", "_pack", "_qualities", "_specs", "_unpack")

    def __init__(self, block: RegisterBlock) -> None:
        self._specs = block.specs
        self._pack = Struct(f">{block.count}H").pack
        self._unpack = Struct(">" + "".join(_FORMATS[spec.data_type] for spec in block.specs)).unpack
        self._converters = tuple(_value_of_raw(spec) or index for spec in block.specs)
        limits = [_limits(spec) for spec in block.specs]
        self._is_limited = limits != [RAW_LIMITS[spec.data_type] for spec in block.specs]
        self._lowest, self._highest = zip(*limits, strict=True)
        self._qualities = (Quality.GOOD,) * block.count

    def decode(self, words: tuple[int, ...]) -> tuple[tuple[RegisterValue, ...], tuple[Quality, ...]]:
        raws = self._unpack(self._pack(*words))
        found = tuple(map(call, self._converters, raws))
        is_within = all(map(le, self._lowest, raws)) and all(map(ge, self._highest, raws)) if self._is_limited else True
        if is_within and None not in found:
            return cast("tuple[RegisterValue, ...]", found), self._qualities
        values = tuple(raw if value is None else value for value, raw in zip(found, raws, strict=True))
        columns = zip(found, raws, self._lowest, self._highest, strict=True)
        return values, tuple(_quality(value, raw, lowest, highest) for value, raw, lowest, highest in columns)


def _decoder_of(block: RegisterBlock) -> _BlockDecoder:
    """Decoders by identity of the block: blocks are made once per map and a spec with choices has no hash."""
    cached = _DECODERS.get(id(block))
    if cached is not None and cached[0] is block:
        return cached[1]
    if len(_DECODERS) >= _MAX_CACHED_BLOCKS:
        _DECODERS.clear()
    decoder = _BlockDecoder(block)
    _DECODERS[id(block)] = (block, decoder)
    return decoder


def _quality(value: RegisterValue | None, raw: int, lowest: int, highest: int) -> Quality:
    if value is None:
        return Quality.UNKNOWN_CODE
    return Quality.GOOD if lowest <= raw <= highest else Quality.OUT_OF_RANGE


def _limits(spec: RegisterSpec) -> tuple[int, int]:
    lowest, highest = RAW_LIMITS[spec.data_type]
    return (
        lowest if spec.minimum is None else spec.minimum,
        highest if spec.maximum is None else spec.maximum,
    )


def _value_of_raw(spec: RegisterSpec) -> Callable[[int], RegisterValue | None] | None:
    """From raw number to value, where None marks a code without meaning; None if the raw number is the value."""
    if spec.choices:
        return spec.choices.get
    match spec.unit:
        case "bool":
            return bool
        case "ascii2":
            return _ascii2
        case "version":
            return _version
    if spec.scale == 1:
        return None
    divisor = round(1 / spec.scale)
    if divisor and abs(1 / spec.scale - divisor) < _EXACT_DIVISOR_TOLERANCE * divisor:
        return divisor.__rtruediv__  # 243 / 10 is 24.3, but 243 * 0.1 is 24.3 and a bit
    return float(spec.scale).__mul__


def _ascii2(raw: int) -> RegisterValue | None:
    text = chr(raw >> 8) + chr(raw & 0xFF)
    return text if text.isascii() and text.isprintable() else None


def _version(raw: int) -> RegisterValue | None:
    return f"{raw >> 8}.{raw & 0xFF:02d}"


def _raw_of_value(spec: RegisterSpec, value: RegisterValue) -> int:
    if isinstance(value, str):
        return _raw_of_text(spec, value)
    if isinstance(value, bool):
        if spec.unit != "bool":
            raise LocalProtocolError(f"{spec.name} is no boolean")
        return int(value)
    if spec.choices and value not in spec.choices:
        raise LocalProtocolError(f"{value!r} is no code of {spec.name}")
    if spec.unit in ("bool", "ascii2", "version") and not isinstance(value, int):
        raise LocalProtocolError(f"{value!r} is no value of {spec.name}")
    if not -_MAX_MAGNITUDE < value < _MAX_MAGNITUDE:
        raise LocalProtocolError(f"{value!r} is no number for {spec.name}")
    return round(value / spec.scale)


def _raw_of_text(spec: RegisterSpec, text: str) -> int:
    for code, word in spec.choices.items():
        if word == text:
            return code
    if spec.unit == "ascii2" and len(text) == 2 and text.isascii():
        return ord(text[0]) << 8 | ord(text[1])
    major, dot, minor = text.partition(".")
    if spec.unit == "version" and dot and _is_byte(major) and _is_byte(minor):
        return int(major) << 8 | int(minor)
    raise LocalProtocolError(f"{text!r} is no value of {spec.name}")


def _is_byte(text: str) -> bool:
    return _BYTE.fullmatch(text) is not None and int(text) <= 0xFF
