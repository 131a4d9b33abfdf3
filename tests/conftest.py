"""What all test regimes share: hypothesis without a wall-clock deadline, and processes at the product's speed."""

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared_machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("shared_machine")


@pytest.fixture
def product_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that a test starts do not inherit the coverage tracer, which makes the daemon three times slower."""
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        monkeypatch.delenv(name)
