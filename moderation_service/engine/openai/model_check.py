"""The check of a model on a server: what it answers, and what it says it read."""

from collections.abc import Iterator
from typing import Literal

from moderation_service.contracts.engine_input import Language
from moderation_service.engine.answer_prefix import PROBES, FirstTokens
from moderation_service.engine.base import Engine
from moderation_service.engine.model_report import (
    CheckInput,
    ImageReading,
    LabelWord,
    ModelReport,
    PostTokens,
    answers_of,
    latency_ms,
    sample,
)
from moderation_service.engine.openai.chat import CELL, EMPTY_POST, MARKS, FittedPost
from moderation_service.engine.openai.model import RemoteModel, gather_or_raise
from moderation_service.engine.prompts import Labels
from moderation_service.settings import EngineSettings


async def check_remote_model(
    engine: Engine, model: RemoteModel, settings: EngineSettings, checked: CheckInput
) -> ModelReport:
    """Ask and measure. Sizes are differences of the prompt tokens that the server counts; its memory is its own."""
    behind = await model.prefix_that_answers() if settings.answer_prefix != "auto" else None
    labels = model.prompts.labels
    first = [answer.first_tokens(labels) for answer in await gather_or_raise(model.probe(probe) for probe in PROBES)]
    room = (await model.prefix(checked.questionnaire)).room
    bare = await _prompt_tokens(model, EMPTY_POST)
    images = [await _reading(model, checked, size, room, bare) for size in checked.images]
    usual = next(image for image in images if (image.width, image.height) == checked.usual)
    posts = [await _tokens(model, settings, language, checked, bare) for language in checked.questionnaires]
    return ModelReport(
        model=engine.info,
        answer_prefix=model.prompts.answer_prefix,
        would_answer_behind=behind,
        answers=answers_of(first),
        labels=tuple(_labels(labels, first)),
        images=tuple(images),
        posts=tuple(posts),
        memory=None,
        latency_ms=await latency_ms(engine, checked),
        full_images=room // max(usual.tokens, 1),
        sends_by_uuid=model.sends_by_uuid,
    )


def _labels(labels: Labels, first: list[FirstTokens]) -> Iterator[LabelWord]:
    """A server's tokenizer is not here: a word is known to count where it was among the likeliest tokens."""
    seen = {token for answer in first for token, _ in answer.likely}
    sides: tuple[tuple[Literal["yes", "no"], tuple[str, ...]], ...] = (("yes", labels.yes), ("no", labels.no))
    for label, words in sides:
        for word in words:
            counts = True if word in seen else None
            yield LabelWord(word, label, counts, "seen" if counts else "not among the likeliest tokens of any answer")


async def _prompt_tokens(model: RemoteModel, shown: FittedPost) -> int:
    return (await model.ask("", shown, "?")).usage.prompt_tokens


async def _reading(
    model: RemoteModel, checked: CheckInput, size: tuple[int, int], room: int, bare: int
) -> ImageReading:
    """`bare` is what the server counts of a prompt without a post."""
    frames = checked.images[size]
    shown = FittedPost.fit("", frames, room)
    tokens = await _prompt_tokens(model, shown) - bare - MARKS * len(shown.images)
    return ImageReading(*size, tokens=tokens, pixels=tokens * CELL**2)


async def _tokens(
    model: RemoteModel, settings: EngineSettings, language: Language, checked: CheckInput, bare: int
) -> PostTokens:
    """In the layout that is set; of another the server's prefix would have to be computed."""
    prefix = await model.prefix(checked.questionnaires[language])
    text = await _prompt_tokens(model, FittedPost(sample(language), ())) - bare
    images = FittedPost.fit("", checked.images[checked.usual], prefix.room)
    image = await _prompt_tokens(model, images) - bare
    shared = (await model.ask(prefix.text, EMPTY_POST, "?")).usage.prompt_tokens
    return PostTokens(
        settings.layout, language, shared, text, image, sum(size - shared for size in prefix.sizes), prefix.room
    )
