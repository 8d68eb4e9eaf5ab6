"""The remote engine: a model behind an OpenAI-compatible server, such as vLLM or SGLang."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import structlog

from moderation_service.backoff import Backoff
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import EngineInfo, ExplainRequest, GeneratedText, ScoreRequest, ScoreResult
from moderation_service.engine.model_report import CheckInput, ModelReport
from moderation_service.engine.openai.chat import digest
from moderation_service.engine.openai.client import (
    BACKOFF,
    ERROR,
    GARBLED,
    UNREACHABLE,
    CircuitBreaker,
    OpenAIClient,
    RequestRefused,
    ServerFailed,
)
from moderation_service.engine.openai.model import RemoteModel, ask_shortened, gather_or_raise
from moderation_service.engine.openai.model_check import check_remote_model
from moderation_service.engine.openai.responses import ModelCard, ModelList
from moderation_service.errors import Fatal, Misconfigured, Poison, Transient, Unavailable
from moderation_service.settings import EngineSettings

NAMED = 5
SAID = 200
_UNAUTHORISED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
_REDIRECTS = range(300, 400)
_THE_POSTS_FAULT = frozenset({400, 413, 422})
_MAY_BE_THE_POSTS_FAULT = frozenset({ERROR, UNREACHABLE, GARBLED})  # an overload, which the others tell of, is not
Answered = TypeVar("Answered")
log = structlog.get_logger(__name__)


class RemoteEngine:
    """Scores by chat completions of one token, one a question; those of a post find its prefix kept by the server."""

    def __init__(
        self, settings: EngineSettings, breaker: CircuitBreaker | None = None, backoff: Backoff = BACKOFF
    ) -> None:
        """Takes nothing yet: see `start`. Raises Misconfigured for a key that can't be sent."""
        self._settings = settings
        self._client = OpenAIClient(settings, breaker or CircuitBreaker(), backoff)
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
            listed = await check_startup(settings, self._client.ask("models", ModelList))
            found = find_model(settings, listed)
            model.context_tokens = min(model.context_tokens, found.max_model_len or model.context_tokens)
            revision = revision_of(settings, found)
            await check_startup(settings, model.find_answer_prefix(settings.answer_prefix))
            await check_startup(settings, model.detect_image_cache())
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
            context_tokens=model.context_tokens,
        )

    async def prepare(self, questionnaire: Questionnaire) -> None:
        """Ask each question without a post: the server reads what all posts share, and says how long it is.

        Raises Misconfigured where no room is left for a post, Transient where the server does not answer.
        """
        try:
            await self._model.prefix(questionnaire)
        except RequestRefused as refused:
            raise _not_now(refused) from None

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreResult]:
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
        return await check_startup(self._settings, check_remote_model(self, self._model, self._settings, checked))

    async def close(self) -> None:
        """Close all connections; calls that wait fail."""
        await self._client.close()

    async def _score(self, request: ScoreRequest, *, alone: bool) -> ScoreResult:
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

    async def _answers(self, request: ScoreRequest) -> ScoreResult:
        if not request.asked:
            return ScoreResult.unasked(request.images)
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
        return ScoreResult(
            tuple(answers[number].label(model.prompts.labels) for number in request.asked),
            tokens=sum(each.usage.computed_tokens for each in answers.values()),
            pixels_read=tuple(image.pixels for image in shown.images),
            truncated=shown.truncated,
        )

    async def _explain(self, request: ExplainRequest) -> GeneratedText:
        try:
            async with asyncio.timeout(request.timeout_s):
                # What is asked, and the answer, have the other half.
                room = self._model.context_tokens // 2
                fitted = await asyncio.to_thread(self._model.fit, request.text, request.images, room)
                _, answer = await ask_shortened(fitted, lambda shown: self._model.write(request, shown), lambda _: True)
        except TimeoutError:
            return GeneratedText("", "time", 0, 0)
        except RequestRefused as refused:
            raise _not_now(refused) from None
        return GeneratedText(
            answer.text, answer.finish_reason, answer.usage.computed_tokens, answer.usage.completion_tokens
        )

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


async def check_startup(settings: EngineSettings, asking: Awaitable[Answered]) -> Answered:
    """What was asked, at the start, when nothing that goes wrong may wait.

    Raises Misconfigured, Unavailable where the server is not there yet or can't answer now, and otherwise Fatal.
    """
    try:
        return await asking
    except RequestRefused as refused:
        status = refused.status
        if status in {_UNAUTHORISED, _FORBIDDEN}:
            msg = f"engine.api_key: the server {'refuses it' if settings.api_key else 'wants one'} (status {status})"
            raise Misconfigured(msg) from None
        if status == _NOT_FOUND or status in _REDIRECTS:
            msg = (
                f"engine.base_url {settings.base_url}: no OpenAI-compatible API is there (status {status});"
                " it should be the address that ends in /v1, without a redirect"
            )
            raise Misconfigured(msg) from None
        # Only our own words have been asked so far, so the server's may be repeated, unless they repeat our key.
        said = " ".join(refused.said.split())
        if settings.api_key:
            said = said.replace(settings.api_key.get_secret_value(), "[the key]")
        msg = f"engine.base_url {settings.base_url}: refused (status {status}): {said[:SAID]}"
        raise Fatal(msg) from None
    except Transient as error:
        msg = f"engine.base_url {settings.base_url}: {error}"
        if error.reason == GARBLED:
            msg += "; scoring needs chat completions with usage and logprobs"
            raise Fatal(msg) from None
        raise Unavailable(msg) from None


def find_model(settings: EngineSettings, models: ModelList) -> ModelCard:
    """The model that the settings name. Raises Misconfigured where the server does not have it."""
    for model in models.data:
        if model.id == settings.model:
            return model
    names = ", ".join(model.id for model in models.data[:NAMED]) or "none"
    msg = f"engine.model {settings.model}: the server at {settings.base_url} does not have it; it has {names}"
    raise Misconfigured(msg)


def revision_of(settings: EngineSettings, model: ModelCard) -> str:
    """What the server says, or else the settings. Raises Misconfigured where neither does, or they differ."""
    said, set_ = model.revision, settings.revision
    if said and set_ and said != set_:
        msg = f"engine.revision {set_}: the server says that its model is {said}"
        raise Misconfigured(msg)
    if found := said or set_:
        return found
    msg = (
        f"engine.revision: the server does not say which revision of {model.id} it has, and verdicts must name it;"
        " set it to the commit, or the digest, that the server was started with"
    )
    raise Misconfigured(msg)
