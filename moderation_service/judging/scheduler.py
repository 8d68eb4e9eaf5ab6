"""Scheduler: requests of many posts share an engine's calls; whatever waits while calls run makes the next one.

So nobody waits for company. An idle engine is asked at once; a busy one by as many as have come meanwhile, within a
budget of tokens. The queue is fair: first in, first out within a fairness key, round-robin over the keys.
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
"""Calls that go well before one may again be as large as ever, where there was no memory."""
Request = TypeVar("Request")
Answer = TypeVar("Answer")
log = structlog.get_logger(__name__)


class FairQueue(Generic[Item]):
    """What waits. A key with a long queue delays no other by more than one turn."""

    def __init__(self) -> None:
        self._queues: OrderedDict[Hashable, deque[Item]] = OrderedDict()
        self._items = 0

    def __len__(self) -> int:
        """How many wait."""
        return self._items

    def put(self, item: Item, fairness_key: Hashable) -> None:
        """Let it wait as the last of its key."""
        self._queues.setdefault(fairness_key, deque()).append(item)
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


@dataclass(frozen=True, slots=True)
class CallLimits:
    """Calls at once; requests a call; and about how many tokens a call. A request that is larger goes alone."""

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
        """Whether somebody still waits for it."""
        return not self.answer.done()


class Scheduler(Generic[Request, Answer]):
    """Use as an async context manager."""

    def __init__(
        self,
        call: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        size: Callable[[Request], int],
        bounds: CallLimits,
        has_room: Callable[[], bool] = lambda: True,
    ) -> None:
        """`call` answers requests, in order; `size` is about how many tokens one is.

        Back-pressure: no call begins while `has_room` is false. Whoever makes room calls `wake`.
        """
        self._call = call
        self._size = size
        self._bounds = bounds
        self._has_room = has_room
        self._tokens = bounds.tokens  # less for a while, where there was no memory for so many
        self._waiting: FairQueue[_PendingRequest[Request, Answer]] = FairQueue()
        self._calls: set[asyncio.Task[None]] = set()
        self._due: asyncio.Handle | None = None

    async def __aenter__(self) -> Self:
        """Nothing is to begin."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more; who still waits is cancelled."""
        while self._waiting:
            self._waiting.take().answer.cancel()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """How many requests no call has taken yet."""
        return len(self._waiting)

    async def ask(self, request: Request, fairness_key: Hashable = None) -> Answer:
        """Have one request answered, in the turn of its key. Raises what the call raised for it."""
        loop = asyncio.get_running_loop()
        asked: _PendingRequest[Request, Answer] = _PendingRequest(request, self._size(request), loop.create_future())
        self._waiting.put(asked, fairness_key)
        self.wake()
        return await asked.answer

    def wake(self) -> None:
        """Begin the calls that may begin, at the end of this turn of the loop: what is asked meanwhile comes along."""
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
        """The next batch, within the call's limits; at least one where any waits."""
        batch: list[_PendingRequest[Request, Answer]] = []
        left = self._tokens
        while self._waiting and len(batch) < self._bounds.requests:
            if batch and self._waiting.next.tokens > left:
                break
            asked = self._waiting.take()
            if asked.is_open:  # else it was given up
                batch.append(asked)
                left -= asked.tokens
        return batch

    async def _serve(self, batch: Sequence[_PendingRequest[Request, Answer]]) -> None:
        try:
            await self._answer(batch)
        finally:
            for asked in batch:
                asked.answer.cancel()  # where the call was ended: nobody is left waiting

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
        """Make the call again in halves: what breaks the engine must not take the others with it."""
        reason = _reason(error)
        metrics.ENGINE_ERRORS.labels(reason).inc()
        if reason == OUT_OF_MEMORY and len(batch) > 1:
            self._tokens = min(self._tokens, sum(asked.tokens for asked in batch) // 2)
            log.warning("no memory for a call of the engine: smaller ones for a while", tokens=self._tokens)
        waiting = [asked for asked in batch if asked.is_open]
        if len(batch) == 1 or isinstance(error, Fatal):
            for asked in waiting:
                asked.answer.set_exception(error)
            return
        half = len(waiting) // 2
        for part in (
            waiting[:half],
            waiting[half:],
        ):  # also where one is left: whoever broke the call may have given up
            if still := [asked for asked in part if asked.is_open]:
                await self._answer(still)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "engine") if isinstance(error, ModerationError) else "unexpected"
