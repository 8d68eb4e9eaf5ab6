"""The remote engine: a model behind an OpenAI-compatible server, such as vLLM or SGLang."""

import asyncio
from collections.abc import Sequence

import structlog

from moderation_service.contracts.question import Questionnaire
from moderation_service.engine import served
from moderation_service.engine.answers import ServedModels
from moderation_service.engine.base import EngineInfo, ExplainRequest, Scored, ScoreRequest, Written
from moderation_service.engine.breaker import Breaker, ServerFailed
from moderation_service.engine.chat import digest
from moderation_service.engine.model_report import CheckInput, ModelReport
from moderation_service.engine.remote_check import check_served
from moderation_service.engine.remote_model import RemoteModel, shortening
from moderation_service.engine.server import ERROR, GARBLED, UNREACHABLE, Refused, Server
from moderation_service.engine.together import together
from moderation_service.errors import Fatal, Poison, Transient
from moderation_service.settings import EngineSettings

_THE_POSTS_FAULT = frozenset({400, 413, 422})
_MAY_BE_THE_POSTS_FAULT = frozenset({ERROR, UNREACHABLE, GARBLED})  # an overload, which the others tell of, is not

log = structlog.get_logger(__name__)


class RemoteEngine:
    """Scores by chat completions of one token, one a question; those of a post find its prefix kept by the server."""

    def __init__(self, settings: EngineSettings, breaker: Breaker | None = None) -> None:
        """Takes nothing yet: see `start`. Raises Misconfigured for a key that can't be sent."""
        self._settings = settings
        self._server = Server(settings, breaker or Breaker())
        self._model = RemoteModel(settings, self._server)
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
        await self._server.open()
        try:
            listed = await served.at_start(settings, self._server.ask("models", ServedModels))
            found = served.find(settings, listed)
            model.limit = min(model.limit, found.max_model_len or model.limit)
            revision = served.revision(settings, found)
            await served.at_start(settings, model.find_prefix(settings.answer_prefix))
            await served.at_start(settings, model.find_media_cache())
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
            await self._model.opening(questionnaire)
        except Refused as refused:
            raise _not_now(refused) from None

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """Answer each request.

        Raises Transient where the server is away, fails, or refuses everybody. Raises Poison, `engine_error`, for a
        request that it refuses (400, 413, 422), or that fails alone and again, while it answers another.
        """
        return await together(self._score(request, alone=len(requests) == 1) for request in requests)

    async def explain(self, requests: Sequence[ExplainRequest]) -> list[Written]:
        """Write for each request. Raises Transient as `score`."""
        return await together(self._explain(request) for request in requests)

    async def check(self, checked: CheckInput) -> ModelReport:
        """Ask and measure what `moderation model check` shows. Raises Fatal where the server fails meanwhile."""
        return await served.at_start(self._settings, check_served(self, self._model, self._settings, checked))

    async def close(self) -> None:
        """Close all connections; calls that wait fail."""
        await self._server.close()

    async def _score(self, request: ScoreRequest, *, alone: bool) -> Scored:
        """Answer; where that fails, tell whose fault it is. An outage is no reason to drop a post."""
        try:
            return await self._answers(request)
        except Refused as refused:
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
        opening = await model.opening(request.questionnaire)
        fitting = await asyncio.to_thread(model.fitting, request.text, request.images, opening.room)
        # The longest question goes alone: if it fits all do, and they find what the server kept of the post.
        first = max(request.asked, key=opening.sizes.__getitem__)
        shown, answer = await shortening(
            fitting,
            lambda shown: model.ask(opening.text, shown, opening.tails[first]),
            lambda answer: answer.usage.prompt_tokens - opening.sizes[first] <= opening.room,
        )
        others = [number for number in request.asked if number != first]
        tokens = answer.usage.prompt_tokens - opening.sizes[first]
        rest = await together(model.ask_more(opening, number, shown, tokens) for number in others)
        answers = {first: answer, **dict(zip(others, rest, strict=True))}
        return Scored(
            tuple(answers[number].label(model.prompts.labels) for number in request.asked),
            tokens=sum(each.usage.read for each in answers.values()),
            pixels_read=tuple(image.pixels for image in shown.images),
            truncated=shown.truncated,
        )

    async def _explain(self, request: ExplainRequest) -> Written:
        try:
            async with asyncio.timeout(request.within_s):
                # What is asked, and the answer, have the other half.
                room = self._model.limit // 2
                fitting = await asyncio.to_thread(self._model.fitting, request.text, request.images, room)
                _, answer = await shortening(fitting, lambda shown: self._model.write(request, shown), lambda _: True)
        except TimeoutError:
            return Written("", "time", 0, 0)
        except Refused as refused:
            raise _not_now(refused) from None
        return Written(answer.words, answer.ended, answer.usage.read, answer.usage.completion_tokens)

    async def _answers_another(self) -> bool:
        try:
            await self._model.probe()
        except (Refused, Transient):
            return False
        return True


def _poison(error: Refused | ServerFailed) -> Poison:
    return Poison("engine_error", f"the engine's server answers others, and not this post: {error}", stage="score")


def _not_now(refused: Refused) -> Transient:
    reason = "server_refused"
    return Transient(reason, f"the engine's server refuses what it is asked (status {refused.status})")
