"""In-flight limits: half of each is shared, first come first served; half is reserved in equal parts per partition.

A partition that is blocked fills the shared half at most, so the others go on.
"""

from collections.abc import Sequence


class InFlightLimit:
    """A limit over all partitions, of posts or of bytes. `used` is what each holds; asking and taking cost O(1)."""

    def __init__(self, limit: int, used: Sequence[int]) -> None:
        """Count what is held."""
        processors = len(used)
        self._used = list(used)
        self._kept = limit // (2 * processors) or int(limit >= processors)
        self._shared = limit - self._kept * processors
        self._over = sum(map(self._beyond, used))

    def admits(self, processor: int, more: int) -> bool:
        """Whether `processor` (an index of `used`) may take `more`; the sum never passes the limit."""
        held = self._used[processor]
        if more and held + more <= self._kept:
            return True
        return self._over + self._beyond(held + more) - self._beyond(held) <= self._shared

    def take(self, processor: int, more: int) -> None:
        """Count `more` for `processor`."""
        held = self._used[processor]
        self._used[processor] = held + more
        self._over += self._beyond(held + more) - self._beyond(held)

    def holds(self, processor: int) -> bool:
        """Whether `processor` holds anything."""
        return self._used[processor] > 0

    def _beyond(self, held: int) -> int:
        """What of it comes out of the shared half."""
        return max(0, held - self._kept)


class InFlightLimits:
    """Posts and bytes in flight."""

    def __init__(self, posts: InFlightLimit, size: InFlightLimit) -> None:
        """Both bounds are of the same processors."""
        self._posts = posts
        self._size = size

    def admits(self, processor: int, size: int) -> bool:
        """Whether `processor` may take one more record of `size` bytes.

        A record larger than its partition's part must pass too: with nothing else of its partition in flight, and one
        such record at a time beyond the limit. So the sum never exceeds the limit by more than one record.
        """
        if not self._posts.admits(processor, 1):
            return False
        return self._size.admits(processor, size) or (
            not self._posts.holds(processor) and self._size.admits(processor, 0)
        )

    def take(self, processor: int, size: int) -> None:
        """Count a record of `size` bytes for `processor`."""
        self._posts.take(processor, 1)
        self._size.take(processor, size)
