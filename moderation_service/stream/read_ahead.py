"""Read-ahead limits: half is shared, first come first served; half is reserved in equal parts for each partition."""

from collections.abc import Iterable


class ReadAhead:
    """What may be taken in one poll: with what waits already, `posts` and `size` at most, and one record."""

    def __init__(self, posts: int, size: int, processors: int, waiting: Iterable[int]) -> None:
        """Count what waits, by its sizes."""
        sizes = list(waiting)
        self._part = max(1, posts // (2 * max(1, processors)))
        self._posts_left = posts // 2 - len(sizes)
        self._size_left = size - sum(sizes)

    def share(self) -> tuple[int, int]:
        """How many records, and of how many bytes, the next partition may give."""
        return max(self._part, self._posts_left // 2), max(0, self._size_left)

    def took(self, posts: int, size: int) -> None:
        """Count what it gave."""
        self._posts_left -= posts
        self._size_left -= size
