"""Where in a TOML text a key stands, so that a message can name the line (`tomllib` keeps no positions; no state).

Source: TOML v1.0.0 (toml.io), sections Keys, String, Array, Inline Table, Table and Array of Tables. The text must have
passed `tomllib` before: this scanner only counts lines and trusts the syntax.
"""

import re
from collections.abc import Sequence

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)+")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\'', re.DOTALL)
_SCALAR = re.compile(r"[^\s,\]}#]+(?: \d[^\s,\]}#]*)?")


def locate(text: str, path: Sequence[str | int]) -> int:
    """The line (from 1) of the key at `path`, or of the nearest parent that stands in the text; 1 if none does.

    `path` names tables by key and array elements by index: `("registers", 3, "scale")`.
    """
    lines = index_lines(text)
    for length in range(len(path), 0, -1):
        line = lines.get(tuple(path[:length]))
        if line is not None:
            return line
    return 1


def index_lines(text: str) -> dict[Path, int]:
    """The line of every key and array element of a valid TOML text."""
    scanner = _Scanner(text)
    scanner.scan_document()
    return scanner.lines


class _Scanner:
    """Walks the text once; owns the position and the lines found so far."""

    def __init__(self, text: str) -> None:
        self.lines: dict[Path, int] = {}
        self._text = text
        self._at = 0
        self._line = 1
        self._counted_to = 0
        self._tables: dict[Path, int] = {}

    def scan_document(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._scan_header()
            else:
                self._scan_pair(table)
            self._skip(_BLANK)

    def _scan_header(self) -> Path:
        start = self._here()
        is_array = self._text.startswith("[[", self._at)
        self._at += 2 if is_array else 1
        path = self._in_newest_elements(self._scan_key())
        self._at = self._text.index("]", self._at) + (2 if is_array else 1)
        if is_array:
            number = self._tables[path] = self._tables.get(path, -1) + 1
            self.lines.setdefault(path, start)
            path = (*path, number)
        self.lines.setdefault(path, start)
        return path

    def _in_newest_elements(self, key: Path) -> Path:
        """A header's path with the index of the newest element after every array of tables on the way."""
        path: Path = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self._tables:
                path = (*path, self._tables[path])
        return (*path, key[-1])

    def _scan_pair(self, table: Path) -> None:
        start = self._here()
        key = self._scan_key()
        for length in range(1, len(key) + 1):
            self.lines.setdefault((*table, *key[:length]), start)
        self._at = self._text.index("=", self._at) + 1
        self._skip(_BLANK)
        self._scan_value((*table, *key))

    def _scan_key(self) -> Path:
        parts: list[str] = []
        while True:
            self._skip(_BLANK)
            word = self._take(_STRING) or self._take(_BARE_KEY)
            parts.append(word[1:-1] if word[0] in "\"'" else word)
            self._skip(_BLANK)
            if not self._text.startswith(".", self._at):
                return tuple(parts)
            self._at += 1

    def _scan_value(self, path: Path) -> None:
        opening = self._text[self._at]
        if opening in "[{":
            self._scan_container(path, "]" if opening == "[" else "}")
        elif opening in "\"'":
            self._take(_STRING)
        else:
            self._take(_SCALAR)

    def _scan_container(self, path: Path, closing: str) -> None:
        self._at += 1
        number = 0
        while True:
            self._skip(_BLANK)
            if self._text[self._at] == closing:
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif closing == "}":
                self._scan_pair(path)
            else:
                self.lines[(*path, number)] = self._here()
                self._scan_value((*path, number))
                number += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _here(self) -> int:
        self._line += self._text.count("\n", self._counted_to, self._at)
        self._counted_to = self._at
        return self._line
