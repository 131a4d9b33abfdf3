"""Words to typed values and back, one case for each kind of register."""

import math

import pytest

from oht50d.codec import registers
from oht50d.codec.registers import decode_block, decode_register, encode_register, raw_of_word, serial_number
from oht50d.model.errors import LocalProtocolError
from oht50d.model.registers import (
    Access,
    DataType,
    ModuleKind,
    ModuleMap,
    PollClass,
    Quality,
    Reading,
    RegisterBlock,
    RegisterSpec,
    RegisterValue,
)

GOOD, OUT, UNKNOWN = Quality.GOOD, Quality.OUT_OF_RANGE, Quality.UNKNOWN_CODE


def spec(
    kind: str = "uint16",
    unit: str = "",
    *,
    scale: float = 1.0,
    limits: tuple[int | None, int | None] = (None, None),
    choices: dict[int, str] | None = None,
    access: Access = Access.RW,
    address: int = 0,
) -> RegisterSpec:
    return RegisterSpec(
        address=address,
        name=f"r{address}",
        data_type=DataType(kind),
        scale=scale,
        unit=unit,
        access=access,
        description="d",
        minimum=limits[0],
        maximum=limits[1],
        choices=choices or {},
    )


WAYS = {0: "idle", 1: "forward", 2: "reverse"}


@pytest.mark.parametrize(
    ("register", "word", "value", "quality"),
    [
        (spec(), 0x8001, 0x8001, GOOD),
        (spec("int16", "mm"), 0xFFFF, -1, GOOD),
        (spec("int16", "mm"), 0x8000, -32768, GOOD),
        (spec("int16", "mm"), 0x7FFF, 32767, GOOD),
        (spec("uint8", "pwm"), 0xAB12, 0x12, GOOD),
        (spec("uint16", "V", scale=0.1), 243, 24.3, GOOD),
        (spec("int16", "A", scale=0.1), 0xFFF1, -1.5, GOOD),
        (spec("uint16", "", scale=0.01), 110, 1.1, GOOD),
        (spec("uint16", "m", scale=2.5), 3, 7.5, GOOD),
        (spec("uint8", "bool", limits=(0, 1)), 1, True, GOOD),
        (spec("uint8", "bool", limits=(0, 1)), 0x0100, False, GOOD),
        (spec("uint8", "bool", limits=(0, 1)), 2, True, OUT),
        (spec("uint8", "enum", limits=(0, 2), choices=WAYS), 2, "reverse", GOOD),
        (spec("uint8", "enum", limits=(0, 2), choices=WAYS), 3, 3, UNKNOWN),
        (spec("uint8", "enum", limits=(0, 1), choices=WAYS), 2, "reverse", OUT),
        (spec("uint8", "enum", limits=(0, 3)), 3, 3, GOOD),
        (spec("uint8", "enum", limits=(0, 3)), 4, 4, OUT),
        (spec("uint16", "ascii2"), 0x5341, "SA", GOOD),
        (spec("uint16", "ascii2"), 0x53C1, 0x53C1, UNKNOWN),
        (spec("uint16", "ascii2"), 0x0000, 0, UNKNOWN),
        (spec("uint16", "version"), 0x0101, "1.01", GOOD),
        (spec("uint16", "version"), 0x0A0B, "10.11", GOOD),
        (spec("uint16", "bitmap"), 0xF00F, 0xF00F, GOOD),
        (spec("uint16", "code"), 17, 17, GOOD),
        (spec("uint16", "mV", limits=(2500, 4200)), 2499, 2499, OUT),
        (spec("uint16", "mV", limits=(2500, 4200)), 4200, 4200, GOOD),
        (spec("int16", "degC", limits=(-40, 85)), 0xFFD7, -41, OUT),
        (spec("uint16", "%", scale=0.1, limits=(0, 1000)), 1001, 100.1, OUT),
    ],
)
def test_decoding(register: RegisterSpec, word: int, value: RegisterValue, quality: Quality) -> None:
    decoded = decode_register(register, word)
    assert decoded == (value, quality)
    assert type(decoded[0]) is type(value)


@pytest.mark.parametrize(
    ("register", "value", "word"),
    [
        (spec(), 7, 7),
        (spec("int16", "mm"), -1, 0xFFFF),
        (spec("uint16", "V", scale=0.1), 24.3, 243),
        (spec("uint16", "V", scale=0.1), 24, 240),
        (spec("uint16", "V", scale=0.1), 24.34, 243),
        (spec("int16", "A", scale=0.1), -1.5, 0xFFF1),
        (spec("uint8", "bool", limits=(0, 1)), True, 1),
        (spec("uint8", "bool", limits=(0, 1)), 0, 0),
        (spec("uint8", "enum", choices=WAYS), "forward", 1),
        (spec("uint8", "enum", choices=WAYS), 2, 2),
        (spec("uint16", "ascii2"), "SA", 0x5341),
        (spec("uint16", "version"), "1.01", 0x0101),
        (spec("uint16", "version"), 0x0102, 0x0102),
        (spec("uint16", "cmd", limits=(0, 1), access=Access.WO), 1, 1),
    ],
)
def test_encoding(register: RegisterSpec, value: RegisterValue, word: int) -> None:
    assert encode_register(register, value) == word


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (spec(access=Access.RO), 1),
        (spec(), 0x10000),
        (spec(), -1),
        (spec(), True),
        (spec(), "7"),
        (spec(), math.nan),
        (spec(), math.inf),
        (spec(), 10**400),
        (spec("uint8"), 256),
        (spec("int16"), 0x8000),
        (spec("uint16", "mV", limits=(2500, 4200)), 2499),
        (spec("uint16", "V", scale=0.1, limits=(0, 600)), 60.1),
        (spec("uint8", "bool", limits=(0, 1)), 2),
        (spec("uint8", "bool", limits=(0, 1)), 0.5),
        (spec("uint8", "bool", limits=(0, 1)), "true"),
        (spec("uint8", "enum", choices=WAYS), 3),
        (spec("uint8", "enum", choices=WAYS), "sideways"),
        (spec("uint8", "enum", choices=WAYS), True),
        (spec("uint16", "ascii2"), "SAF"),
        (spec("uint16", "ascii2"), "é!"),
        (spec("uint16", "version"), "101"),
        (spec("uint16", "version"), "1.256"),
        (spec("uint16", "version"), "256.1"),
        (spec("uint16", "version"), ".1"),
        (spec("uint16", "version"), "1."),
        (spec("uint16", "version"), "1.x"),
        (spec("uint16", "version"), 1.5),
    ],
)
def test_values_that_fit_no_register_are_refused(register: RegisterSpec, value: RegisterValue) -> None:
    with pytest.raises(LocalProtocolError):
        encode_register(register, value)


def block_of(*specs: RegisterSpec) -> RegisterBlock:
    return RegisterBlock(3, ModuleKind.SAFETY, PollClass.SAFETY, specs[0].address, specs)


def test_a_block_is_decoded_register_by_register() -> None:
    block = block_of(spec("int16", address=4), spec("uint8", "bool", limits=(0, 1), address=5))
    for _ in range(2):
        readings = decode_block(block, (0xFFFE, 3), requested_ns=10, received_ns=20)
        assert readings.block is block
        assert readings.words == (0xFFFE, 3)
        assert readings.values == (-2, True)
        assert readings.qualities == (GOOD, OUT)
        assert (readings.requested_ns, readings.received_ns) == (10, 20)


def test_a_reply_of_another_size_is_not_a_block() -> None:
    with pytest.raises(LocalProtocolError, match="1 words for a block of 2"):
        decode_block(block_of(spec(), spec(address=1)), (1,), requested_ns=0, received_ns=0)


def test_the_cache_of_decoders_is_bounded_and_never_mixes_blocks() -> None:
    blocks = [block_of(spec("int16" if index % 2 else "uint16")) for index in range(1200)]
    for index, block in enumerate(blocks):
        expected = -1 if index % 2 else 0xFFFF
        assert decode_block(block, (0xFFFF,), requested_ns=0, received_ns=0).values == (expected,)
    assert len(registers._DECODERS) <= 512  # the bound on memory cannot be seen from outside


def test_raw_of_word() -> None:
    assert raw_of_word(spec("uint8"), 0x1234) == 0x34
    assert raw_of_word(spec("int16"), 0xFFFF) == -1
    assert raw_of_word(spec("int16"), 0x7FFF) == 0x7FFF
    assert raw_of_word(spec("uint16"), 0xFFFF) == 0xFFFF


def reading(name: str, raw: int) -> Reading:
    return Reading(name, 0, None, raw, raw, "", GOOD, 0, 0)


def test_serial_number_is_two_registers_low_word_first() -> None:
    low = RegisterSpec(0xFB, "low", DataType.UINT16, 1, "", Access.RO, "d", role="identity.serial_low")
    high = RegisterSpec(0xFC, "high", DataType.UINT16, 1, "", Access.RO, "d", role="identity.serial_high")
    module_map = ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, (low, high))
    readings = {"low": reading("low", 0x5678), "high": reading("high", 0x1234)}
    assert serial_number(module_map, readings) == 0x12345678
    assert serial_number(module_map, {"low": readings["low"]}) is None
    assert serial_number(module_map, {"high": readings["high"]}) is None
    assert serial_number(ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, (low,)), readings) is None
    assert serial_number(ModuleMap(ModuleKind.DOCK, "t", "DCLO", 5, 5, True, False, (high,)), readings) is None
