"""Every import contract of pyproject.toml holds, and breaks for exactly the violation that it is there for."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
NAMES = {contract["id"]: contract["name"] for contract in CONTRACTS}

# contract id -> (file that gets the planted line, the line); new files are used where a changed one would
# break a second contract through an indirect import.
PLANTED = {
    "rooms": ("oht50d/drivers/planted.py", "import oht50d.services.ports"),
    "web-drivers": ("oht50d/web/planted.py", "import oht50d.drivers"),
    "services-drivers": ("oht50d/services/planted.py", "import oht50d.drivers"),
    "model-attrs": ("oht50d/model/planted.py", "import cattrs"),
    "numpy": ("oht50d/services/planted.py", "import numpy"),
    "pure": ("oht50d/codec/planted.py", "import trio"),
    "wires": ("oht50d/services/planted.py", "import sqlite3"),
    "sim-leaf": ("oht50d/sim/planted.py", "import oht50d.core"),
    "sim-alone": ("oht50d/app/planted.py", "import oht50d.sim"),
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the package's Python files and of the contracts."""
    shutil.copytree(
        ROOT / "oht50d", tmp_path / "oht50d", ignore=shutil.ignore_patterns("node_modules", "static", "__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def lint(house: Path) -> tuple[int, str]:
    """Exit code and output of lint-imports over the copy."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--config", "pyproject.toml"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def broken(output: str) -> set[str]:
    """Names of the contracts reported as broken."""
    return {name for name in NAMES.values() if f"{name} BROKEN" in output}


def test_every_contract_has_a_planted_violation() -> None:
    assert set(PLANTED) == set(NAMES)


def test_the_house_keeps_all_contracts(house: Path) -> None:
    code, output = lint(house)
    assert code == 0, output
    assert f"{len(NAMES)} kept, 0 broken" in output


@pytest.mark.parametrize("contract", sorted(PLANTED))
def test_a_planted_violation_breaks_exactly_its_contract(house: Path, contract: str) -> None:
    file, line = PLANTED[contract]
    target = house / file
    assert not target.exists()
    target.write_text(f'"""Planted."""\n\n{line}\n')
    code, output = lint(house)
    assert code == 1, output
    assert broken(output) == {NAMES[contract]}, output


def test_a_new_room_must_be_given_its_place(house: Path) -> None:
    (house / "oht50d" / "attic.py").write_text('"""Planted."""\n')
    code, output = lint(house)
    assert code == 1
    assert "oht50d.attic" in output
