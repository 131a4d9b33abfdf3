"""Strict reading of the simulator's TOML and JSON: a table becomes an attrs value or one `ConfigError` (no state).

The key of a table is the name of a field; a trailing underscore, as in `for_`, is not part of the key.
"""

import difflib
import enum
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

import attrs

from oht50d.model.errors import ConfigError
from oht50d.model.units import Duration

T = TypeVar("T")


def build(kind: type[T], table: Mapping[str, object], *, file: str | None = None, key: str = "") -> T:
    """An instance of the attrs class `kind` from `table`; raises ConfigError for unknown, missing or mistyped keys."""
    attrs.resolve_types(kind)  # type: ignore[type-var]  # every caller passes an attrs class
    fields = {field.name.rstrip("_"): field for field in attrs.fields(kind)}  # type: ignore[arg-type]  # likewise
    for name in table:
        if name not in fields:
            nearest = next(iter(difflib.get_close_matches(name, fields)), None)
            raise ConfigError(_join(key, name), "unknown key", file=file, nearest=nearest)
    arguments: dict[str, object] = {}
    for name, field in fields.items():
        if name in table:
            arguments[field.name] = _convert(field.type, table[name], file=file, key=_join(key, name))
        elif field.default is attrs.NOTHING:
            raise ConfigError(_join(key, name), "missing key", file=file)
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ConfigError(key or kind.__name__, str(error), file=file) from error


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _convert(kind: Any, found: object, *, file: str | None, key: str) -> object:
    """`found` as `kind`: bool, int, float, str, Duration, an enum, an attrs class, `X | None` or `tuple[X, ...]`."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        kind = next(choice for choice in get_args(kind) if choice is not types.NoneType)
        return _convert(kind, found, file=file, key=key)
    if origin is tuple:
        return _convert_list(get_args(kind)[0], found, file=file, key=key)
    if attrs.has(kind) and kind is not Duration:
        if not isinstance(found, Mapping):
            raise _mistyped(key, "a table", found, file)
        return build(kind, found, file=file, key=key)
    return _convert_scalar(kind, found, file=file, key=key)


def _convert_list(kind: Any, found: object, *, file: str | None, key: str) -> tuple[object, ...]:
    if not isinstance(found, list):
        raise _mistyped(key, "a list", found, file)
    return tuple(_convert(kind, item, file=file, key=f"{key}[{index}]") for index, item in enumerate(found))


def _convert_scalar(kind: Any, found: object, *, file: str | None, key: str) -> object:
    if kind is Duration:
        return _duration(found, file=file, key=key)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = {member.value: member for member in kind}
        if not isinstance(found, str) or found not in choices:
            nearest = next(iter(difflib.get_close_matches(str(found), choices)), None)
            expected = " | ".join(choices)
            raise ConfigError(key, "unknown word", file=file, expected=expected, found=repr(found), nearest=nearest)
        return choices[found]
    if kind is float and type(found) is int:
        return float(found)
    if type(found) is not kind:
        raise _mistyped(key, kind.__name__, found, file)
    return found


def _duration(found: object, *, file: str | None, key: str) -> Duration:
    if not isinstance(found, str):
        raise _mistyped(key, 'a duration such as "200ms"', found, file)
    try:
        return Duration.parse(found)
    except ValueError as error:
        raise ConfigError(key, "not a duration", file=file, expected=str(error), found=repr(found)) from error


def _mistyped(key: str, expected: str, found: object, file: str | None) -> ConfigError:
    return ConfigError(key, "wrong type", file=file, expected=expected, found=repr(found))
