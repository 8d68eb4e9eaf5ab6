"""The remote engine: a model behind an OpenAI-compatible server, such as vLLM or SGLang."""

import asyncio
from collections.abc import Sequence

import structlog

from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import EngineInfo, ExplainRequest, GeneratedText, Scored, ScoreRequest
from moderation_service.engine.model_report import CheckInput, ModelReport
from moderation_service.engine.openai import server_handshake
from moderation_service.engine.openai.chat import digest
from moderation_service.engine.openai.circuit_breaker import CircuitBreaker, ServerFailed
from moderation_service.engine.openai.client import ERROR, GARBLED, UNREACHABLE, OpenAIClient, RequestRefused
from moderation_service.engine.openai.gather import gather_or_raise
from moderation_service.engine.openai.model import RemoteModel, ask_shortened
from moderation_service.engine.openai.model_check import check_remote_model
from moderation_service.engine.openai.responses import ModelList
from moderation_service.errors import Fatal, Poison, Transient
from moderation_service.settings import EngineSettings

_THE_POSTS_FAULT = frozenset({400, 413, 422})
_MAY_BE_THE_POSTS_FAULT = frozenset({ERROR, UNREACHABLE, GARBLED})  # an overload, which the others tell of, is not

log = structlog.get_logger(__name__)


class RemoteEngine:
    """Scores by chat completions of one token, one a question; those of a post find its prefix kept by the server."""

    def __init__(self, settings: EngineSettings, breaker: CircuitBreaker | None = None) -> None:
        """Takes nothing yet: see `start`. Raises Misconfigured for a key that can't be sent."""
        self._settings = settings
        self._client = OpenAIClient(settings, breaker or CircuitBreaker())
        self._model = RemoteModel(settings, self._client)
        self._info: EngineInfo | None = None

    @property
    def info(self) -> EngineInfo:
        """What the verdicts record; `dtype` and `quantization` as the settings say. Raises Fatal before `start`."""
        if self._info is None:
            msg = "the engine has not been started"
            raise Fatal(msg)
        return self._info

    async def start(self) -> None:
        """Find the server and its model, and let it answer once.

        Raises Misconfigured for an address, key, model or revision that is wrong, Fatal where the server can't score.
        """
        settings, model = self._settings, self._model
        await self._client.open()
        try:
            listed = await server_handshake.check_startup(settings, self._client.ask("models", ModelList))
            found = server_handshake.find(settings, listed)
            model.limit = min(model.limit, found.max_model_len or model.limit)
            revision = server_handshake.revision(settings, found)
            await server_handshake.check_startup(settings, model.find_answer_prefix(settings.answer_prefix))
            await server_handshake.check_startup(settings, model.detect_image_cache())
        except BaseException:
            await self.close()
            raise
        self._info = EngineInfo(
            name=settings.model.rstrip("/").rpartition("/")[2],
            revision=revision,
            dtype=settings.dtype,
            quantization=settings.quantization,
            engine="openai",
            layout=settings.layout,
            prompt_digest=digest(model.prompts),
            context_tokens=model.limit,
        )

    async def prepare(self, questionnaire: Questionnaire) -> None:
        """Ask each question without a post: the server reads what all posts share, and says how long it is.

        Raises Misconfigured where no room is left for a post, Transient where the server does not answer.
        """
        try:
            await self._model.prefix(questionnaire)
        except RequestRefused as refused:
            raise _not_now(refused) from None

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """Answer each request.

        Raises Transient where the server is away, fails, or refuses everybody. Raises Poison, `engine_error`, for a
        request that it refuses (400, 413, 422), or that fails alone and again, while it answers another.
        """
        return await gather_or_raise(self._score(request, alone=len(requests) == 1) for request in requests)

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[GeneratedText]:
        """Write for each request. Raises Transient as `score`."""
        return await gather_or_raise(self._explain(request) for request in requests)

    async def check(self, checked: CheckInput) -> ModelReport:
        """Ask and measure what `moderation model check` shows. Raises Fatal where the server fails meanwhile."""
        return await server_handshake.check_startup(
            self._settings, check_remote_model(self, self._model, self._settings, checked)
        )

    async def close(self) -> None:
        """Close all connections; calls that wait fail."""
        await self._client.close()

    async def _score(self, request: ScoreRequest, *, alone: bool) -> Scored:
        """Answer; where that fails, tell whose fault it is. An outage is no reason to drop a post."""
        try:
            return await self._answers(request)
        except RequestRefused as refused:
            if refused.status in _THE_POSTS_FAULT and await self._answers_another():
                raise _poison(refused) from None
            raise _not_now(refused) from None
        except ServerFailed as failed:
            if not alone or failed.reason not in _MAY_BE_THE_POSTS_FAULT or not await self._answers_another():
                raise
        # Without this a post that breaks the server would be tried, and hold its partition, for ever.
        try:
            return await self._score(request, alone=False)
        except ServerFailed as failed:
            if failed.reason in _MAY_BE_THE_POSTS_FAULT and await self._answers_another():
                raise _poison(failed) from None
            raise

    async def _answers(self, request: ScoreRequest) -> Scored:
        if not request.asked:
            return Scored.unasked(request.images)
        model = self._model
        prefix = await model.prefix(request.questionnaire)
        fitted = await asyncio.to_thread(model.fit, request.text, request.images, prefix.room)
        # The longest question goes alone: if it fits all do, and they find what the server kept of the post.
        first = max(request.asked, key=prefix.sizes.__getitem__)
        shown, answer = await ask_shortened(
            fitted,
            lambda shown: model.ask(prefix.text, shown, prefix.suffixes[first]),
            lambda answer: answer.usage.prompt_tokens - prefix.sizes[first] <= prefix.room,
        )
        others = [number for number in request.asked if number != first]
        tokens = answer.usage.prompt_tokens - prefix.sizes[first]
        rest = await gather_or_raise(model.ask_more(prefix, number, shown, tokens) for number in others)
        answers = {first: answer, **dict(zip(others, rest, strict=True))}
        return Scored(
            tuple(answers[number].label(model.prompts.labels) for number in request.asked),
            tokens=sum(each.usage.read for each in answers.values()),
            pixels_read=tuple(image.pixels for image in shown.images),
            truncated=shown.truncated,
        )

    async def _explain(self, request: ExplainRequest) -> GeneratedText:
        try:
            async with asyncio.timeout(request.within_s):
                # What is asked, and the answer, have the other half.
                room = self._model.limit // 2
                fitted = await asyncio.to_thread(self._model.fit, request.text, request.images, room)
                _, answer = await ask_shortened(fitted, lambda shown: self._model.write(request, shown), lambda _: True)
        except TimeoutError:
            return GeneratedText("", "time", 0, 0)
        except RequestRefused as refused:
            raise _not_now(refused) from None
        return GeneratedText(answer.words, answer.ended, answer.usage.read, answer.usage.completion_tokens)

    async def _answers_another(self) -> bool:
        try:
            await self._model.probe()
        except (RequestRefused, Transient):
            return False
        return True


def _poison(error: RequestRefused | ServerFailed) -> Poison:
    return Poison("engine_error", f"the engine's server answers others, and not this post: {error}", stage="score")


def _not_now(refused: RequestRefused) -> Transient:
    reason = "server_refused"
    return Transient(reason, f"the engine's server refuses what it is asked (status {refused.status})")
