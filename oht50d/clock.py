"""The one monotonic clock: Trio's, so that a mock clock moves every decision (no state of its own)."""

import trio

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000


def now_ns() -> int:
    """Nanoseconds on Trio's clock; meaningless across boots and never mixed with UTC."""
    return round(trio.current_time() * NS_PER_S)
