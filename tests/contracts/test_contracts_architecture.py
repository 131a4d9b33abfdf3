"""Sizes, nurseries, purity and silenced checks: the rules of the house that no linter knows."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "oht50d"
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

# Who may open a nursery (ARCHITECTURE, Nurseries): every other task is somebody's child.
MAY_OPEN_NURSERIES = {
    "app/house.py",
    "app/signals.py",
    "app/supervisor.py",
    "app/ctl.py",
    "services/commander.py",
    "services/recorder.py",
    "sim/__main__.py",
    "sim/robot.py",
    "web/connection.py",
}
MAY_IMPORT_NUMPY_IN_MODEL = {"model/lidar.py"}
BUILTIN_IO = {"open", "print", "input", "breakpoint", "exec", "eval"}


def package_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "node_modules" not in path.parts)


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def parsed() -> Iterator[tuple[str, ast.Module]]:
    for path in package_files():
        yield relative(path), ast.parse(path.read_text(), filename=str(path))


def imports_of(tree: ast.Module) -> set[str]:
    """Top-level names of everything that a module imports, at any depth."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def test_no_file_outgrows_its_plan() -> None:
    sizes = {relative(path): path.read_text().count("\n") for path in package_files()}
    assert {name: lines for name, lines in sizes.items() if lines > MAX_FILE_LINES} == {}


def test_no_function_outgrows_its_plan() -> None:
    long = {}
    for name, tree in parsed():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long[f"{name}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_every_module_says_its_purpose() -> None:
    assert [name for name, tree in parsed() if not ast.get_docstring(tree)] == []


def test_only_named_files_open_nurseries() -> None:
    openers = set()
    for name, tree in parsed():
        for node in ast.walk(tree):
            called = node.func if isinstance(node, ast.Call) else None
            if isinstance(called, ast.Attribute | ast.Name):
                word = called.attr if isinstance(called, ast.Attribute) else called.id
                if word == "open_nursery":
                    openers.add(name)
    assert openers - MAY_OPEN_NURSERIES == set()


@pytest.mark.parametrize("room", ["codec", "core"])
def test_pure_rooms_have_no_trio_no_io_and_no_coroutines(room: str) -> None:
    offences = []
    for name, tree in parsed():
        if not name.startswith(f"{room}/"):
            continue
        if "trio" in imports_of(tree):
            offences.append(f"{name}: imports trio")
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await):
                offences.append(f"{name}:{node.lineno}: coroutine")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BUILTIN_IO:
                offences.append(f"{name}:{node.lineno}: {node.func.id}()")
    assert offences == []


def test_model_imports_attrs_and_the_standard_library_only() -> None:
    allowed = set(sys.stdlib_module_names) | {"attrs", "attr", "oht50d"}
    strangers = {}
    for name, tree in parsed():
        if name.startswith("model/"):
            extra = imports_of(tree) - allowed - ({"numpy"} if name in MAY_IMPORT_NUMPY_IN_MODEL else set())
            if extra:
                strangers[name] = extra
    assert strangers == {}


def test_every_silenced_check_names_its_code_and_reason() -> None:
    silenced = re.compile(
        r"#\s*type:\s*ignore(?!\[[\w-]+(,\s*[\w-]+)*\]\s+#\s*\S)|#\s*noqa(?!:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*\s+\S)"
    )
    offences = [
        f"{relative(path)}:{number}"
        for path in package_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if silenced.search(line)
    ]
    assert offences == []


def test_nothing_is_left_for_later() -> None:
    words = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")))
    assert [relative(path) for path in package_files() if words.search(path.read_text())] == []


def test_no_test_is_skipped() -> None:
    words = re.compile(r"pytest\.(mark\.)?(sk" + r"ip|xf" + r"ail)|importor" + r"skip")
    assert [path.name for path in (ROOT / "tests").rglob("*.py") if words.search(path.read_text())] == []
