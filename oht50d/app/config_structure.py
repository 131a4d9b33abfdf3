"""Plain TOML values to attrs settings, strictly: no coercion, no unknown key, a path for every problem (no state).

The one widening is a whole number where a float is expected: 300 and 300.0 mm/s are the same speed.
"""

import enum
import functools
import math
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, override

from oht50d.codec.strict_table import dotted, nearest
from oht50d.codec.toml_lines import Path as KeyPath
from oht50d.model.units import Duration, SettingClash, WrongText

Settings = TypeVar("Settings")
Hook = Callable[[Any, Any], Any]

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a finite number",
    str: "a text",
    list: "a list",
    dict: "a table",
}


_MUST = re.compile(r"must (?:be )?(.+?)(?:: [^:]+|, found .*)?$", re.DOTALL)


class WrongType(TypeError):
    """A value of another type than the setting's."""

    def __init__(self, expected: str, found: object) -> None:
        self.expected = expected
        self.found = describe(found)
        super().__init__(f"expected {expected}, found {self.found}")


class OutOfRange(ValueError):
    """A value of the right type that the setting's validator does not take."""

    def __init__(self, expected: str, found: object) -> None:
        self.expected = expected
        self.found = describe(found)
        super().__init__(f"expected {expected}, found {self.found}")


@attrs.frozen
class Problem:
    """One thing that is wrong with a settings tree, and where."""

    path: KeyPath
    why: str
    expected: str | None = None
    found: str | None = None
    nearest: str | None = None


class StructureError(Exception):
    """A settings tree that does not fit its class; `problem` is the first one."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.why)


def describe(found: object) -> str:
    """A value and its type in the words of a settings file."""
    kind = _WORDS.get(type(found), type(found).__name__)
    return kind if isinstance(found, list | dict) else f"{found!r} ({kind})"


def _exact(kind: type) -> Hook:
    def structure_exact(found: Any, wanted: Any) -> Any:
        if wanted is not kind:
            return _enum_member(found, wanted)  # cattrs takes an IntEnum for an int
        widened = _widened(found) if kind is float else found
        if type(widened) is not kind or (isinstance(widened, float) and not math.isfinite(widened)):
            raise WrongType(_WORDS[kind], found)
        return widened

    return structure_exact


def _widened(found: Any) -> Any:
    try:
        return float(found) if type(found) is int else found
    except OverflowError:
        return found  # not finite: refused as it is


def _duration(found: Any, _: Any) -> Duration:
    if type(found) is not str:
        raise WrongType('a duration with a unit, such as "200ms"', found)
    try:
        span = Duration.parse(found)
    except ValueError as error:
        raise WrongType(str(error), found) from error
    if span.ns <= 0:
        raise WrongType("a duration longer than zero", found)  # nothing is switched off by a zero
    return span


def _path(found: Any, _: Any) -> Path:
    if type(found) is not str or not found or "\0" in found:
        raise WrongType("a path", found)
    return Path(found)


def _enum_member(found: Any, kind: Any) -> Any:
    for member in kind:
        if type(found) is type(member.value) and found == member.value:
            return member
    raise WrongType("one of " + ", ".join(repr(member.value) for member in kind), found)


def _is_homogeneous_tuple(kind: Any) -> bool:
    return bool(typing.get_origin(kind) is tuple)


def _is_optional(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union) and type(None) in typing.get_args(kind)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and attrs.has(kind) and kind is not Duration


def _checked(attribute: "attrs.Attribute[Any]") -> Hook:
    """Structure one field and run its own validator, so that a failure is told with the field's name."""

    def structure_field(found: Any, _: Any) -> Any:
        setting = _structure_any(found, attribute.type)
        if attribute.validator is not None:
            try:
                attribute.validator(None, attribute, setting)
            except WrongText as error:
                raise OutOfRange(error.words, error.found) from error
            except ValueError as error:
                raise OutOfRange(_limits(error), found) from error
            except AttributeError:
                return setting  # it compares with other fields of its instance: the constructor judges it
        return setting

    return structure_field


def _limits(error: ValueError) -> str:
    """What a validator wants, from its message; those of attrs have the name before it and the value after it."""
    message = str(error.args[0]) if error.args else str(error)
    wanted = _MUST.search(message)
    return wanted[1] if wanted is not None else message


def _optional(kind: Any) -> Hook:
    # TOML has no null: a key that is present is the other member of the union
    (member,) = [argument for argument in typing.get_args(kind) if argument is not type(None)]
    return lambda found, _: _converter().structure(found, member)


def _sequence(kind: Any) -> Hook:
    member = types.GenericAlias(list, typing.get_args(kind)[0])

    def structure_sequence(found: Any, _: Any) -> Any:
        if type(found) is not list:
            raise WrongType("a list", found)
        return tuple(_structure_any(found, member))

    return structure_sequence


def _section(kind: Any) -> Hook:
    overrides = {
        attribute.name: override(struct_hook=_checked(attribute))
        for attribute in attrs.fields(attrs.resolve_types(kind))
        if attribute.init
    }
    options: dict[str, Any] = {"_cattrs_forbid_extra_keys": True, **overrides}
    inner = make_dict_structure_fn(kind, _converter(), **options)

    def structure_section(found: Any, _: Any) -> Any:
        if type(found) is not dict:
            raise WrongType("a table", found)
        return inner(found, kind)

    return structure_section


def _structure_any(found: Any, kind: Any) -> Any:
    return _converter().structure(found, kind)


@functools.cache
def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (bool, int, float, str):
        converter.register_structure_hook(kind, _exact(kind))
    converter.register_structure_hook(Duration, _duration)
    converter.register_structure_hook(Path, _path)
    converter.register_structure_hook_func(_is_enum, _enum_member)
    converter.register_structure_hook_factory(_is_homogeneous_tuple, _sequence)
    converter.register_structure_hook_factory(_is_optional, _optional)
    converter.register_structure_hook_factory(_is_section, _section)
    return converter


def structure(tree: Mapping[str, object], kind: type[Settings]) -> Settings:
    """An instance of the attrs class `kind`; raises StructureError for the first problem in the tree."""
    try:
        return _converter().structure(tree, kind)
    except Exception as error:  # cattrs collects whatever hooks and validators raise; `problems` sorts it out
        first = next(iter(problems(error)), None)
        if first is None:
            raise
        raise StructureError(first) from error


def problems(error: BaseException, path: KeyPath = ()) -> Iterator[Problem]:
    """Every leaf of a cattrs error tree, with the path of its key."""
    path = (*path, *_place(error))
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from problems(inner, path)
    else:
        yield from _leaf(error, path)


def _place(error: BaseException) -> KeyPath:
    """The step that cattrs noted on an error of a field or of a list's element."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (note.name,)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()


def _leaf(error: BaseException, path: KeyPath) -> Iterator[Problem]:
    match error:
        case ForbiddenExtraKeysError():
            known = [attribute.name for attribute in attrs.fields(error.cl) if attribute.init]
            yield from (unknown_key((*path, name), known) for name in sorted(error.extra_fields))
        case WrongType():
            yield Problem(path, "wrong type or choice", error.expected, error.found)
        case OutOfRange():
            yield Problem(path, "not allowed", error.expected, error.found)
        case SettingClash():
            key = (*path, *error.name.split("."))
            yield Problem(key, "does not fit the other settings", error.expected, str(error.found))
        case KeyError():
            yield Problem((*path, str(error.args[0])), "missing")
        case _:
            yield Problem(path, f"not allowed: {error.args[0] if error.args else error}")


def unknown_key(path: KeyPath, known: list[str]) -> Problem:
    """A key that nobody reads, with the nearest one that somebody does."""
    close = nearest(str(path[-1]), known)
    suggestion = dotted((*path[:-1], close)) if close else None
    return Problem(path, "unknown key", "one of " + ", ".join(sorted(known)), repr(path[-1]), suggestion)
