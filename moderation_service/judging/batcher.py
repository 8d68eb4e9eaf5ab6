"""Views of many posts share the engine's calls: whatever waits while one call runs makes the next."""

import asyncio
from contextlib import suppress
from typing import Self

from moderation_service.engine.base import Engine, Scored, ScoreRequest
from moderation_service.errors import Fatal, ModerationError
from moderation_service.telemetry import metrics

MAX_VIEWS = 32  # their patches lie in memory together, some 26 MB for a picture of 1024 × 1024

_Waiting = tuple[ScoreRequest, "asyncio.Future[Scored]"]


class Batcher:
    """An idle engine is asked at once; nothing waits for company. Use as an async context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue()
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to take views."""
        self._runner = asyncio.create_task(self._run(), name="batcher")
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more of the engine."""
        if self._runner:
            self._runner.cancel()
            with suppress(asyncio.CancelledError):
                await self._runner

    async def score(self, request: ScoreRequest) -> Scored:
        """Answer one view. Raises what the engine raised for it."""
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, future))
        return await future

    async def _run(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_VIEWS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            await self._answer([(request, future) for request, future in batch if not future.done()])

    async def _answer(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        metrics.ENGINE_BATCH.observe(len(batch))
        try:
            scored = await self._engine.score([request for request, _ in batch])
            answers = list(zip(batch, scored, strict=True))
        except Exception as error:  # noqa: BLE001 - handed to whoever waits
            metrics.ENGINE_ERRORS.labels(_reason(error)).inc()
            if len(batch) > 1 and not isinstance(error, Fatal):
                # One view that breaks the engine must not take the others with it.
                for waiting in batch:
                    await self._answer([waiting])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in answers:
            if not future.done():
                future.set_result(answer)
            metrics.ENGINE_TOKENS.labels("prompt").inc(answer.tokens)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", "engine") if isinstance(error, ModerationError) else "unexpected"
