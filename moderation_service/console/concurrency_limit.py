"""How many of something may be in hand at once, in one process: posts judged for callers, and bodies being read."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class ConcurrencyLimit:
    """A semaphore that nobody waits at: `count` in all, and `per_key` of one key."""

    def __init__(self, count: int, per_key: int | None = None) -> None:
        self._free = count
        self._per_key = count if per_key is None else per_key
        self._held = Counter[str]()

    @contextmanager
    def take(self, most: int = 1, *, key: str = "") -> Iterator[int]:
        """Up to `most`, as far as they are free, until the block is left; how many. It may be none."""
        taken = max(0, min(most, self._free, self._per_key - self._held[key]))
        self._free -= taken
        self._held[key] += taken
        try:
            yield taken
        finally:
            self._free += taken
            self._held[key] -= taken
            if not self._held[key]:
                del self._held[key]
