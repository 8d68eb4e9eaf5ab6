"""Dynamic batching: requests of many posts share an engine's calls. What waits while calls run makes the next one.

So no request waits for a batch to fill. An idle engine is called at once; a busy one with all that came meanwhile,
within a token budget. The queue is fair: first in, first out within a fairness key, round-robin over the keys.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

import structlog

from moderation_service.engine.base import OUT_OF_MEMORY
from moderation_service.errors import Fatal, ModerationError
from moderation_service.telemetry import metrics

Item = TypeVar("Item")
RECOVERY = 32
"""Successful calls after an out-of-memory error until calls are as large as before."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")
log = structlog.get_logger(__name__)


class FairQueue(Generic[Item]):
    """Fair queue: a key with a long queue delays no other by more than one turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._items = 0

    def __len__(self) -> int:
        """How many items wait."""
        return self._items

    def put(self, item: Item, fairness_key: Hashable) -> None:
        """Append an item to its key's queue."""
        self._queues.setdefault(fairness_key, deque()).append(item)
        self._items += 1

    @property
    def next(self) -> Item:
        """The next item. Raises StopIteration where nothing waits."""
        return next(iter(self._queues.values()))[0]

    def take(self) -> Item:
        """Remove the next item; its key's turn comes again after all others'. Raises as `next`."""
        key, items = next(iter(self._queues.items()))
        item = items.popleft()
        self._items -= 1
        if items:
            self._queues.move_to_end(key)
        else:
            del self._queues[key]
        return item


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Concurrent calls, requests per call and estimated tokens per call. A larger request goes alone."""

    calls: int
    requests: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _PendingRequest(Generic[Request, Answer]):
    request: Request
    tokens: int
    answer: "asyncio.Future[Answer]"

    @property
    def is_open(self) -> bool:
        """Whether the caller still waits."""
        return not self.answer.done()


class Scheduler(Generic[Request, Answer]):
    """Batches requests into calls. Use as an async context manager."""

    def __init__(
        self,
        call: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        size: Callable[[Request], int],
        bounds: CallLimits,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """`call` answers requests, in order; `size` estimates the tokens of one.

        Back-pressure: no call starts while `has_room` is false. Whoever makes room calls `wake`.
        """
        self._call = call
        self._size = size
        self._bounds = bounds
        self._has_room = has_room
        self._tokens = bounds.tokens  # fewer for a while after an out-of-memory error
        self._waiting: FairQueue[_PendingRequest[Request, Answer]] = FairQueue()
        self._calls: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        """There is nothing to start."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel running calls and waiting requests."""
        while self._waiting:
            self._waiting.take().answer.cancel()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """How many requests wait for a call."""
        return len(self._waiting)

    async def ask(self, request: Request, fairness_key: Hashable = None) -> Answer:
        """Answer one request, in its key's turn. Raises what the call raised for it."""
        loop = asyncio.get_running_loop()
        asked: _PendingRequest[Request, Answer] = _PendingRequest(request, self._size(request), loop.create_future())
        self._waiting.put(asked, fairness_key)
        self.wake()
        return await asked.answer

    def wake(self) -> None:
        """Start calls at the end of this turn of the event loop, so that requests of the same turn share one."""
        if self._due is None:
            self._due = asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        self._due = None
        while len(self._calls) < self._bounds.calls and self._has_room() and (batch := self._batch()):
            call = asyncio.create_task(self._serve(batch), name="engine call")
            self._calls.add(call)
            call.add_done_callback(self._ended)

    def _ended(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._begin()

    def _batch(self) -> list[_PendingRequest[Request, Answer]]:
        """The next batch, within the call's limits; at least one request if any waits."""
        batch: list[_PendingRequest[Request, Answer]] = []
        left = self._tokens
        while self._waiting and len(batch) < self._bounds.requests:
            if batch and self._waiting.next.tokens > left:
                break
            asked = self._waiting.take()
            if asked.is_open:  # else its caller was cancelled
                batch.append(asked)
                left -= asked.tokens
        return batch

    async def _serve(self, batch: Sequence[_PendingRequest[Request, Answer]]) -> None:
        try:
            await self._answer(batch)
        finally:
            for asked in batch:
                asked.answer.cancel()  # if the call was cancelled, so that no caller waits forever

    async def _answer(self, batch: Sequence[_PendingRequest[Request, Answer]]) -> None:
        try:
            answers = await self._call([asked.request for asked in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            await self._failed(batch, error)
            return
        self._tokens = min(self._bounds.tokens, self._tokens + self._bounds.tokens // RECOVERY)
        for asked, answer in answered:
            if asked.is_open:
                asked.answer.set_result(answer)

    async def _failed(self, batch: Sequence[_PendingRequest[Request, Answer]], error: Exception) -> None:
        """Retry in halves: a request that breaks the engine must not fail the others."""
        reason = _reason(error)
        metrics.ENGINE_ERRORS.labels(reason).inc()
        if reason == OUT_OF_MEMORY and len(batch) > 1:
            self._tokens = min(self._tokens, sum(asked.tokens for asked in batch) // 2)
            log.warning("engine out of memory: calls are smaller for a while", tokens=self._tokens)
        waiting = [asked for asked in batch if asked.is_open]
        if len(batch) == 1 or isinstance(error, Fatal):
            for asked in waiting:
                asked.answer.set_exception(error)
            return
        half = len(waiting) // 2
        for part in (waiting[:half], waiting[half:]):  # also a single one: who broke the call may have been cancelled
            if still := [asked for asked in part if asked.is_open]:
                await self._answer(still)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "engine") if isinstance(error, ModerationError) else "unexpected"
