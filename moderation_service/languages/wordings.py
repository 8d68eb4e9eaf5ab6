"""The sentences that the machine writes, by language: prompts, explanations, statements of reasons, known content.

A language is a file `sentences/TAG.yaml`, and no code. What it leaves out is taken from its parent's file, then from
the English one.
"""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from moderation_service.languages.tags import nearest_tag

_FOLDER = Path(__file__).parent / "sentences"
_LAST = "en"
OF_PROMPT_DIGEST = ("en", "zh")
"""Languages whose sentences the digest of an engine's prompts covers; those of others are in the policies' digests."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class PromptWording(_Section):
    """What a model reads beside policies and post, in `prompt = full`; `explain` asks why a post was flagged.

    `answer_word` is the language's *yes*: the pair of `engine.labels` that begins with it is asked for. It is left
    out where the order of the pairs tells.
    """

    instruction: str
    policies: str
    policy: str
    selector: str
    answer: str
    answer_word: str | None = None
    explain: str


class ExplanationWording(_Section):
    """The pieces of an explanation by template.

    `abstentions` are by reason. `quotation` letters of the post in one run are a quotation.
    """

    policy: str
    place: str
    score: str
    between_scores: str
    joint: str
    text_only: str
    image_only: str
    quotation: int
    abstentions: dict[str, str]


class StatementWording(_Section):
    """The sentences of a draft. None tells a score or a threshold: they would help to evade."""

    ground: str
    explanation: str
    without_views: str
    judged: str
    fact: str
    violated: str
    known_ground: str
    known_explanation: str
    compared: str
    known: str
    unseen: str
    blocked: str
    to_review: str
    redress: str


class Wording(_Section):
    """All sentences of a language. `places` are by attribution class, `known_content` by kind of entry.

    `language` is the tag of the file that they are from.
    """

    language: str
    between_sentences: str
    prompt: PromptWording
    explanation: ExplanationWording
    places: dict[str, str]
    statement: StatementWording
    known_content: dict[str, str]


@cache
def wording_of(language: str) -> Wording:
    """The sentences in a language, or in the nearest one that has a file."""
    there = wording_languages()
    nearest = nearest_tag(language, there) or _LAST
    made: dict[str, Any] = {}
    for parent in reversed(_chain(nearest, there)):
        made = _merged(made, yaml.safe_load((_FOLDER / f"{parent}.yaml").read_text(encoding="utf-8")))
    return Wording.model_validate({"language": nearest, **made})


@cache
def wording_languages() -> tuple[str, ...]:
    """The tags that have a file."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def _chain(tag: str, there: tuple[str, ...]) -> list[str]:
    """The tag, its parents that have a file, and English."""
    parts = tag.split("-")
    parents = ("-".join(parts[:count]) for count in range(len(parts), 0, -1))
    return [*(parent for parent in parents if parent in there and parent != _LAST), _LAST]


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Both, sentence by sentence; `over` wins."""
    return under | {
        name: _merged(under.get(name, {}), value) if isinstance(value, dict) else value for name, value in over.items()
    }
