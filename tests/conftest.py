"""What all test regimes share: hypothesis without a wall-clock deadline."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "shared_machine", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
)
settings.load_profile("shared_machine")
