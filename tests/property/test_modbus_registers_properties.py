"""Round trips of registers: what a word says can be written back as the same word."""

from pathlib import Path

import hypothesis.strategies as st
import pytest
from attrs import evolve
from hypothesis import given

from oht50d.codec.map_file import RAW_LIMITS
from oht50d.codec.registers import decode_block, decode_register, encode_register, load_module_map, raw_of_word
from oht50d.model.errors import ConfigError, LocalProtocolError
from oht50d.model.registers import Access, ModuleKind, PollClass, Quality, RegisterBlock, RegisterSpec

MODULES = Path(__file__).parents[2] / "config" / "modules"
SPECS = tuple(
    spec
    for path in sorted(MODULES.glob("*.toml"))
    for spec in load_module_map(path.read_text(), file=path.name).registers
)
WORDS = st.integers(0, 0xFFFF)
BLOCKS = tuple(RegisterBlock(1, ModuleKind.DOCK, PollClass.SLOW, spec.address, (spec,)) for spec in SPECS)


@given(st.sampled_from(BLOCKS), WORDS)
def test_a_block_decodes_like_its_registers(block: RegisterBlock, word: int) -> None:
    readings = decode_block(block, (word,), requested_ns=1, received_ns=2)
    value, quality = decode_register(block.specs[0], word)
    assert (readings.values, readings.qualities) == ((value,), (quality,))
    assert type(readings.values[0]) is type(value)


@given(st.sampled_from(SPECS), WORDS)
def test_a_good_value_is_written_back_as_the_word_that_it_came_from(spec: RegisterSpec, word: int) -> None:
    writable = evolve(spec, access=Access.RW)
    value, quality = decode_register(spec, word)
    raw = raw_of_word(spec, word)
    lowest, highest = RAW_LIMITS[spec.data_type]
    assert lowest <= raw <= highest
    if quality is Quality.GOOD:
        assert encode_register(writable, value) == raw & 0xFFFF
    elif quality is Quality.UNKNOWN_CODE:
        assert value == raw


@given(st.sampled_from(SPECS), WORDS)
def test_quality_tells_whether_the_raw_number_is_within_its_limits(spec: RegisterSpec, word: int) -> None:
    raw = raw_of_word(spec, word)
    is_inside = (spec.minimum is None or raw >= spec.minimum) and (spec.maximum is None or raw <= spec.maximum)
    quality = decode_register(spec, word)[1]
    assert quality is Quality.UNKNOWN_CODE or (quality is Quality.GOOD) == is_inside


@given(
    st.sampled_from(SPECS),
    st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=6)),
)
def test_any_value_is_a_word_or_refused(spec: RegisterSpec, value: float | bool | str) -> None:
    try:
        word = encode_register(spec, value)
    except LocalProtocolError:
        return
    assert spec.is_writable
    assert 0 <= word <= 0xFFFF
    assert decode_register(spec, word)[1] is Quality.GOOD


@given(st.text(max_size=60))
def test_any_text_is_a_map_or_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as raised:  # 60 characters cannot be a module map
        load_module_map(text, file="any.toml")
    assert raised.value.line is not None
