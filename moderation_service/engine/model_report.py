"""What a check of the configured model found: one line a finding, with the setting to change."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, Protocol

from moderation_service.contracts.engine_input import Language, Pixels, Questionnaire
from moderation_service.contracts.verdict import LEAST_SCALE
from moderation_service.engine.answer_prefix import ENOUGH_MASS, PROBES, UNANSWERED, FirstTokens
from moderation_service.engine.base import Engine, EngineInfo, ScoreRequest
from moderation_service.engine.layouts import LAYOUTS
from moderation_service.languages.tags import nearest_tag
from moderation_service.settings import LayoutName

SAMPLES: dict[Language, str] = {
    "en": "Selling my old camera, hardly used. It comes with two lenses, a strap and its box. Message me for the price."
    " I can meet you near the station on any weekday after six, or send it by post if you pay for that.",
    "zh": "出一台旧相机，几乎没怎么用过，带两个镜头、背带和原装盒子。价格私聊。工作日六点以后可以在车站附近面交，"
    "邮费自付的话也可以寄。有问题随时留言，看到会回复，非诚勿扰，谢谢大家。",
}
"""Words of an ordinary post, by which tokens and latency are measured; for other languages the English ones."""

MANY_TIMES = 2.0
TIMED = 3


@dataclass(frozen=True, slots=True)
class CheckInput:
    """What to check a model with: policies by language, and images by their size, as the service would show them.

    The first language is the pack's default.
    """

    questionnaires: Mapping[Language, Questionnaire]
    images: Mapping[tuple[int, int], tuple[Pixels, ...]]
    max_images: int
    usual: tuple[int, int]

    @property
    def questionnaire(self) -> Questionnaire:
        """The policies in the default language."""
        return next(iter(self.questionnaires.values()))

    def post(self, shade: int = 0) -> ScoreRequest:
        """An ordinary post with an image, of which all policies are asked; another `shade` is another image."""
        images = tuple(pixels + shade for pixels in self.images[self.usual])
        text, asked = sample(self.questionnaire.language), tuple(range(len(self.questionnaire.questions)))
        return ScoreRequest(text, images, self.questionnaire, asked)


def sample(language: Language) -> str:
    """The words of an ordinary post for policies in this language."""
    return SAMPLES[nearest_tag(language, SAMPLES) or "en"]


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What the model said to a question that every model can answer."""

    language: Language
    has_image: bool
    expected: Literal["yes", "no"]
    score: float
    mass: float
    likely: tuple[tuple[str, float], ...]

    @property
    def is_right(self) -> bool:
        """Whether the likelier label is the expected one."""
        return (self.score >= 0.5) == (self.expected == "yes")  # noqa: PLR2004 - the middle


@dataclass(frozen=True, slots=True)
class LabelWord:
    """A word of `engine.labels`: `counts` where its probability is read; None where that can't be told."""

    word: str
    label: Literal["yes", "no"]
    counts: bool | None
    why: str


@dataclass(frozen=True, slots=True)
class ImageReading:
    """How much of an image of `width` by `height` the model reads."""

    width: int
    height: int
    tokens: int
    pixels: int

    @property
    def scale(self) -> float:
        """Of its width and height; tiles overlap, so more than all may be read."""
        return float(min(1.0, (self.pixels / (self.width * self.height)) ** 0.5))


@dataclass(frozen=True, slots=True)
class PostTokens:
    """Tokens of an ordinary post: the prefix is computed once for all posts; `room` is what a post may have."""

    layout: LayoutName
    language: Language
    prefix: int
    text: int
    image: int
    questions: int
    room: int

    @property
    def computed(self) -> int:
        """Tokens a post costs."""
        return self.text + self.image + self.questions


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes by part with the batches that are set, what there is of it, and the largest batch that would fit."""

    of: str
    parts: dict[str, int]
    available: int | None
    largest_batch: int | None
    peak: int | None = None
    advice: str | None = None

    @property
    def needed(self) -> int:
        """All parts."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what is wrong or worth knowing, and the setting to change. With an error the model can't judge."""

    level: Literal["error", "warning", "note"]
    text: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    """All of it. What an engine can't know is empty, or None."""

    model: EngineInfo
    answer_prefix: str
    would_answer_behind: str | None
    answers: tuple[ProbeAnswer, ...]
    labels: tuple[LabelWord, ...]
    images: tuple[ImageReading, ...]
    posts: tuple[PostTokens, ...]
    memory: Memory | None
    latency_ms: float
    full_images: int
    sends_by_uuid: bool | None = None  # whether a post's images go to the server once

    def findings(self, checked: CheckInput) -> list[Finding]:
        """What to mend, the gravest first."""
        found = [*self._of_answers(), *self._of_labels(), *self._of_memory(), *self._of_reading(checked)]
        order = ("error", "warning", "note")
        return sorted(found, key=lambda finding: order.index(finding.level))

    def _of_answers(self) -> Iterator[Finding]:
        if min(answer.mass for answer in self.answers) < ENOUGH_MASS:
            if self.would_answer_behind:
                yield Finding(
                    "error",
                    f"the model says {self.would_answer_behind!r} before its label words:"
                    " set engine.answer_prefix to auto, or to that",
                )
            else:
                yield Finding("error", UNANSWERED)
            return
        wrong = [answer for answer in self.answers if not answer.is_right]
        if len(wrong) == len(self.answers):
            yield Finding(
                "error",
                "every answer is the opposite of the right one: in each pair of engine.labels the word that means"
                " 'violates' should be the first",
            )
        elif wrong:
            said = ", ".join(
                f"{answer.language}{' with an image' if answer.has_image else ''} (expected {answer.expected},"
                f" score {answer.score:.2f})"
                for answer in wrong
            )
            yield Finding(
                "warning",
                f"{len(wrong)} of {len(self.answers)} simple questions are answered wrongly: {said}. Measure the model"
                " on labelled posts (`moderation evaluate`), or take another engine.model",
            )

    def _of_labels(self) -> Iterator[Finding]:
        split = [label.word for label in self.labels if label.counts is False]
        if split:
            yield Finding(
                "note",
                f"engine.labels: {', '.join(split)} is more than one token of this model and is never counted;"
                " leave it out, or name a word that is one token",
            )

    def _of_memory(self) -> Iterator[Finding]:
        memory = self.memory
        if memory and memory.advice:
            yield Finding(
                "warning",
                f"the largest batch needs {memory.needed / 1e9:.1f} GB, and {(memory.available or 0) / 1e9:.1f} GB are"
                f" there: {memory.advice}",
            )

    def _of_reading(self, checked: CheckInput) -> Iterator[Finding]:
        width, height = checked.usual
        for reading in self.images:
            if (reading.width, reading.height) == checked.usual and reading.scale < LEAST_SCALE:
                yield Finding(
                    "note",
                    f"an image of {width} x {height} is read at {reading.scale:.0%} of its width and height, so small"
                    " print is lost; that is what this engine.model's image processor allows",
                )
        if self.full_images < checked.max_images:
            yield Finding(
                "note",
                f"{self.full_images} images of {width} x {height} fit a post as large as one alone is read, of"
                f" media.max_images = {checked.max_images}; more are read smaller. Raise engine.max_context_tokens",
            )
        costs = {
            layout: max(post.computed for post in self.posts if post.layout == layout)
            for layout in dict.fromkeys(post.layout for post in self.posts)
        }
        used, (least, layout) = costs[self.model.layout], min((cost, layout) for layout, cost in costs.items())
        if MANY_TIMES * least < used:
            but = ", but policies then see one another" if LAYOUTS[layout].policies_in_prefix else ""
            yield Finding(
                "note", f"a post costs {used} tokens; with engine.layout = {layout} it would cost {least}{but}"
            )


class CheckedEngine(Engine, Protocol):
    """An engine that can tell about its model."""

    async def check(self, checked: CheckInput) -> ModelReport:
        """Ask and measure; after `start`. Raises as `score`."""


async def latency_ms(engine: Engine, checked: CheckInput) -> float:
    """Of one post alone, images unseen: the median of a few, behind one that warms up."""
    took = []
    for shade in range(TIMED + 1):
        begun = time.perf_counter()
        await engine.score([checked.post(shade)])
        took.append((time.perf_counter() - begun) * 1000)
    return median(took[1:])


def answers_of(first: Sequence[FirstTokens]) -> tuple[ProbeAnswer, ...]:
    """The answers to PROBES, beside what was expected: of each language the threat comes first."""
    return tuple(
        ProbeAnswer(
            language=probe.questionnaire.language,
            has_image=bool(probe.images),
            expected="yes" if number % 4 < 2 else "no",  # noqa: PLR2004 - with an image and without
            score=tokens.label.score,
            mass=tokens.label.mass,
            likely=tokens.likely,
        )
        for number, (probe, tokens) in enumerate(zip(PROBES, first, strict=True))
    )
