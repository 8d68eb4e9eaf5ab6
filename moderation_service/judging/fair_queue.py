"""Who is next: in the order of asking within a lane, and the lanes in turn."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from contextvars import ContextVar
from typing import Generic, TypeVar

LANE: ContextVar[Hashable] = ContextVar("lane", default=None)
"""Whose work a task does. Whoever begins the work sets it; the tasks that it makes inherit it."""

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """What waits. A lane with much of it keeps no other waiting for more than one turn."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._items = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._items

    def put(self, item: Item) -> None:
        """Let it wait as the last of its lane, which is the task's that puts it."""
        self._lanes.setdefault(LANE.get(), deque()).append(item)
        self._items += 1

    @property
    def next(self) -> Item:
        """Whose turn it is. Raises StopIteration where nothing waits."""
        return next(iter(self._lanes.values()))[0]

    def take(self) -> Item:
        """The next, which waits no longer; its lane's turn comes again after all others'. Raises as `next`."""
        lane, items = next(iter(self._lanes.items()))
        item = items.popleft()
        self._items -= 1
        if items:
            self._lanes.move_to_end(lane)
        else:
            del self._lanes[lane]
        return item
