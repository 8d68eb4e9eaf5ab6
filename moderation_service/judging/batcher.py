"""The engine, asked by many posts at once: views share calls to score, flagged posts share calls to explain."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Self

from moderation_service.engine.base import Engine, ExplainRequest, Scored, ScoreRequest, Written
from moderation_service.judging.company import Company
from moderation_service.telemetry import metrics

MAX_VIEWS = 32  # their patches lie in memory together, some 26 MB for a picture of 1024 × 1024
MAX_EXPLANATIONS = 16  # a call of them holds the engine's thread for as long as the longest is written


class Batcher:
    """An idle engine is asked at once; nothing waits for company. Use as an async context manager."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._scoring = Company(self._score, MAX_VIEWS)
        self._explaining = Company(self._explain, MAX_EXPLANATIONS)

    async def __aenter__(self) -> Self:
        """Begin to take requests."""
        await self._scoring.__aenter__()
        await self._explaining.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ask no more of the engine."""
        await self._explaining.__aexit__()
        await self._scoring.__aexit__()

    async def score(self, request: ScoreRequest) -> Scored:
        """Answer one view. Raises what the engine raised for it."""
        return await self._scoring.ask(request)

    @property
    def busy(self) -> bool:
        """Whether the next call to explain is full: whoever asks now waits for it, and for the one that runs."""
        return self._explaining.waiting >= MAX_EXPLANATIONS

    async def explain(self, request: ExplainRequest) -> Written:
        """Write why one post was flagged, within `within_s` of now. Raises what the engine raised for it."""
        return await self._explaining.ask((request, time.monotonic() + request.within_s))

    async def _score(self, requests: Sequence[ScoreRequest]) -> Sequence[Scored]:
        metrics.ENGINE_BATCH.observe(len(requests))
        scored = await self._engine.score(requests)
        metrics.ENGINE_TOKENS.labels("prompt").inc(sum(one.tokens for one in scored))
        return scored

    async def _explain(self, waiting: Sequence[tuple[ExplainRequest, float]]) -> Sequence[Written]:
        # Not longer than the last of them waits: nobody would read it, and no post is scored meanwhile.
        left = max(0.0, max(until for _, until in waiting) - time.monotonic())
        written = await self._engine.explain([replace(request, within_s=left) for request, _ in waiting])
        metrics.ENGINE_TOKENS.labels("prompt").inc(sum(one.tokens for one in written))
        metrics.ENGINE_TOKENS.labels("written").inc(sum(one.written for one in written))
        return written
