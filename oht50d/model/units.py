"""Quantities that carry their unit in their type (no state)."""

import re
from collections.abc import Callable
from typing import Any

from attrs import Attribute, frozen

Validator = Callable[[Any, "Attribute[Any]", Any], Any]
"""An attrs validator."""


class SettingClash(ValueError):
    """A setting that is senseless beside another one; `name` is its dotted name within the section that raises."""

    def __init__(self, name: str, expected: str, found: object) -> None:
        self.name = name
        self.expected = expected
        self.found = found
        super().__init__(f"{name} must be {expected}, found {found}")


class WrongText(ValueError):
    """A text, alone or in a list, that is not what `words` say."""

    def __init__(self, name: str, words: str, found: str) -> None:
        self.words = words
        self.found = found
        super().__init__(f"{name} must be {words}, found {found!r}")


_UNITS_NS = {
    "us": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_MAX_NS = 365_000 * _UNITS_NS["d"]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s|min|h|d)")


@frozen(order=True)
class Duration:
    """A span of time; settings write it with its unit: `"25ms"`, `"2s"`."""

    ns: int

    @classmethod
    def parse(cls, text: str) -> "Duration":
        """From text such as `"200ms"` (us, ms, s, min, h, d); raises ValueError for anything else."""
        match = _DURATION.fullmatch(text.strip())
        if match is None:
            raise ValueError('a duration with a unit, such as "200ms", "2s" or "1h"')
        span_ns = float(match[1]) * _UNITS_NS[match[2]]
        if span_ns > _MAX_NS:
            raise ValueError("a duration of at most 1000 years")
        return cls(round(span_ns))

    @property
    def s(self) -> float:
        return self.ns / 1e9

    @property
    def ms(self) -> float:
        return self.ns / 1e6

    def __str__(self) -> str:
        for unit in ("d", "h", "min", "s", "ms"):
            if self.ns and self.ns % _UNITS_NS[unit] == 0:
                return f"{self.ns // _UNITS_NS[unit]}{unit}"
        return f"{self.ns / 1_000:g}us"


def milliseconds(number: float) -> Duration:
    """A duration from a number of milliseconds."""
    return Duration(round(number * _UNITS_NS["ms"]))


def at_most(limit: Duration) -> Validator:
    """A setting above zero and at most `limit`: nothing can be switched off by a zero."""

    def check(_: object, attribute: "Attribute[Any]", duration: Duration) -> None:
        if not 0 < duration.ns <= limit.ns:
            raise ValueError(f"{attribute.name} must be above zero and at most {limit}")

    return check


def between(low: Duration, high: Duration) -> Validator:
    """A setting within two limits, both allowed."""

    def check(_: object, attribute: "Attribute[Any]", duration: Duration) -> None:
        if not low.ns <= duration.ns <= high.ns:
            raise ValueError(f"{attribute.name} must lie within {low} and {high}")

    return check


def matching(pattern: str, words: str) -> Validator:
    """A text that is wholly `pattern`, else WrongText; `words` say what that is."""
    compiled = re.compile(pattern, re.ASCII)

    def check(_: object, attribute: "Attribute[Any]", text: str) -> None:
        if compiled.fullmatch(text) is None:
            raise WrongText(attribute.name, words, text)

    return check


# The system has no good words for anything else: labels have 1 to 63 characters.
_LABEL = r"(?!-)[\w-]{1,63}(?<!-)"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
HOST = matching(
    rf"(?=.{{1,253}}\Z)(?:[0-9A-Fa-f]*:[0-9A-Fa-f:.%\w]*|(?:{_OCTET}\.){{3}}{_OCTET}"
    rf"|(?![\d.]+\Z){_LABEL}(?:\.{_LABEL})*)",
    "an IP address or a host name",
)
"""A host, by its form alone."""
