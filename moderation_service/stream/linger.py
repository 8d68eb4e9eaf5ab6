"""Rate limiter of one partition's transactions: after a small one the next waits for more posts to finish.

The first post after an idle time goes at once. What carries enough posts is worth a transaction at any time.
"""

import time
from collections.abc import Callable

ENOUGH_POSTS = 16
"""So many posts in a transaction make its cost small beside theirs."""


class Linger:
    """Knows when the last transaction began, and whether it was small."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """No transaction has begun yet. With 0 seconds none ever waits."""
        self._seconds = seconds
        self._clock = clock
        self._next_at = float("-inf")

    @property
    def remaining_s(self) -> float:
        """Seconds until the next small transaction may begin."""
        return max(0.0, self._next_at - self._clock())

    def began(self, posts: int) -> None:
        """A transaction of so many posts begins now."""
        self._next_at = self._clock() + (self._seconds if posts < ENOUGH_POSTS else 0.0)
