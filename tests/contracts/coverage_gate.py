"""Coverage gates as a pytest plugin: each gate is reported as one more item, so that pytest's own summary counts it.

Loaded by `./dev test` (`-p tests.contracts.coverage_gate --coverage-gate=FILE`); a run of some tests has no gate.
State: none; the figures come from the JSON report that pytest-cov writes when the last test has ended.
"""

import json
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

LINES_OVERALL = 0.90
BRANCHES_IN_PURE_ROOMS = 0.95
PURE_ROOMS = ("oht50d/codec/", "oht50d/core/")


@frozen
class Gate:
    """One demand and what was measured; a gate without evidence (`possible` 0) has not been passed."""

    name: str
    covered: int
    possible: int
    demanded_ratio: float

    @property
    def is_passed(self) -> bool:
        return self.possible > 0 and self.covered >= self.demanded_ratio * self.possible

    def describe(self) -> str:
        share = f"{100 * self.covered / self.possible:.1f} %" if self.possible else "nothing measured"
        return f"{self.name}: {share} ({self.covered} of {self.possible}), demanded {100 * self.demanded_ratio:.0f} %"


def evaluate_gates(report: Mapping[str, Any]) -> list[Gate]:
    """Gates of a coverage.py JSON report (format 3)."""
    totals = report["totals"]
    gates = [Gate("lines overall", totals["covered_lines"], totals["num_statements"], LINES_OVERALL)]
    for room in PURE_ROOMS:
        files = [entry["summary"] for name, entry in report["files"].items() if name.startswith(room)]
        covered = sum(summary["covered_branches"] for summary in files)
        possible = sum(summary["num_branches"] for summary in files)
        gates.append(Gate(f"branches of {room.rstrip('/')}", covered, possible, BRANCHES_IN_PURE_ROOMS))
    return gates


def weakest(report: Mapping[str, Any], room: str = "") -> Iterable[str]:
    """The ten files that would gain most, to tell where to look."""
    rows = [
        (entry["summary"]["missing_lines"] + entry["summary"].get("missing_branches", 0), name)
        for name, entry in report["files"].items()
        if name.startswith(room)
    ]
    return (f"{missing:5d} missing in {name}" for missing, name in sorted(rows, reverse=True)[:10] if missing)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--coverage-gate", metavar="FILE", help="coverage.py JSON report to judge after the last test")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Runs outside pytest-cov's wrapper, hence after it has written its report."""
    outcome = yield
    path = session.config.getoption("--coverage-gate")
    if path and not session.config.option.collectonly:
        report = json.loads(Path(path).read_text())
        for gate in evaluate_gates(report):
            announce(session, gate, report)
    return outcome


def announce(session: pytest.Session, gate: Gate, report: Mapping[str, Any]) -> None:
    """Count the gate like a test; a failed one fails the session."""
    why = "\n".join(
        [gate.describe(), *weakest(report, gate.name.removeprefix("branches of ") if "branches" in gate.name else "")]
    )
    session.config.hook.pytest_runtest_logreport(
        report=pytest.TestReport(
            nodeid=f"coverage gate: {gate.name}",
            location=("coverage gate", None, gate.name),
            keywords={},
            outcome="passed" if gate.is_passed else "failed",
            longrepr=None if gate.is_passed else why,
            when="call",
            sections=[],
            duration=0.0,
        )
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    path = config.getoption("--coverage-gate")
    if path and Path(path).exists():
        terminalreporter.section("coverage gates")
        for gate in evaluate_gates(json.loads(Path(path).read_text())):
            terminalreporter.line(("pass  " if gate.is_passed else "FAIL  ") + gate.describe())
