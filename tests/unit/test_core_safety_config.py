"""No limit of the safety core can be switched off, and a site can only make it stricter."""

from typing import Any

import pytest
from core_fixtures import field

from oht50d.core.safety_config import JogConfig, SafetyConfig, StopConfig, StopStep
from oht50d.model.units import Duration

P = StopStep


@pytest.mark.parametrize(
    ("name", "looser"),
    [
        ("step", "51ms"), ("permit_life", "151ms"), ("loop_gap", "51ms"), ("moving_loss", "151ms"),
        ("resting_travel_loss", "1001ms"), ("resting_dock_loss", "10001ms"),
        ("power_loss", "5001ms"), ("drive_timeout", "201ms"), ("drive_timeout", "400us"),
        ("disagreement_time", "1001ms"), ("reset_hold", "999ms"), ("reset_hold", "11s"),
    ],
)  # fmt: skip
def test_durations_of_the_kernel_are_bounded(name: str, looser: str) -> None:
    for text in (looser, "0ms"):
        with pytest.raises(ValueError, match=name):
            SafetyConfig(**field(name, Duration.parse(text)))


@pytest.mark.parametrize(
    ("name", "looser"),
    [
        ("speed_ceiling_mm_s", 2000.1), ("no_timeout_speed_mm_s", 300.1), ("uncommissioned_speed_mm_s", 100.1),
        ("wrong_way_mm_s", 100.1), ("disagreement_ratio", 0.51),
    ],
)  # fmt: skip
def test_numbers_of_the_kernel_are_bounded(name: str, looser: float) -> None:
    for number in (looser, 0.0, -1.0):
        with pytest.raises(ValueError, match=name):
            SafetyConfig(**field(name, number))


@pytest.mark.parametrize(
    ("name", "looser"),
    [
        ("read_back_limit", "301ms"), ("not_confirmed_after", "501ms"), ("standstill_limit", "21s"), ("hold", "31s"),
        ("standstill_hold", "99ms"), ("repeat_interval", "101ms"), ("standstill_hold", "0ms"), ("hold", "0ms"),
        ("repeat_interval", "0ms"),
    ],
)  # fmt: skip
def test_durations_of_a_stop_are_bounded(name: str, looser: str) -> None:
    with pytest.raises(ValueError, match=name):
        StopConfig(**field(name, Duration.parse(looser)))


@pytest.mark.parametrize("standstill_mm_s", [0.0, -1.0, 20.1])
def test_standstill_cannot_be_defined_away(standstill_mm_s: float) -> None:
    with pytest.raises(ValueError, match="standstill_mm_s"):
        StopConfig(standstill_mm_s=standstill_mm_s)


@pytest.mark.parametrize(("name", "looser"), [("lease", "181ms"), ("nonce_interval", "101ms"), ("lease", "0ms")])
def test_the_lease_can_only_be_shorter(name: str, looser: str) -> None:
    with pytest.raises(ValueError, match=name):
        JogConfig(**field(name, Duration.parse(looser)))


@pytest.mark.parametrize("duty_ratio", [0.0, 0.11, -0.1])
def test_the_jog_duty_is_capped(duty_ratio: float) -> None:
    with pytest.raises(ValueError, match="duty_ratio"):
        JogConfig(duty_ratio=duty_ratio)


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ({"s0_steps": (P.DRIVES_OFF,)}, "brake_on"),
        ({"s0_steps": ()}, "brake_on"),
        ({"s1_steps": (P.SETPOINT_ZERO, P.BRAKE_ON)}, "drives_off"),
        ({"s2_steps": (P.BRAKE_ON, P.DRIVES_OFF, P.BRAKE_ON)}, "once"),
        ({"s0_steps": (P.AWAIT_STANDSTILL, P.DRIVES_OFF, P.BRAKE_ON)}, "at once"),
        ({"s0_steps": (P.DRIVES_OFF, P.HOLD, P.BRAKE_ON)}, "at once"),
        ({"s1_steps": (P.AWAIT_STANDSTILL, P.BRAKE_ON, P.DRIVES_OFF)}, "begin"),
        ({"s2_steps": (P.HOLD, P.BRAKE_ON, P.DRIVES_OFF)}, "begin"),
    ],
)
def test_a_sequence_that_would_not_stop_is_refused(steps: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        StopConfig(**steps)


def test_another_order_is_site_data() -> None:
    config = StopConfig(s0_steps=(P.BRAKE_ON, P.DRIVES_OFF))
    assert config.s0_steps == (P.BRAKE_ON, P.DRIVES_OFF)
