"""How many events each key may still send: a token bucket a key, filled by time that is passed in.

A bucket holds two seconds' worth. A request is taken when the bucket holds as many tokens as it has events, or is
full, and all its events are charged: so a batch larger than the bucket goes through, and is paid for afterwards.
"""

import math
from dataclasses import dataclass

from topics.control import Key

BURST_S = 2
MAX_BUCKETS = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at_ms: int


class RateLimiter:
    """Remembers the `max_buckets` limited keys that were used last; one that is forgotten starts with a full bucket."""

    def __init__(self, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = max_buckets
        self._buckets: dict[str, _Bucket] = {}

    def wait_s(self, key: Key, events: int, now_ms: int) -> int:
        """0, and the events are charged; or the whole seconds after which the same request would be taken."""
        rate = key.rate_limit_per_s
        if rate is None:
            return 0
        size = BURST_S * rate
        bucket = self._bucket(key.hash, size, now_ms)
        passed_ms = max(0, now_ms - bucket.at_ms)
        bucket.tokens = min(size, bucket.tokens + rate * passed_ms / 1000)
        bucket.at_ms = now_ms
        missing = min(events, size) - bucket.tokens
        if missing > 0:
            return math.ceil(missing / rate)
        bucket.tokens -= events
        return 0

    def _bucket(self, key_hash: str, size: int, now_ms: int) -> _Bucket:
        bucket = self._buckets.pop(key_hash, None) or _Bucket(size, now_ms)
        if len(self._buckets) >= self._max_buckets:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key_hash] = bucket
        return bucket
