"""Batcher in front of the engine: modality passes share scoring calls, flagged posts share explanation calls.

Calls are filled by an estimate of the tokens that the model reads for a request.
"""

import time
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Self

from moderation_service.contracts.engine_input import Pixels, Question
from moderation_service.engine.base import (
    Engine,
    EngineInfo,
    ExplainRequest,
    GeneratedText,
    ScoreRequest,
    ScoreResult,
    SupportsPreprocessing,
)
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.judging.scheduler import CallLimits, Scheduler
from moderation_service.settings import EngineSettings
from moderation_service.telemetry import metrics

_BYTES_PER_TOKEN = 4  # English has some more; Chinese, of three bytes a character, fewer
_PIXELS_PER_TOKEN = 28 * 28  # four patches of 14
_TEMPLATE_TOKENS = 16  # of the chat template, after each question
_EXPLANATION_TOKENS = 256  # an explanation's findings and its answer
MAX_EXPLANATIONS = 16
"""Per call: it lasts as long as its longest explanation."""
_EXPLAINS_ONE_IN = 4  # of a server's concurrent requests, at most
_READ_AHEAD = 2  # batches preprocessed and not yet answered: the running one and the next
_DEFAULTS = EngineSettings()


class TokenEstimator:
    """Estimates the tokens of requests to an engine. The model reads no more than `info` says."""

    def __init__(self, settings: EngineSettings, info: EngineInfo) -> None:
        self._settings = settings
        self._max_tokens, self._max_pixels = info.context_tokens, info.image_pixels

    def scoring(self, request: ScoreRequest) -> int:
        """The post and its suffixes; the prefix is kept, and costs a call nothing."""
        questions = request.questionnaire.questions
        suffixes = sum(self._suffix(questions[index]) for index in request.asked)
        return self._post(request.text, request.images) + suffixes

    def staging(self, request: ScoreRequest) -> int:
        """The memory of a request that has been read: all pixels are copied, also those that the model shrinks."""
        pixels = int(sum(image.shape[0] * image.shape[1] for image in request.images))
        return max(self.scoring(request), pixels // _PIXELS_PER_TOKEN)

    def explanation(self, request: ExplainRequest) -> int:
        """The post, what was found, and what may be written."""
        return self._post(request.text, request.images) + _EXPLANATION_TOKENS

    def _post(self, text: str, images: Sequence[Pixels]) -> int:
        words = len(text[: self._max_tokens * _BYTES_PER_TOKEN].encode(errors="replace")) // _BYTES_PER_TOKEN
        return min(self._max_tokens, words + sum(map(self._image, images)))

    def _image(self, image: Pixels) -> int:
        height, width = image.shape[:2]
        return int(min(height * width, self._max_pixels or height * width)) // _PIXELS_PER_TOKEN

    def _suffix(self, question: Question) -> int:
        layout = LAYOUTS[self._settings.layout]
        return _TEMPLATE_TOKENS + layout.policy_characters(question, self._settings.prompt_mode) // _BYTES_PER_TOKEN


class Batcher:
    """Calls a local engine one batch at a time, a server with many requests at once. An async context manager.

    Where the engine reads ahead, the requests that come next are read while others are scored, in the same order. What
    has been read is bounded: about two batches that are not yet answered, and one that is being read.
    """

    def __init__(self, engine: Engine, settings: EngineSettings = _DEFAULTS, *, is_measured: bool = True) -> None:
        """`engine` is started. A shadow model's is not measured: the metrics are of the model in force."""
        self._is_measured = is_measured
        self._engine = engine
        tokens, concurrent = settings.max_batch_tokens, settings.concurrent_requests
        scoring, explaining = CallLimits(1, tokens, tokens), CallLimits(1, MAX_EXPLANATIONS, tokens)
        if settings.kind == "openai":  # the server batches; a call of several would wait for its slowest
            scoring = CallLimits(concurrent, 1, tokens)
            explaining = CallLimits(min(MAX_EXPLANATIONS, max(1, concurrent // _EXPLAINS_ONE_IN)), 1, tokens)
        self._sizes = sizes = TokenEstimator(settings, engine.info)
        self._staged, most_staged = 0, _READ_AHEAD * tokens
        self._reading = None
        if isinstance(engine, SupportsPreprocessing):
            self._reading = Scheduler(engine.preprocess, sizes.staging, scoring, lambda: self._staged < most_staged)
        self._scoring = Scheduler(self._score, sizes.scoring, scoring)
        self._explaining = Scheduler(self._explain, lambda asked: sizes.explanation(asked[0]), explaining)

    async def __aenter__(self) -> Self:
        """Accept requests."""
        if self._reading:
            await self._reading.__aenter__()
        await self._scoring.__aenter__()
        await self._explaining.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Cancel what waits."""
        await self._explaining.__aexit__()
        if self._reading:
            await self._reading.__aexit__()
        await self._scoring.__aexit__()

    async def score(self, request: ScoreRequest, fairness_key: Hashable = None) -> ScoreResult:
        """Answer one modality pass. Raises what the engine raised for it."""
        if self._reading is None:
            return await self._scoring.ask(request, fairness_key)
        ready, size = await self._reading.ask(request, fairness_key), self._sizes.staging(request)
        self._staged += size
        try:
            return await self._scoring.ask(ready, fairness_key)
        finally:
            self._staged -= size
            self._reading.wake()

    @property
    def is_busy(self) -> bool:
        """Whether the next explanation call is full: a request now waits for it, and for the running one."""
        return self._explaining.waiting >= MAX_EXPLANATIONS

    async def explain(self, request: ExplainRequest, fairness_key: Hashable = None) -> GeneratedText:
        """Write why one post was flagged, within `timeout_s` of now. Raises what the engine raised for it."""
        return await self._explaining.ask((request, time.monotonic() + request.timeout_s), fairness_key)

    async def _score(self, requests: Sequence[ScoreRequest]) -> Sequence[ScoreResult]:
        if not self._is_measured:
            return await self._engine.score(requests)
        metrics.ENGINE_BATCH.observe(len(requests))
        with metrics.ENGINE_CALL_SECONDS.labels("score").time():
            scored = await self._engine.score(requests)
        metrics.ENGINE_TOKENS.labels("prompt").inc(sum(one.tokens for one in scored))
        return scored

    async def _explain(self, waiting: Sequence[tuple[ExplainRequest, float]]) -> Sequence[GeneratedText]:
        # No longer than the last caller waits: nobody would read it, and others wait meanwhile.
        left = max(0.0, max(until for _, until in waiting) - time.monotonic())
        with metrics.ENGINE_CALL_SECONDS.labels("explain").time():
            written = await self._engine.explain([replace(request, timeout_s=left) for request, _ in waiting])
        metrics.ENGINE_TOKENS.labels("prompt").inc(sum(one.tokens for one in written))
        metrics.ENGINE_TOKENS.labels("written").inc(sum(one.generated_tokens for one in written))
        return written
