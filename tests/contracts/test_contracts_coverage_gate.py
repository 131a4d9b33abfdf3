"""The coverage gates judge what they say, and a failed gate fails the run in pytest's own last line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def report(*, lines: int, codec: int, core: int) -> dict[str, object]:
    """A coverage report with per cent covered lines overall and per cent covered branches of two rooms."""

    def entry(branches: int) -> dict[str, object]:
        return {
            "summary": {
                "covered_branches": branches,
                "num_branches": 100,
                "missing_lines": 1,
                "missing_branches": 100 - branches,
            }
        }

    return {
        "totals": {"covered_lines": lines, "num_statements": 100},
        "files": {"oht50d/codec/a.py": entry(codec), "oht50d/core/b.py": entry(core), "oht50d/app/c.py": entry(0)},
    }


def run_gated(tmp_path: Path, figures: dict[str, object]) -> tuple[int, list[str]]:
    """Exit code and output lines of a pytest run of one passing test, judged by `figures`."""
    (tmp_path / "test_one.py").write_text("def test_one():\n    assert True\n")
    gate = tmp_path / "coverage.json"
    gate.write_text(json.dumps(figures))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir", tmp_path, "-p", "no:cacheprovider"),
            *("-p", "tests.contracts.coverage_gate", f"--coverage-gate={gate}", tmp_path / "test_one.py"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout.strip().splitlines()


def test_enough_coverage_passes(tmp_path: Path) -> None:
    code, lines = run_gated(tmp_path, report(lines=90, codec=95, core=95))
    assert code == 0
    assert "4 passed" in lines[-1]


@pytest.mark.parametrize(
    ("figures", "gate"),
    [
        ({"lines": 89, "codec": 95, "core": 95}, "lines overall"),
        ({"lines": 90, "codec": 94, "core": 95}, "branches of oht50d/codec"),
        ({"lines": 90, "codec": 95, "core": 94}, "branches of oht50d/core"),
    ],
)
def test_a_gate_that_is_missed_fails_the_run(tmp_path: Path, figures: dict[str, int], gate: str) -> None:
    code, lines = run_gated(tmp_path, report(**figures))
    assert code == 1
    assert "1 failed, 3 passed" in lines[-1]
    assert any(line.startswith(f"FAIL  {gate}") for line in lines)


def test_a_room_without_evidence_has_not_passed(tmp_path: Path) -> None:
    figures = report(lines=90, codec=95, core=95)
    figures["files"] = {}
    code, lines = run_gated(tmp_path, figures)
    assert code == 1
    assert "2 failed, 2 passed" in lines[-1]
