"""The bus adapter comes back under another name: found again by its stable name, nothing left behind.

The full count is in tests/soak/test_soak_replug.py; here a part of it.
"""

from pathlib import Path

from replug_bench import run_replugs

ROUNDS = 50


async def test_plugged_in_elsewhere_fifty_times(tmp_path: Path) -> None:
    await run_replugs(tmp_path, ROUNDS, seed=1)
