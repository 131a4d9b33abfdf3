"""Token buckets per user or address (DECISIONS, rate limits). Owner of the table: `RateLimiter`, one per limit."""

from collections import OrderedDict

from attrs import define, frozen


@define
class _Bucket:
    tokens: float
    filled_ns: int


@frozen
class Verdict:
    """What X-RateLimit headers tell: is it let through, how many are left, seconds until one more."""

    is_allowed: bool
    limit: int
    remaining: int
    reset_s: int


class RateLimiter:
    """`per_minute` acts a minute for each key, with bursts up to that number.

    The table holds at most `capacity` keys; the one that was idle longest makes room (it may then start afresh).
    """

    def __init__(self, per_minute: int, *, capacity: int = 4096) -> None:
        self._per_minute = per_minute
        self._capacity = capacity
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now_ns: int) -> Verdict:
        """Count one act of `key`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(float(self._per_minute), now_ns)
            if len(self._buckets) > self._capacity:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        per_ns = self._per_minute / 60e9
        bucket.tokens = min(float(self._per_minute), bucket.tokens + (now_ns - bucket.filled_ns) * per_ns)
        bucket.filled_ns = now_ns
        is_allowed = bucket.tokens >= 1
        if is_allowed:
            bucket.tokens -= 1
        wait_s = 0 if bucket.tokens >= 1 else round((1 - bucket.tokens) / per_ns / 1e9) + 1
        return Verdict(is_allowed, self._per_minute, int(bucket.tokens), wait_s)
