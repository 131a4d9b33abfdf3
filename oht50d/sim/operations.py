"""The shape of an operation of the control socket: JSON in, JSON out (no state)."""

from collections.abc import Callable, Mapping

Request = Mapping[str, object]
Answer = dict[str, object]
Operation = Callable[[Request], Answer]
"""Raises ValueError or ConfigError for what cannot be done."""
