"""Lines of keys in every shape that a TOML text can have."""

import tomllib

import pytest

from oht50d.codec.toml_lines import Path, index_lines, locate

TEXT = '''# comment = "not a key"
title = "a # b = c"          # trailing
"quoted key" = 'single # = x'
dotted . name = 1
text = """
hidden = 1 \\""" still
[not.a.table]"""
raw = \'\'\'
also = "hidden"
\'\'\'
when = 1979-05-27 07:32:00
numbers = [
  1, # one
  [ 2, 3 ],

  { deep = 4,  other = { deeper = 5 } },
]

[table]
key = true
[table.sub]
key = -1.5e3

[[row]]
name = "first"
[[row]]
name = "second"
[row.inner]
x = 1
[[row.cell]]
y = 1
[[row.cell]]
y = 2
'''

LINES: list[tuple[Path, int]] = [
    (("title",), 2),
    (("quoted key",), 3),
    (("dotted", "name"), 4),
    (("text",), 5),
    (("raw",), 8),
    (("when",), 11),
    (("numbers",), 12),
    (("numbers", 0), 13),
    (("numbers", 1), 14),
    (("numbers", 1, 1), 14),
    (("numbers", 2, "deep"), 16),
    (("numbers", 2, "other", "deeper"), 16),
    (("table",), 19),
    (("table", "key"), 20),
    (("table", "sub", "key"), 22),
    (("row",), 24),
    (("row", 0, "name"), 25),
    (("row", 1), 26),
    (("row", 1, "name"), 27),
    (("row", 1, "inner", "x"), 29),
    (("row", 1, "cell", 0, "y"), 31),
    (("row", 1, "cell", 1, "y"), 33),
]


@pytest.mark.parametrize(("path", "line"), LINES)
def test_line_of_a_key(path: Path, line: int) -> None:
    assert locate(TEXT, path) == line


def test_a_missing_key_is_at_its_nearest_parent() -> None:
    assert locate(TEXT, ("table", "sub", "absent", "deeper")) == 21
    assert locate(TEXT, ("numbers", 7)) == 12
    assert locate(TEXT, ("absent",)) == 1
    assert locate("", ("absent",)) == 1


def test_every_key_that_tomllib_finds_has_a_line() -> None:
    def paths(value: object, path: Path) -> list[Path]:
        if isinstance(value, dict):
            return [p for key, inner in value.items() for p in [(*path, key), *paths(inner, (*path, key))]]
        if isinstance(value, list):
            return [p for index, inner in enumerate(value) for p in [(*path, index), *paths(inner, (*path, index))]]
        return []

    assert set(paths(tomllib.loads(TEXT), ())) <= set(index_lines(TEXT))
