"""Answer prefix: what a model says before its label word. Some begin an answer with a control token.

GLM-4.6V is reported to wrap its answers in `<|begin_of_box|>`. Then no label is likely in the first place of the
answer, and one is in the next.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from moderation_service.contracts.engine_input import Language, Question, Questionnaire
from moderation_service.engine.base import WARM_UP, LabelScore, ScoreRequest
from moderation_service.telemetry import metrics

ENOUGH_MASS = 0.5
"""Of a question that every model can answer."""

MAX_PREFIX_TOKENS = 3
LOGGED_TOKENS = 5  # tokens of each answer that a log names

UNANSWERED = (
    "the model does not answer with its label words, so every post will be an abstention; engine.labels should be the"
    " words that it answers with, or engine.answer_prefix what it says before them"
)

_MARKUP = re.compile(r"\s+|<\|[^<>|]*\|>|</?\w+>")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """What may come first in an answer, the likeliest first, and what that says of the labels."""

    label: LabelScore
    likely: tuple[tuple[str, float], ...]


Ask = Callable[[str, Sequence[ScoreRequest]], Awaitable[Sequence[FirstTokens]]]


def _probes() -> tuple[ScoreRequest, ...]:
    questions: dict[Language, tuple[str, str]] = {
        "en": ("Does it show or threaten violence?", "I will kill you tomorrow"),
        "zh": ("是否展示或威胁暴力？", "我明天要杀了你"),
    }
    return tuple(
        ScoreRequest(text, images, Questionnaire(language, (Question("probe", question, question),)), (0,))
        for language, (question, threat) in questions.items()
        for text in (threat, "Good morning")
        for images in ((), WARM_UP.images)
    )


PROBES = _probes()
"""A threat and a greeting, in both languages, with an image and without: what every model can answer."""


async def find_answer_prefix(configured: str, ask: Ask) -> str:
    """The prefix to use. `ask` puts questions behind a prefix and gives what may come first in each answer.

    `configured` is `engine.answer_prefix`: `auto`, or the owner's own, which is used whatever the answers are. Where
    the first question is answered no other is asked.
    """
    automatic = configured == "auto"
    own = "" if automatic else configured
    answers = await ask(own, (WARM_UP,))
    if _answered(answers):
        return _found(own, answers)
    first = answers = await ask(own, PROBES)
    prefix = ""
    for _ in range(MAX_PREFIX_TOKENS):
        if _answered(answers) or (token := _leader(answers)) is None:
            break
        prefix += token
        answers = await ask(prefix, PROBES)
    likely = [[token for token, _ in answer.likely[:LOGGED_TOKENS]] for answer in first]
    if not _answered(answers):
        log.error(UNANSWERED, label_mass=_mass(first), likely=likely)
    elif automatic:
        return _found(prefix, answers)
    elif prefix:
        log.error(
            "the model says something before its label words; engine.answer_prefix should be auto, or that",
            answer_prefix=configured,
            says_first=prefix,
            likely=likely,
        )
    return _found(own, first)


def _found(prefix: str, answers: Sequence[FirstTokens]) -> str:
    metrics.PROBE_LABEL_MASS.set(_mass(answers))
    if prefix:
        log.info("answers begin behind a prefix", answer_prefix=prefix)
    return prefix


def _mass(answers: Sequence[FirstTokens]) -> float:
    return min(answer.label.mass for answer in answers)


def _answered(answers: Sequence[FirstTokens]) -> bool:
    return _mass(answers) >= ENOUGH_MASS


def _leader(answers: Sequence[FirstTokens]) -> str | None:
    """The control token or white space that comes first in all answers."""
    leaders = {answer.likely[0][0] for answer in answers}
    return leader if len(leaders) == 1 and _MARKUP.fullmatch(leader := leaders.pop()) else None
