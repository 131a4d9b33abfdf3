"""Reaction times are those of the product: its processes run without the tracer of the coverage measurement here."""

import os

import pytest


@pytest.fixture(autouse=True)
def product_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts do not inherit the measurement (it makes the daemon three times slower)."""
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)
