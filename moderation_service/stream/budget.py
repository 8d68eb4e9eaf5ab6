"""How much may be in flight: half of it shared by who comes first, half kept for each lane in equal parts.

So a lane that is held fills the shared half at most, and every other lane goes on.
"""

from collections.abc import Sequence


class Bound:
    """A limit over all lanes, of posts or of bytes. `used` is what each lane holds; asking and taking cost O(1)."""

    def __init__(self, limit: int, used: Sequence[int]) -> None:
        """Count what is held."""
        lanes = len(used)
        self._used = list(used)
        self._kept = limit // (2 * lanes) or int(limit >= lanes)
        self._shared = limit - self._kept * lanes
        self._over = sum(map(self._beyond, used))

    def admits(self, lane: int, more: int) -> bool:
        """Whether `lane` (an index of `used`) may take `more`; the sum never passes the limit."""
        held = self._used[lane]
        if more and held + more <= self._kept:
            return True
        return self._over + self._beyond(held + more) - self._beyond(held) <= self._shared

    def take(self, lane: int, more: int) -> None:
        """Count `more` for `lane`."""
        held = self._used[lane]
        self._used[lane] = held + more
        self._over += self._beyond(held + more) - self._beyond(held)

    def holds(self, lane: int) -> bool:
        """Whether `lane` holds anything."""
        return self._used[lane] > 0

    def _beyond(self, held: int) -> int:
        """What of it comes out of the shared half."""
        return max(0, held - self._kept)


class Budget:
    """Posts and bytes in flight."""

    def __init__(self, posts: Bound, size: Bound) -> None:
        """Both bounds are of the same lanes."""
        self._posts = posts
        self._size = size

    def admits(self, lane: int, size: int) -> bool:
        """Whether `lane` may take one more record of `size` bytes.

        A record larger than its lane's part must pass too: with nothing else of its lane in flight, and one such record
        at a time beyond the limit. So the sum never passes the limit and one record.
        """
        if not self._posts.admits(lane, 1):
            return False
        return self._size.admits(lane, size) or (not self._posts.holds(lane) and self._size.admits(lane, 0))

    def take(self, lane: int, size: int) -> None:
        """Count a record of `size` bytes for `lane`."""
        self._posts.take(lane, 1)
        self._size.take(lane, size)
