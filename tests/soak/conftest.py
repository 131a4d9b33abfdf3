"""The soak can be resumed: what has passed on this commit is not run again unless `--fresh` is given."""

import json
import subprocess
from pathlib import Path

import pytest

LEDGER = Path(__file__).resolve().parents[2] / ".cache" / "soak.json"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fresh", action="store_true", help="soak: run what has passed on this commit again")


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()


def _passed() -> set[str]:
    try:
        ledger = json.loads(LEDGER.read_text())
    except (OSError, ValueError):
        return set()
    return set(ledger["passed"]) if ledger.get("commit") == _commit() else set()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect, and so count, what has passed already."""
    if config.getoption("--fresh"):
        return
    passed = _passed()
    done = [item for item in items if item.nodeid in passed]
    config.hook.pytest_deselected(items=done)
    items[:] = [item for item in items if item.nodeid not in passed]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        LEDGER.parent.mkdir(exist_ok=True)
        LEDGER.write_text(json.dumps({"commit": _commit(), "passed": sorted(_passed() | {report.nodeid})}))
