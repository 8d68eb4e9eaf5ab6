"""How much may be in flight: half of it shared by who comes first, half kept for each lane in equal parts.

So a lane that is held fills the shared half at most, and every other lane goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bound:
    """A limit over all lanes, of posts or of bytes."""

    limit: int

    def admits(self, used: Sequence[int], lane: int, more: int) -> bool:
        """Whether `lane` (an index of `used`, what each lane holds) may take `more`; the sum never passes the limit."""
        lanes = len(used)
        kept = self.limit // (2 * lanes) or int(self.limit >= lanes)
        if more and used[lane] + more <= kept:
            return True
        shared = self.limit - kept * lanes
        over = sum(max(0, held + (more if index == lane else 0) - kept) for index, held in enumerate(used))
        return over <= shared


@dataclass(frozen=True, slots=True)
class Budget:
    """Posts and bytes in flight."""

    posts: Bound
    size: Bound

    def admits(self, posts: Sequence[int], sizes: Sequence[int], lane: int, size: int) -> bool:
        """Whether `lane` may take one more record of `size` bytes.

        A record larger than its lane's part must pass too: with nothing else of its lane in flight, and one such record
        at a time beyond the limit. So the sum never passes the limit and one record.
        """
        if not self.posts.admits(posts, lane, 1):
            return False
        return self.size.admits(sizes, lane, size) or (posts[lane] == 0 and self.size.admits(sizes, lane, 0))
