"""Where settings come from: TOML files, environment, command line; merged with the origin of every value.

Owner of the merged tree: `SettingsTree`, alive only while the configuration is being loaded.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen, mutable

from oht50d.codec.toml_lines import Path as KeyPath
from oht50d.codec.toml_lines import index_lines
from oht50d.model.errors import ConfigError

SCHEMA_VERSION = 1
_MAX_FILE_BYTES = 1_000_000
_TOML_PLACE = re.compile(r"\s*\(at (?:line (\d+), column \d+|end of document)\)")


@frozen
class Origin:
    """Where a value was set; `line` only in files."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source


@frozen
class Document:
    """One parsed file."""

    path: Path
    tree: Mapping[str, object]
    lines: Mapping[KeyPath, int]


def read_document(path: Path) -> Document:
    """Parse a TOML file; raises ConfigError with the line for anything that cannot be read."""
    text = read_text(path)
    try:
        return Document(path, tomllib.loads(text), index_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(path, text, str(error)) from error
    except RecursionError as error:
        raise ConfigError("syntax", "nested too deeply", file=str(path)) from error


def read_text(path: Path) -> str:
    """The text of a TOML file without a byte order mark; raises ConfigError: unreadable, too long, not UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError("file", f"cannot be read: {why}", file=str(path)) from error
    if len(raw) > _MAX_FILE_BYTES:
        raise ConfigError("file", "too long", file=str(path), expected=f"at most {_MAX_FILE_BYTES} bytes")
    try:
        return raw.decode("utf-8-sig")  # editors on Windows put a byte order mark before the text
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("file", "not UTF-8", file=str(path), line=line) from error


def line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int | None:
    """The line of a key, or of the nearest table around it."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def find_origin(path: KeyPath, origins: Mapping[KeyPath, Origin]) -> Origin | None:
    """Where a value, or the nearest thing around or inside it, was set; None for a default."""
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return next((origin for known, origin in origins.items() if known[: len(path)] == path), None)


def _syntax_error(path: Path, text: str, message: str) -> ConfigError:
    place = _TOML_PLACE.search(message)
    line = int(place[1]) if place and place[1] else text.count("\n") + 1
    return ConfigError("syntax", "not TOML: " + _TOML_PLACE.sub("", message), file=str(path), line=line)


def check_schema(document: Document, *, is_required: bool) -> None:
    """`schema_version` must be the one that this program reads; a fragment may leave it out."""
    found = document.tree.get("schema_version")
    if found is None and not is_required:
        return
    if type(found) is not int or found != SCHEMA_VERSION:
        raise ConfigError(
            "schema_version",
            "missing" if found is None else "not supported",
            file=str(document.path),
            line=line_of(("schema_version",), document.lines) or 1,
            expected=str(SCHEMA_VERSION),
            found=None if found is None else repr(found),
        )


def parse_assignment(text: str) -> tuple[KeyPath, object]:
    """`key.path=value` of the command line; the right side is TOML, or else a bare text."""
    key, equals, right = text.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(text, "not an assignment", file="--set", expected="key.path=value")
    try:
        parsed: object = tomllib.loads(f"it = {right}")["it"]
    except (tomllib.TOMLDecodeError, RecursionError):
        parsed = right
    return tuple(key.split(".")), parsed


@mutable
class SettingsTree:
    """Settings of all sources so far; a later source replaces single values, lists as a whole."""

    tree: dict[str, object] = field(factory=dict)
    origins: dict[KeyPath, Origin] = field(factory=dict)

    def add_document(self, document: Document) -> None:
        for path, leaf in _leaves(document.tree):
            if path != ("schema_version",):
                self.put(path, leaf, Origin(str(document.path), line_of(path, document.lines)))

    def put(self, path: KeyPath, leaf: object, origin: Origin) -> None:
        """Set one value; raises ConfigError where a table stands against a plain value."""
        table = self.tree
        for depth, part in enumerate(path[:-1], 1):
            inner = table.setdefault(str(part), {})
            if not isinstance(inner, dict):
                raise self._clash(path[:depth], origin)
            table = inner
        if isinstance(table.get(str(path[-1])), dict) and not isinstance(leaf, dict):
            raise self._clash(path, origin)
        table[str(path[-1])] = leaf
        self.origins[path] = origin

    def _clash(self, path: KeyPath, origin: Origin) -> ConfigError:
        other = next((o for known, o in self.origins.items() if known[: len(path)] == path), origin)
        return ConfigError(
            ".".join(map(str, path)), f"a table here, a plain value at {other}", file=origin.source, line=origin.line
        )

    def origin_of(self, path: KeyPath) -> Origin | None:
        """Where a value, or the nearest thing around or inside it, was set."""
        return find_origin(path, self.origins)


def _leaves(tree: Mapping[str, object], path: KeyPath = ()) -> Iterable[tuple[KeyPath, object]]:
    for name, leaf in tree.items():
        if isinstance(leaf, dict) and leaf:
            yield from _leaves(leaf, (*path, name))
        else:
            yield (*path, name), leaf
