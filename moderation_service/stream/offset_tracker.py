"""Offset tracker of one partition: which offsets are in flight, and the first that is not finished; limits over all.

Pure. Offsets have gaps (transaction markers, compaction, aborted records), so nothing here assumes offset + 1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Entry(Generic[T]):
    size: int
    result: T | None = None
    output_size: int = 0
    released: bool = False


@dataclass(frozen=True, slots=True)
class Release(Generic[T]):
    """Finished posts in offset order; once they are published, `next_offset` may be committed."""

    offsets: Sequence[int]
    results: Sequence[T]
    is_part: bool = False

    @property
    def next_offset(self) -> int:
        """The offset to commit: right after the last one released."""
        return self.offsets[-1] + 1

    def parts(self, posts: int) -> "Iterator[Release[T]]":
        """The same in order, at most `posts` a part."""
        for begin in range(0, len(self.offsets), posts):
            yield Release(self.offsets[begin : begin + posts], self.results[begin : begin + posts], is_part=True)


class OffsetTracker(Generic[T]):
    """Offsets in the order they were taken, each with its size in bytes and, once finished, its result."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[T]] = {}
        self._last = -1
        self._size = 0

    @property
    def posts(self) -> int:
        """Records taken and not yet settled."""
        return len(self._entries)

    @property
    def size(self) -> int:
        """Their bytes."""
        return self._size

    def take(self, offset: int, size: int) -> None:
        """Begin an offset. Raises ValueError unless it is beyond every offset taken before."""
        if offset <= self._last:
            msg = f"offset {offset} taken after {self._last}"
            raise ValueError(msg)
        self._last = offset
        self._entries[offset] = _Entry(size)
        self._size += size

    def finish(self, offset: int, result: T, output_size: int) -> None:
        """Finish an offset. Raises ValueError for one that is not in flight, or is finished already."""
        entry = self._entries.get(offset)
        if entry is None or entry.result is not None:
            msg = f"offset {offset} is not in flight"
            raise ValueError(msg)
        entry.result, entry.output_size = result, output_size

    def ready(self, at_most: int) -> tuple[int, int]:
        """Count the posts that `release` would give, and their bytes of output."""
        posts = size = 0
        for entry in islice(self._entries.values(), at_most):
            if entry.result is None or entry.released:
                break
            posts, size = posts + 1, size + entry.output_size
        return posts, size

    def release(self, max_posts: int, max_bytes: int) -> Release[T] | None:
        """Give the finished posts before the first unfinished one, within the bounds but at least one; None if none.

        What is released stays in flight until `settle`; there is one release at a time.
        """
        offsets: list[int] = []
        results: list[T] = []
        size = 0
        for offset, entry in islice(self._entries.items(), max_posts):
            size += entry.output_size
            if entry.result is None or entry.released or (offsets and size > max_bytes):
                break
            offsets.append(offset)
            results.append(entry.result)
        for offset in offsets:
            self._entries[offset].released = True
        return Release(offsets, results) if offsets else None

    def settle(self, release: Release[T]) -> None:
        """Forget what was released: it is published and committed."""
        for offset in release.offsets:
            self._size -= self._entries.pop(offset).size


class InFlightLimit:
    """A limit over all partitions, of posts or of bytes. `used` is what each holds; asking and taking cost O(1)."""

    def __init__(self, limit: int, used: Sequence[int]) -> None:
        processors = len(used)
        self._used = list(used)
        self._kept = limit // (2 * processors) or int(limit >= processors)
        self._shared = limit - self._kept * processors
        self._over = sum(map(self._beyond, used))

    def admits(self, processor: int, more: int) -> bool:
        """Whether `processor` (an index of `used`) may take `more`; the sum never passes the limit."""
        used = self._used[processor]
        if more and used + more <= self._kept:
            return True
        return self._over + self._beyond(used + more) - self._beyond(used) <= self._shared

    def take(self, processor: int, more: int) -> None:
        """Count `more` for `processor`."""
        used = self._used[processor]
        self._used[processor] = used + more
        self._over += self._beyond(used + more) - self._beyond(used)

    def holds(self, processor: int) -> bool:
        """Whether `processor` holds anything."""
        return self._used[processor] > 0

    def _beyond(self, used: int) -> int:
        """What of it comes out of the shared half."""
        return max(0, used - self._kept)


class InFlightLimits:
    """Posts and bytes in flight."""

    def __init__(self, posts: InFlightLimit, size: InFlightLimit) -> None:
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
