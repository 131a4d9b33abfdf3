"""No setting of the bus can be stretched so far that a lost module is noticed late."""

import pytest

from oht50d.drivers.bus_config import BusConfig
from oht50d.model.units import Duration


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("safety_timeout", "51ms"), ("safety_timeout", "4ms"), ("reply_timeout", "101ms"), ("reply_timeout", "4ms"),
        ("probe_timeout", "51ms"),
    ],
)  # fmt: skip
def test_reply_timeouts_are_bounded(name: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must lie within"):
        BusConfig(**{name: Duration.parse(text)})


def test_the_defaults_are_those_of_the_decisions() -> None:
    config = BusConfig()
    assert (config.safety_timeout.ms, config.reply_timeout.ms) == (25, 50)
