"""Rate limiter of the API: a token bucket for each key, of one process."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE_S = 60


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_at: float


@dataclass(frozen=True, slots=True)
class RateLimit:
    """What a key has left after this request; `wait_s` is 0, or the seconds until it may ask again."""

    of: int
    remaining: int
    full_in_s: int
    wait_s: int

    def headers(self) -> dict[str, str]:
        """`RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10), and `Retry-After`."""
        told = {
            "RateLimit-Policy": f'"key";q={self.of};w={_MINUTE_S}',
            "RateLimit": f'"key";r={self.remaining};t={self.full_in_s}',
        }
        return {**told, "Retry-After": str(self.wait_s)} if self.wait_s else told


class RateLimiter:
    """One bucket a key, full at first. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}

    def take(self, key_id: str, per_minute: int) -> RateLimit:
        """Take a token, if there is one."""
        now, rate = self._clock(), per_minute / _MINUTE_S
        bucket = self._buckets.setdefault(key_id, _Bucket(per_minute, now))
        bucket.tokens = min(per_minute, bucket.tokens + (now - bucket.filled_at) * rate)
        bucket.filled_at = now
        wait_s = 0
        if bucket.tokens >= 1:
            bucket.tokens -= 1
        else:
            wait_s = max(1, math.ceil((1 - bucket.tokens) / rate))
        return RateLimit(per_minute, int(bucket.tokens), math.ceil((per_minute - bucket.tokens) / rate), wait_s)
