"""The limit on open files is raised at the start, within what is allowed."""

import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from oht50d.app.open_files import raise_file_limit
print(raise_file_limit())
"""


@pytest.mark.parametrize(
    ("soft", "hard", "expected"), [(256, 512, 512), (256, 5000, 4096), (4500, 5000, 4500), (512, 512, 512)]
)
def test_the_limit_is_raised_to_the_hard_one_within_reason(soft: int, hard: int, expected: int) -> None:
    own = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if own != resource.RLIM_INFINITY and own < hard:
        pytest.skip(f"this computer allows {own} files")
    program = PROGRAM.format(soft=soft, hard=hard)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert int(done.stdout) == expected
