"""A model on a server: asked by chat completions, measured by what it says it read."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog
from cachetools import LRUCache

from moderation_service.contracts.engine_input import Pixels, Questionnaire
from moderation_service.engine.answer_prefix import FirstTokens, find_answer_prefix
from moderation_service.engine.base import MAX_CACHED_PREFIXES, WARM_UP, ExplainRequest, ScoreRequest
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.engine.layouts.post_first import PostFirst
from moderation_service.engine.openai.chat import (
    EMPTY_POST,
    GENERATION_PARAMETERS,
    NO_FRAME,
    SCORING_PARAMETERS,
    FittedPost,
    Message,
    continuation_params,
    messages,
)
from moderation_service.engine.openai.client import ERROR, GARBLED, OpenAIClient, RequestRefused, ServerFailed
from moderation_service.engine.openai.responses import ChatCompletion, GenerationResponse, ScoringResponse
from moderation_service.engine.prompts import Labels, Prompts, explanation_suffix
from moderation_service.errors import Misconfigured, Transient
from moderation_service.settings import EngineSettings
from moderation_service.telemetry import metrics

SEAM = 4
"""Tokens that a prompt may have more than its parts: they are tokenized as one text."""

Result = TypeVar("Result")
Answered = TypeVar("Answered", bound=ChatCompletion)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RemotePrefix:
    """What every post of a questionnaire stands behind; `sizes` are the tokens of each question without a post."""

    text: str
    suffixes: tuple[str, ...]
    sizes: tuple[int, ...]
    room: int


class RemoteModel:
    """All that is asked of a server. Each method raises RequestRefused, and Transient where tries did not help."""

    def __init__(self, settings: EngineSettings, server: OpenAIClient) -> None:
        self.prompts = Prompts(NO_FRAME, LAYOUTS[settings.layout], settings.prompt_mode, Labels.of(settings.labels))
        self.context_tokens = settings.max_context_tokens  # less where the server has less
        self._uuid_key: bytes | None = None  # of the images' UUIDs, where the server keeps images by these
        self._explaining = Prompts(NO_FRAME, PostFirst(), "full")  # as the local engine: the words stand between marks
        self._name = settings.model
        self._client = server
        self._prefixes: LRUCache[Questionnaire, RemotePrefix] = LRUCache(MAX_CACHED_PREFIXES)
        self._answering: str | None = None

    async def prefix(self, questionnaire: Questionnaire) -> RemotePrefix:
        """The questionnaire's prefix: a kept one, or a new one in the place of that not used for longest.

        Raises Misconfigured where it leaves no room for a post.
        """
        prefix = self._prefixes.get(questionnaire)
        if prefix is None:
            prefix = self._prefixes[questionnaire] = await self._measure(questionnaire)
        return prefix

    @property
    def sends_by_uuid(self) -> bool:
        """Whether the server keeps images by UUID: a post's images are then sent once, else with each question."""
        return self._uuid_key is not None

    def fit(self, text: str, images: Sequence[Pixels], room: int) -> FittedPost:
        """What of a post is sent in `room` tokens; encodes its images, and so is for a thread."""
        return FittedPost.fit(text, images, room, self._uuid_key)

    async def ask(
        self, prefix: str, shown: FittedPost, suffix: str, *, probe: bool = False, has_fallback: bool = False
    ) -> ScoringResponse:
        """One question about one post; `probe` and `has_fallback` as `OpenAIClient.ask` has them."""
        turns = await asyncio.to_thread(messages, self.prompts, prefix, shown, suffix)  # long words take a while
        how = SCORING_PARAMETERS | continuation_params(self.prompts)
        return await self._complete(ScoringResponse, turns, how, probe=probe, has_fallback=has_fallback)

    async def ask_more(self, prefix: RemotePrefix, number: int, shown: FittedPost, tokens: int) -> ScoringResponse:
        """Another question about a post of `tokens` that the server has just read.

        Images go by their UUIDs alone where the server keeps them by these. They are sent again where it refuses or
        fails, as it does when it has lost one, or where the prompt is not as long as with them: a server that reads
        nothing for a UUID must not judge.
        """
        suffix = prefix.suffixes[number]
        if self._uuid_key and shown.images:
            with suppress(RequestRefused):
                answer = await self.ask(prefix.text, shown.by_uuid(), suffix, has_fallback=True)
                if abs(answer.usage.prompt_tokens - prefix.sizes[number] - tokens) <= SEAM:
                    return answer
            metrics.ENGINE_IMAGE_RESENDS.inc(len(shown.images))
        return await self.ask(prefix.text, shown, suffix)

    async def write(self, request: ExplainRequest, shown: FittedPost) -> GenerationResponse:
        """Why the post that is shown was flagged."""
        prefix = self._explaining.prefix(Questionnaire(request.language, ()))
        suffix = explanation_suffix(request.language, request.findings)
        return await self._complete(
            GenerationResponse, messages(self._explaining, prefix, shown, suffix), GENERATION_PARAMETERS
        )

    async def probe(self, request: ScoreRequest = WARM_UP) -> ScoringResponse:
        """A question that every model can answer, about words and an image; also asked where the breaker is open."""
        return await self._probe(request, FittedPost.fit(request.text, request.images, self.context_tokens))

    async def find_answer_prefix(self, configured: str) -> None:
        """Ask what every model can answer, and ask from then on behind the prefix that is found."""

        async def ask(prefix: str, probes: Sequence[ScoreRequest]) -> list[FirstTokens]:
            self.prompts = replace(self.prompts, answer_prefix=prefix)
            answers = await gather_or_raise(self.probe(request) for request in probes)
            return [answer.first_tokens(self.prompts.labels) for answer in answers]

        found = await find_answer_prefix(configured, ask)
        self.prompts = replace(self.prompts, answer_prefix=found)

    async def detect_image_cache(self) -> None:
        """Try whether the server keeps images by UUID.

        An image that goes by its UUID alone has to be read as the image is, and one that the server never had refused.
        """
        keys = secrets.token_bytes(32), secrets.token_bytes(32)
        shown, unknown = (FittedPost.fit(WARM_UP.text, WARM_UP.images, self.context_tokens, key) for key in keys)
        ways = (replace(shown, images=()), shown, shown.by_uuid(), unknown.by_uuid())
        try:
            without, sent, by_uuid, by_unknown = [await self._prompt_tokens(each) for each in ways]
        except ServerFailed as failed:
            if failed.reason not in {ERROR, GARBLED}:
                raise
        else:
            if without < sent == by_uuid and not by_unknown:
                self._uuid_key = keys[0]
                return
        log.info("the server keeps no images by UUID, so each question of a post sends the post's images again")

    async def _prompt_tokens(self, shown: FittedPost) -> int:
        """Of a question about this; 0 where the server refuses it."""
        try:
            return (await self._probe(WARM_UP, shown)).usage.prompt_tokens
        except RequestRefused:
            return 0

    async def _probe(self, request: ScoreRequest, shown: FittedPost) -> ScoringResponse:
        (suffix,) = self.prompts.suffixes(request.questionnaire)
        return await self.ask(self.prompts.prefix(request.questionnaire), shown, suffix, probe=True)

    async def prefix_that_answers(self) -> str:
        """The prefix that is found at the start, whatever is set; what is asked afterwards is asked as before."""
        own = self.prompts
        await self.find_answer_prefix("auto")
        self.prompts, found = own, self.prompts.answer_prefix
        return found

    async def _measure(self, questionnaire: Questionnaire) -> RemotePrefix:
        text, suffixes = self.prompts.prefix(questionnaire), self.prompts.suffixes(questionnaire)
        try:
            answers = await gather_or_raise(self.ask(text, EMPTY_POST, suffix) for suffix in suffixes)
        except RequestRefused as refused:
            if not refused.too_long:
                raise
            raise self._no_room() from None
        sizes = tuple(answer.usage.prompt_tokens for answer in answers)
        room = self.context_tokens - max(sizes, default=0) - SEAM
        if room <= 0:
            raise self._no_room()
        return RemotePrefix(text, suffixes, sizes, room)

    def _no_room(self) -> Misconfigured:
        msg = (
            f"engine.max_context_tokens: the policies alone fill the {self.context_tokens} tokens that the model on"
            " the server may read; use shorter or fewer policies, or a larger context"
        )
        return Misconfigured(msg)

    async def _complete(
        self, kind: type[Answered], turns: list[Message], how: dict[str, Any], **asked: bool
    ) -> Answered:
        body = {"model": self._name, "messages": turns, **how}
        answer = await self._client.ask("chat/completions", kind, body, **asked)
        self._answering = self._answering or answer.model
        if answer.model != self._answering:
            reason = "other_model"
            raise Transient(reason, "another model answers than at the start")
        return answer


async def ask_shortened(
    shown: FittedPost, ask: Callable[[FittedPost], Awaitable[Answered]], fits: Callable[[Answered], bool]
) -> tuple[FittedPost, Answered]:
    """Ask with ever less of the post until it fits. Raises RequestRefused for another reason, or once none is left."""
    while True:
        try:
            answer = await ask(shown)
        except RequestRefused as refused:
            shorter = shown.shorter() if refused.too_long else None
            if shorter is None:
                raise
        else:
            shorter = None if fits(answer) else shown.shorter()
            if shorter is None:
                return shown, answer
        shown = shorter


async def gather_or_raise(work: Iterable[Coroutine[Any, Any, Result]]) -> list[Result]:
    """Do all at once, answers in order; the first that fails ends the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
