"""Tables, values and ages as `oht50ctl` shows them; unknown is `unknown` (pure)."""

from collections.abc import Iterable, Mapping, Sequence

Tree = Mapping[str, object]

UNKNOWN = "unknown"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Left-aligned columns, two blanks apart."""
    lines = [list(header), *([*row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def told(cell: object, unit: object = "") -> str:
    """A value with its unit, or `unknown`."""
    if cell is None:
        return UNKNOWN
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    number = f"{cell:g}" if isinstance(cell, float) else str(cell)
    return f"{number} {unit}" if unit else number


def aged(age_s: object) -> str:
    """How long ago, or `never`."""
    if not isinstance(age_s, int | float):
        return "never"
    return f"{age_s * 1000:.0f} ms ago" if age_s < 1 else f"{age_s:.1f} s ago"


def hexadecimal(number: object, digits: int) -> str:
    """A number in so many digits, or `unknown`."""
    return f"0x{number:0{digits}X}" if isinstance(number, int) else UNKNOWN


def tree_of(tree: Tree, key: str) -> Tree:
    """The object at `key`; an empty one for anything else."""
    found = tree.get(key)
    return found if isinstance(found, dict) else {}


def trees_of(tree: Tree, key: str) -> list[Tree]:
    """The objects in the list at `key`; none for anything else."""
    found = tree.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
