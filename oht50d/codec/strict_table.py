"""A TOML table read strictly: exact types, no unknown keys, and errors that name file, line and nearest key (no state).

Source: TOML v1.0.0 (toml.io). A boolean is never taken for a number, an integer never for a text.
"""

import difflib
import enum
import math
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from attrs import frozen

from oht50d.codec.toml_lines import Path, locate
from oht50d.model.errors import ConfigError

E = TypeVar("E", bound=enum.Enum)

_SYNTAX_LINE = re.compile(r"at line (\d+)")


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The most similar of `words`; None if nothing is similar."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1)), None)


def dotted(path: Path) -> str:
    """A path as people write it: `registers[3].scale`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "(file)"


@frozen
class Table:
    """One table of a file with its place in it; every reader raises ConfigError for what it does not accept."""

    text: str
    file: str
    path: Path
    entries: Mapping[str, Any]

    @classmethod
    def parse(cls, text: str, file: str) -> "Table":
        """The whole file as a table. Raises ConfigError with the line of a syntax error."""
        try:
            return cls(text, file, (), tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            place = _SYNTAX_LINE.search(str(error))
            line = int(place[1]) if place else text.count("\n") + 1
            raise ConfigError("(file)", f"not valid TOML: {error}", file=file, line=line) from None

    def fail(
        self, key: str | None, why: str, *, expected: str = "", found: object = None, near: str | None = None
    ) -> NoReturn:
        """Raise ConfigError about `key` of this table, or about the table itself."""
        path = self.path if key is None else (*self.path, key)
        raise ConfigError(
            dotted(path),
            why,
            file=self.file,
            line=locate(self.text, path),
            expected=expected or None,
            found=None if found is None else repr(found),
            nearest=near,
        )

    def require_known(self, known: Collection[str], required: Collection[str]) -> None:
        for key in self.entries:
            if key not in known:
                words = f"one of {', '.join(known)}"
                self.fail(key, "unknown key", expected=words, found=key, near=nearest(key, known))
        for key in required:
            if key not in self.entries:
                self.fail(None, f"the key {key!r} is missing", expected=key)

    def text_of(self, key: str, pattern: str, expected: str, default: str | None = None) -> str:
        found = self.entries.get(key, default)
        if not isinstance(found, str) or re.fullmatch(pattern, found) is None:
            self.fail(key, "not a usable text", expected=expected, found=found)
        return found

    def flag(self, key: str, default: bool) -> bool:
        found = self.entries.get(key, default)
        if not isinstance(found, bool):
            self.fail(key, "not a boolean", expected="true or false", found=found)
        return found

    def integer(self, key: str, lowest: int, highest: int) -> int:
        found = self.entries.get(key)
        if not isinstance(found, int) or isinstance(found, bool):
            self.fail(key, "not an integer", expected=f"an integer from {lowest} to {highest}", found=found)
        if not lowest <= found <= highest:
            self.fail(key, "out of range", expected=f"an integer from {lowest} to {highest}", found=found)
        return found

    def optional_integer(self, key: str, lowest: int, highest: int) -> int | None:
        return self.integer(key, lowest, highest) if key in self.entries else None

    def positive_number(self, key: str, default: float) -> float:
        found = self.entries.get(key, default)
        if not isinstance(found, int | float) or isinstance(found, bool) or not (math.isfinite(found) and found > 0):
            self.fail(key, "not a positive number", expected="a finite number above 0", found=found)
        return float(found)

    def word(self, key: str, kinds: type[E]) -> E:
        """An enumeration's member by its value."""
        found = self.entries.get(key)
        members = {str(member.value): member for member in kinds}
        if not isinstance(found, str) or found not in members:
            near = nearest(found, members) if isinstance(found, str) else None
            self.fail(key, "unknown word", expected=f"one of {', '.join(members)}", found=found, near=near)
        return members[found]

    def tables(self, key: str) -> list["Table"]:
        """An array of tables; a missing key is an empty one."""
        found = self.entries.get(key, [])
        if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
            self.fail(key, "not an array of tables", expected="an array of tables", found=type(found).__name__)
        return [Table(self.text, self.file, (*self.path, key, index), entry) for index, entry in enumerate(found)]
