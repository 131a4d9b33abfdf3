"""What a technician types for a register, as the word to be written: type, range and codes after the map (no state)."""

from oht50d.codec.map_file import RAW_LIMITS
from oht50d.codec.registers import decode_register, encode_register, raw_of_word
from oht50d.model.errors import LocalProtocolError
from oht50d.model.registers import Quality, RegisterSpec, RegisterValue

_TRUE = frozenset({"true", "on", "yes", "1"})
_MAX_ROUNDING = 1e-6
"""Of a step: what floats cannot tell, and nobody means."""
_FALSE = frozenset({"false", "off", "no", "0"})


class WrongValue(ValueError):
    """A value that the register cannot take; the message says what it takes."""


def word_of_text(spec: RegisterSpec, text: str, *, is_raw: bool) -> int:
    """The word for `text`: a value with the register's scale, or with `is_raw` the raw number. Raises WrongValue."""
    if not spec.is_writable:
        raise WrongValue(f"{spec.name} is read-only")
    try:
        if is_raw:
            return _raw_word(spec, text)
        value = _typed(spec, text)
        word = encode_register(spec, value)
    except LocalProtocolError:
        raise WrongValue(
            f"{text!r} is no value of {spec.name}; it takes {allowed_words(spec, is_raw=is_raw)}"
        ) from None
    if isinstance(value, int | float) and abs(value / spec.scale - round(value / spec.scale)) > _MAX_ROUNDING:
        raise WrongValue(f"{text!r} lies between two values of {spec.name}; it goes in steps of {_with_unit(spec, 1)}")
    return word


def allowed_words(spec: RegisterSpec, *, is_raw: bool = False) -> str:
    """What a register takes, for people: `0 to 100 %` or its words."""
    lowest, highest = RAW_LIMITS[spec.data_type]
    lowest = lowest if spec.minimum is None else spec.minimum
    highest = highest if spec.maximum is None else spec.maximum
    if is_raw:
        return f"{lowest} to {highest} (raw)"
    if spec.choices:
        return ", ".join(f"{word} ({code})" for code, word in sorted(spec.choices.items()))
    if spec.unit == "bool":
        return "on or off"
    return f"{lowest * spec.scale:g} to {_with_unit(spec, highest)}"


def _with_unit(spec: RegisterSpec, raw: int) -> str:
    unit = f" {spec.unit}" if spec.unit not in ("", "enum", "code", "bitmap") else ""
    return f"{raw * spec.scale:g}{unit}"


def _typed(spec: RegisterSpec, text: str) -> RegisterValue:
    word = text.strip().lower()
    if spec.unit == "bool" and not spec.choices:
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise LocalProtocolError(f"{text!r} is no boolean")
    if word in spec.choices.values():
        return word
    for convert in (lambda number: int(number, 0), float):
        try:
            return convert(word)
        except ValueError:
            continue
    return text.strip()


def _raw_word(spec: RegisterSpec, text: str) -> int:
    try:
        raw = int(text, 0)
    except ValueError:
        raise LocalProtocolError(f"{text!r} is no whole number") from None
    lowest, highest = RAW_LIMITS[spec.data_type]
    word = raw & 0xFFFF
    if not lowest <= raw <= highest or raw_of_word(spec, word) != raw:
        raise LocalProtocolError(f"{raw} does not fit {spec.data_type.value}")
    if decode_register(spec, word)[1] is not Quality.GOOD:
        raise LocalProtocolError(f"{raw} is out of range for {spec.name}")
    return word
