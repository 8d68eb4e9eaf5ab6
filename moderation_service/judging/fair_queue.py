"""Who is next: in the order of asking within a key, and round-robin over the keys."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from contextvars import ContextVar
from typing import Generic, TypeVar

FAIRNESS_KEY: ContextVar[Hashable] = ContextVar("fairness_key", default=None)
"""Whose work a task does. Whoever begins the work sets it; the tasks that it makes inherit it."""

Item = TypeVar("Item")


class FairQueue(Generic[Item]):
    """What waits. A key with a long queue delays no other by more than one turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._items = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._items

    def put(self, item: Item) -> None:
        """Let it wait as the last of its key, which is a context variable of the calling task."""
        self._queues.setdefault(FAIRNESS_KEY.get(), deque()).append(item)
        self._items += 1

    @property
    def next(self) -> Item:
        """The next item. Raises StopIteration where nothing waits."""
        return next(iter(self._queues.values()))[0]

    def take(self) -> Item:
        """The next, which waits no longer; its key's turn comes again after all others'. Raises as `next`."""
        key, items = next(iter(self._queues.items()))
        item = items.popleft()
        self._items -= 1
        if items:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return item
