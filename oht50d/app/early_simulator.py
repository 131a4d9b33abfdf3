"""The simulator's process, started before this one knows its own configuration (owner of the child until its end).

Both import for half a second; side by side that costs the start only once. Nothing but the standard library here.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

END_LIMIT_S = 3.0


class EarlySimulator:
    """A child that waits for its arguments; `dismiss` ends one that was never wanted."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C in the terminal is for the daemon, which still needs the robot to stop it.
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oht50d.sim", "--arguments-from-stdin"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def begin(self, arguments: Sequence[str]) -> None:
        """Tell it what to simulate; the end of its standard input still ends it. Raises OSError if it is gone."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(list(arguments)).encode() + b"\n")
        self.process.stdin.flush()

    def dismiss(self) -> None:
        """Its standard input ends; what it was told before makes no difference."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
