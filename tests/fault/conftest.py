"""Reaction times are those of the product: no process is traced here."""

import pytest


@pytest.fixture(autouse=True)
def at_product_speed(product_speed: None) -> None:
    """Every test of this directory."""
