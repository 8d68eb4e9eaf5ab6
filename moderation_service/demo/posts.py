"""Synthetic posts with their labels: the same ones for the same seed.

A draft says what is on the images and what the words want; `draw` paints it. Training paints from a bank of
images instead.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from moderation_service.contracts.engine_input import Language
from moderation_service.demo.glyphs import CLASSES, ImageClass
from moderation_service.demo.images import Size, render
from moderation_service.demo.texts import INTENTS, HeldOut, Intent, injection, joined, sentence
from moderation_service.demo.truths import Truth, truths
from moderation_service.languages.detection import east_asian_language

SIZES: tuple[Size, ...] = ((112, 112), (168, 168), (96, 96), (150, 120), (120, 150), (160, 90), (90, 160), (240, 320))

SEEDS: tuple[tuple[ImageClass, Intent, float], ...] = (
    ("weapon", "sale", 0.12),
    ("medical", "cure", 0.12),
    ("money", "invest", 0.12),
    ("child", "meet", 0.12),
    ("animal", "group", 0.12),
    ("weapon", "menace", 0.12),
    ("weapon", "context", 0.13),
    ("gore", "threat", 0.04),
    ("gore", "neutral", 0.06),
    ("weapon", "neutral", 0.05),
)
"""Pairs worth a closer look, and how often each is what a post is built round."""

CHANGES = ("none", "words", "picture", "no picture", "no words")
CHANGE_SHARES = (0.42, 0.24, 0.22, 0.06, 0.06)
ROUND_A_PAIR = 0.62


@dataclass(frozen=True, slots=True)
class Draft:
    """What a post shows and says, without pixels. `language` is that of most of its words."""

    images: tuple[ImageClass, ...]
    intents: tuple[Intent, ...]
    text: str
    language: Language

    @property
    def truths(self) -> dict[str, Truth]:
        """The right answer for every shipped policy."""
        return truths(frozenset(self.images), frozenset(self.intents))


@dataclass(frozen=True, slots=True)
class LabelledPost:
    """A draft with its images."""

    draft: Draft
    images: tuple[Image.Image, ...]


def posts(count: int, seed: int, *, held_out: HeldOut = False, unseen: bool = False) -> Iterator[LabelledPost]:
    """`count` posts; in wordings never trained on with `held_out`, of pictograms never trained on with `unseen`."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        yield draw(draft(rng, held_out=held_out), rng, unseen=unseen)


def draw(sketched: Draft, rng: np.random.Generator, *, unseen: bool = False) -> LabelledPost:
    """Paint a draft's images, each in a size of its own."""
    images = tuple(render(cls, rng, unseen=unseen, size=SIZES[rng.integers(len(SIZES))]) for cls in sketched.images)
    return LabelledPost(sketched, images)


def draft(rng: np.random.Generator, *, held_out: HeldOut = False, language: Language | None = None) -> Draft:
    """Think up one post."""
    cls, intent = _subject(rng)
    images: list[ImageClass] = [] if cls is None else [cls]
    # A second and third image, mostly harmless; a post whose images went missing keeps none.
    more = int(rng.choice(3, p=(0.78, 0.16, 0.06))) if images else 0
    images += ["neutral" if rng.random() < 0.6 else _any_class(rng) for _ in range(more)]
    chosen: Language = language or ("zh" if rng.random() < 0.5 else "en")
    intents, text = _words(intent, chosen, rng, held_out=held_out)
    order = rng.permutation(len(images))
    # Words of both languages are judged in that of most of their letters, as the service does.
    judged = chosen
    if text and language is None:
        judged = "zh" if (east_asian_language(text) or "").startswith("zh") else "en"
    return Draft(tuple(images[number] for number in order), intents, text, judged)


def matched(rng: np.random.Generator, *, held_out: HeldOut = False) -> tuple[Draft, bool]:
    """A post of the XOR set, and whether it is harmful.

    Every image and all words belong to one of the five policies that only both together violate; in half of
    the posts to the same one. So neither the image nor the words alone say anything about the answer.
    """
    pairs = SEEDS[:5]
    first = int(rng.integers(len(pairs)))
    same = bool(rng.random() < 0.5)
    second = first if same else (first + int(rng.integers(1, len(pairs)))) % len(pairs)
    language: Language = "zh" if rng.random() < 0.5 else "en"
    intent = pairs[second][1]
    return Draft((pairs[first][0],), (intent,), sentence(intent, language, rng, held_out=held_out), language), same


def _subject(rng: np.random.Generator) -> tuple[ImageClass | None, Intent | None]:
    """An image's class and the words' intent; None is a part that the post does not have."""
    if rng.random() >= ROUND_A_PAIR:
        cls = None if rng.random() < 0.08 else _any_class(rng)
        intent = None if cls and rng.random() < 0.08 else _any_intent(rng)
        return cls, intent
    shares = np.array([share for *_, share in SEEDS])
    paired_cls, paired_intent, _ = SEEDS[rng.choice(len(SEEDS), p=shares / shares.sum())]
    change = CHANGES[rng.choice(len(CHANGES), p=CHANGE_SHARES)]
    if change == "words":
        return paired_cls, _any_intent(rng)
    if change == "picture":
        return _any_class(rng), paired_intent
    return None if change == "no picture" else paired_cls, None if change == "no words" else paired_intent


def _words(
    intent: Intent | None, language: Language, rng: np.random.Generator, *, held_out: HeldOut
) -> tuple[tuple[Intent, ...], str]:
    """One or two sentences, now and then with an order to the model behind them."""
    if intent is None:
        return (), ""
    intents = [intent]
    if rng.random() < 0.3:
        intents.append("neutral" if rng.random() < 0.75 else _any_intent(rng))
        if rng.random() < 0.5:
            intents.reverse()
    parts = [sentence(each, language, rng, held_out=held_out) for each in intents]
    if rng.random() < 0.1:
        parts.append(injection(language, rng, held_out=held_out))
    if "neutral" in intents and rng.random() < 0.2:
        other: Language = "en" if language == "zh" else "zh"
        parts.insert(0, sentence("neutral", other, rng, held_out=held_out)[:12])
    return tuple(intents), joined(parts, language, rng)


def _any_class(rng: np.random.Generator) -> ImageClass:
    return CLASSES[rng.integers(len(CLASSES))]


def _any_intent(rng: np.random.Generator) -> Intent:
    return INTENTS[rng.integers(len(INTENTS))]
