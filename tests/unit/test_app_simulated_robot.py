"""What the terminal of a simulated robot shows."""

import io
import sys
from pathlib import Path

import pytest

from oht50d.app.simulated_robot import SimulatedSite, show_page


class Output(io.StringIO):
    """A standard output that keeps its single writes and whether they were flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append(text)
        return len(text)

    def flush(self) -> None:
        self.calls.append("flush")


def test_the_page_is_told_in_one_write_that_begins_and_ends_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of the log writes beside it, perhaps to the same file."""
    output = Output()
    monkeypatch.setattr(sys, "stdout", output)
    show_page(SimulatedSite(Path("/x/hall.toml"), Path("/x/run")), 8331, "token")
    block, flushed = output.calls
    assert flushed == "flush"
    assert (block[0], block[-1]) == ("\n", "\n")
    assert {
        "  SIMULATED robot, page: http://127.0.0.1:8331/",
        "  sign in once with:    http://127.0.0.1:8331/#sign-in=token",
    } < set(block.splitlines())
