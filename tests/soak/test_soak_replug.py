"""A thousand replugs of the bus adapter, in parts that can be resumed: each part is one process of the daemon."""

from pathlib import Path

import pytest
from replug_bench import run_replugs

PARTS = 4
ROUNDS = 250

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("part", range(PARTS))
async def test_replugs(part: int, tmp_path: Path) -> None:
    await run_replugs(tmp_path, ROUNDS, seed=100 + part)
