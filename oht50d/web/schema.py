"""Strict request parsing: JSON to attrs values with exact types; anything else is refused by field (no state)."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import cattrs
from attrs import frozen
from quart import request

from oht50d.model.errors import CommandRejected

T = TypeVar("T")

STOP_WORDS = ("stop", "emergency_stop")
_FIELD_LIMIT = 8
_JSON_WORDS: Mapping[type, str] = {
    type(None): "null", bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list",
    dict: "an object",
}  # fmt: skip
_EXPECTED: Mapping[type, str] = {str: "a string", bool: "true or false", int: "a whole number (digits only)"}


@frozen(kw_only=True)
class LoginRequest:
    """Body of /auth/login (`remember_me` is accepted and changes nothing)."""

    username: str
    password: str
    remember_me: bool = False


@frozen(kw_only=True)
class RefreshRequest:
    """Body of /auth/refresh."""

    refresh_token: str


@frozen(kw_only=True)
class OneTimeRequest:
    """Body of /auth/one-time."""

    token: str


@frozen(kw_only=True)
class ControlRequest:
    """Body of /robot/control; `boot_id` and `epoch` are the claim that arm and disarm need; `force` is ignored."""

    command: str
    parameters: dict[str, Any] | None = None
    priority: str | int | None = None
    boot_id: str | None = None
    epoch: int | None = None
    force: bool = False


@frozen(kw_only=True)
class ResetRequest:
    """Body of /safety/reset: the button goes down (`hold`) or up (`release`, with the hold's id)."""

    action: str
    boot_id: str
    epoch: int
    hold_id: str | None = None
    force: bool = False


class _Doubled(dict[str, object]):
    """A JSON object with a key that stands in it twice; of such a key's values STOP counts, else the last."""

    name = ""


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) == len(pairs):
        return document
    doubled, seen = _Doubled(pairs), set()
    for name, value in pairs:
        if value in STOP_WORDS and doubled[name] != "stop":
            doubled[name] = value
        if name in seen:
            doubled.name = doubled.name or name
        seen.add(name)
    return doubled


class _Refused(ValueError):
    """Why a field does not take a value, in JSON's own words."""


def _mismatch(expected: str, found: object) -> _Refused:
    return _Refused(f"expected {expected}, found {_JSON_WORDS.get(type(found), 'something else')}")


def _exact(kind: type) -> Any:
    def hook(raw: object, _: object) -> object:
        if type(raw) is not kind:
            raise _mismatch(_EXPECTED[kind], raw)
        return raw

    return hook


def _number(raw: object, _: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise _mismatch("a number", raw)
    try:
        return float(raw)
    except OverflowError:
        raise _Refused("expected a number of at most 308 digits") from None


def _text_or_int(raw: object, _: object) -> object:
    if raw is None or type(raw) in (str, int):
        return raw
    raise _mismatch("a string or a whole number", raw)


def _object(raw: object, _: object) -> object:
    if raw is None or type(raw) is dict:
        return raw
    raise _mismatch("an object", raw)


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    for kind in (str, int, bool):
        converter.register_structure_hook(kind, _exact(kind))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(str | int | None, _text_or_int)
    converter.register_structure_hook(dict[str, Any] | None, _object)
    return converter


_CONVERTER = _converter()


def structure(document: object, kind: type[T], *, code: str = "INVALID_REQUEST") -> T:
    """`document` as a value of the attrs class `kind`; raises CommandRejected with `code`, field and issue."""
    if not isinstance(document, Mapping):
        raise invalid("body", "expected a JSON object", code=code)
    try:
        return _CONVERTER.structure(document, kind)
    # cattrs raises groups of whatever its hooks raised; every one of them speaks of the request, none of the program
    except Exception as error:  # noqa: BLE001 - see above
        issues = [_split(text) for text in cattrs.transform_error(error, format_exception=_describe)]
        first = issues[0]
        raise CommandRejected(
            code,
            f"{first['field']}: {first['issue']}",
            {**first, "fields": issues[:_FIELD_LIMIT]},
        ) from None


def invalid(field: str, issue: str, *, code: str = "INVALID_REQUEST") -> CommandRejected:
    """The refusal of a malformed request."""
    return CommandRejected(code, f"{field}: {issue}", {"field": field, "issue": issue})


async def body_as(kind: type[T], *, code: str = "INVALID_REQUEST") -> T:
    """The present request's JSON body as `kind`; raises CommandRejected."""
    return structure(decode_json(await request.get_data(as_text=False), code=code), kind, code=code)


def decode_json(raw: bytes | str, *, code: str = "INVALID_REQUEST") -> object:
    """Parsed JSON whose numbers are finite and whose text is text; raises CommandRejected with field `body`."""
    document = parse_json(raw, code=code)
    require_plain(document, code=code)
    return document


def parse_json(raw: bytes | str, *, code: str = "INVALID_REQUEST") -> object:
    """Parsed JSON with whatever the parser lets through, only to look for STOP in it; raises CommandRejected."""
    try:
        document: object = json.loads(raw, object_pairs_hook=_members)
    except (ValueError, RecursionError):
        raise invalid("body", "not JSON, or nested too deeply", code=code) from None
    return document


def require_plain(document: object, *, code: str = "INVALID_REQUEST") -> None:
    """Raises CommandRejected for what JSON cannot say (NaN, infinities), for what is no text and for a doubled key.

    A lone surrogate is legal JSON and no text: both would fail wherever they are stored, hashed or sent back.
    """
    try:
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        issue = "holds a number that is not finite, text that is not Unicode, or is nested too deeply"
        raise invalid("body", issue, code=code) from None
    waiting = [document]
    while waiting:
        part = waiting.pop()
        if isinstance(part, _Doubled):
            raise invalid(part.name, "given more than once", code=code)
        if isinstance(part, dict | list):
            waiting.extend(part.values() if isinstance(part, dict) else part)


def only_parameters(*names: str) -> None:
    """Raises CommandRejected for a parameter of the present request that is not in `names` or comes twice."""
    for name, given in request.args.lists():
        if name not in names:
            known = f"known are {', '.join(names)}" if names else "there are none here"
            raise invalid(name, f"unknown parameter; {known}")
        if len(given) > 1:
            raise invalid(name, "given more than once")


def _describe(error: BaseException, _: type | None) -> str:
    match error:
        case KeyError():
            return "required and missing"
        case cattrs.ForbiddenExtraKeysError():
            return "unknown: " + ", ".join(sorted(map(str, error.extra_fields)))
        case _Refused():
            return str(error)
        case _:
            return "not acceptable"


def _split(text: str) -> dict[str, str]:
    issue, _, path = text.rpartition(" @ ")
    if issue.startswith("unknown: "):
        return {"field": issue.removeprefix("unknown: ").split(", ")[0], "issue": "unknown field"}
    return {"field": path.removeprefix("$").removeprefix(".") or "body", "issue": issue}
