"""Requests of many posts share calls: whatever waits while one call runs makes the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, Self, TypeVar

from moderation_service.errors import Fatal, ModerationError
from moderation_service.telemetry import metrics

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Company(Generic[Request, Answer]):
    """At most `most` requests a call. An idle callee is asked at once. Use as an async context manager."""

    def __init__(self, call: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]], most: int) -> None:
        self._call = call
        self._most = most
        self._queue: asyncio.Queue[tuple[Request, asyncio.Future[Answer]]] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to take requests."""
        self._runner = asyncio.create_task(self._run(), name="company")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more."""
        if self._runner:
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner

    @property
    def waiting(self) -> int:
        """How many requests no call has taken yet."""
        return self._queue.qsize()

    async def ask(self, request: Request) -> Answer:
        """Have one request answered. Raises what the call raised for it."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, future))
        return await future

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._most and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer(batch)

    async def _answer(self, waiting: list[tuple[Request, "asyncio.Future[Answer]"]]) -> None:
        batch = [(request, future) for request, future in waiting if not future.done()]
        if not batch:
            return
        try:
            answered = await self._call([request for request, _ in batch])
            answers = list(zip(batch, answered, strict=True))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            metrics.ENGINE_ERRORS.labels(_reason(error)).inc()
            if len(batch) > 1 and not isinstance(error, Fatal):
                # One request that breaks the engine must not take the others with it.
                for one in batch:
                    await self._answer([one])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in answers:
            if not future.done():
                future.set_result(answer)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "engine") if isinstance(error, ModerationError) else "unexpected"
