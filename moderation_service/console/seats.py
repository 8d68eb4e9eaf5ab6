"""How many posts may be judged for callers at once."""

from collections.abc import Iterator
from contextlib import contextmanager


class Seats:
    """So many, of one process."""

    def __init__(self, count: int) -> None:
        self._free = count

    @contextmanager
    def take(self, most: int = 1) -> Iterator[int]:
        """Up to `most`, as far as they are free, until the block is left; how many. It may be none."""
        taken = min(most, self._free)
        self._free -= taken
        try:
            yield taken
        finally:
            self._free += taken
