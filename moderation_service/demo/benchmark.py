"""The bundled benchmark: seeded labelled posts for the shipped policies that no one modality can pass.

Every slice but `trained_wordings` uses wordings that the model was never trained on. What each slice is, and what
the set is not: `docs/reference/data-card.md`. Slices that are apart (see `Labelled`) test what the model was not
made for, or can't be judged at all; they have rows of their own and no part in the overall figures.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import AttributionClass
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.demo.disguise import FAKE_ROLES, SPELLINGS, again, written
from moderation_service.demo.glyphs import CLASSES, ImageClass
from moderation_service.demo.post_factory import Made, PostFactory
from moderation_service.demo.posts import draft, matched
from moderation_service.demo.texts import Intent, injection, joined
from moderation_service.demo.truths import PAIRS, truths
from moderation_service.evaluation.labelled import Labelled

SEED = 7001

TOGETHER: tuple[tuple[ImageClass, Intent], ...] = (*PAIRS.values(), ("weapon", "menace"))
"""Images and intents that violate a policy only together."""

GONE = "https://127.0.0.1/gone.jpg"
"""An address that is never fetched: a post's image that can't be loaded."""

_OTHER: dict[Language, Language] = {"en": "zh", "zh": "en"}
_PLAIN, _CALIBRATION = 1, 99


def benchmark(seed: int = SEED, scale: float = 1.0) -> Iterator[Labelled]:
    """The set, `scale` times its usual size; the same posts for the same seed and scale."""
    for tag, (name, part) in enumerate(SLICES.items(), start=_PLAIN):
        for number in range(max(1, round(part.families * scale))):
            for labelled in part.make(PostFactory(seed, number, tag, name)):
                yield replace(labelled, apart=part.apart)


def calibration_posts(count: int, seed: int = SEED + 1) -> Iterator[Labelled]:
    """Posts to calibrate on: other seeds, and trained wordings, so that the held-out ones stay for the figures."""
    for number in range(count):
        desk = PostFactory(seed, number, _CALIBRATION, "calibration")
        yield desk.label(desk.drawn(draft(desk.rng)))


def _held_out_wordings(desk: PostFactory) -> Iterator[Labelled]:
    yield desk.label(desk.drawn(draft(desk.rng, held_out=True)))


def _trained_wordings(desk: PostFactory) -> Iterator[Labelled]:
    yield desk.label(desk.drawn(draft(desk.rng)))


def _unseen_pictograms(desk: PostFactory) -> Iterator[Labelled]:
    yield desk.label(desk.drawn(draft(desk.rng, held_out=True), unseen=True))


def _xor(desk: PostFactory) -> Iterator[Labelled]:
    yield desk.label(desk.drawn(matched(desk.rng, held_out=True)[0]))


def _confounders(desk: PostFactory) -> Iterator[Labelled]:
    """A violation that only the combination makes, and its two harmless neighbours."""
    cls, intent = desk.pick(TOGETHER)
    whole = desk.made(cls, intent)
    yield desk.label(whole)
    yield desk.label(desk.with_words(whole, "neutral"), "same_picture", twin="a")
    yield desk.label(desk.with_image(whole, "neutral"), "same_words", twin="a")


def _text_only(desk: PostFactory) -> Iterator[Labelled]:
    """Words that violate by themselves beside an image that does not; and the image with harmless words."""
    intents: tuple[Intent, ...] = ("threat", "dox")
    classes: tuple[ImageClass, ...] = ("neutral", "medical", "money", "child", "animal")
    whole = desk.made(desk.pick(classes), desk.pick(intents))
    yield desk.label(whole)
    yield desk.label(desk.with_words(whole, "neutral"), twin="a")


def _image_only(desk: PostFactory) -> Iterator[Labelled]:
    """An image that violates by itself beside harmless words; and the words with a harmless image."""
    classes: tuple[ImageClass, ...] = ("gore", "weapon")
    whole = desk.made(desk.pick(classes), "neutral")
    yield desk.label(whole)
    yield desk.label(desk.with_image(whole, "neutral"), twin="a")


def _either(desk: PostFactory) -> Iterator[Labelled]:
    """Words and image that each violate; and with one of the two made harmless."""
    whole = desk.made("gore", "threat")
    yield desk.label(whole)
    part = desk.with_words(whole, "neutral") if desk.rng.random() < 0.5 else desk.with_image(whole, "neutral")
    yield desk.label(part, twin="a")


def _mitigated(desk: PostFactory) -> Iterator[Labelled]:
    """A weapon in a museum, or a report of a scam, a cure, a sale; and the same image without the context."""
    displayed: tuple[ImageClass, Intent] = ("weapon", "neutral")
    cls, intent = displayed if desk.rng.random() < 0.6 else desk.pick(TOGETHER)
    bare = desk.made(cls, intent)
    yield desk.label(desk.with_words(bare, "context"))
    yield desk.label(bare, twin="a")


def _mixed_languages(desk: PostFactory) -> Iterator[Labelled]:
    """One sentence in each language; what is meant stands in either."""
    sketched, _ = matched(desk.rng, held_out=True)
    both = [sketched.text, desk.sentence("neutral", _OTHER[sketched.language])]
    text = joined([both[at] for at in desk.rng.permutation(2)], sketched.language, desk.rng)
    yield desk.label(desk.drawn(replace(sketched, intents=(*sketched.intents, "neutral"), text=text)))


def _near_duplicates(desk: PostFactory) -> Iterator[Labelled]:
    whole = desk.drawn(draft(desk.rng, held_out=True))
    yield desk.label(whole)
    text = f"{whole.text} !" if whole.text else ""
    images = tuple(again(image, desk.rng) for image in whole.images)
    yield desk.label(replace(whole, text=text, images=images), twin="a")


def _missing_image(desk: PostFactory) -> Iterator[Labelled]:
    """The words of a post whose image can't be loaded; only what they decide, whatever was shown, has a label."""
    intents: tuple[Intent, ...] = (desk.pick(TOGETHER)[1], "threat", "dox", "neutral")
    said: Intent = desk.pick(intents)
    ever = [truths({shown}, {said}) for shown in CLASSES]
    labels = {
        policy: ever[0][policy].violated for policy in ever[0] if len({each[policy].violated for each in ever}) == 1
    }
    post = Post(post_id=desk.post_id(), text=desk.sentence(said, desk.language), images=(ImageRef(url=GONE),))
    yield Labelled(post, labels, slices=(desk.name,))


def _text_in_image(desk: PostFactory) -> Iterator[Labelled]:
    """The words stand in the image, in English; beside it are none, or harmless ones."""
    cls, intent = desk.pick(TOGETHER)
    whole = desk.made(cls, intent if desk.rng.random() < 0.5 else "neutral", language="en")
    images = tuple(written(image, whole.text) for image in whole.images)
    text = "" if desk.rng.random() < 0.5 else desk.sentence("neutral", "en")
    # Both halves of the violation are in the image, so it is the image's alone.
    labelled = desk.label(replace(whole, text=text, images=images))
    where = {
        name: AttributionClass.IMAGE_ONLY if violated else AttributionClass.NONE
        for name, violated in labelled.labels.items()
    }
    yield replace(labelled, attribution=where)


def _adversarial_spelling(desk: PostFactory) -> Iterator[Labelled]:
    """A post of `held_out_wordings` as somebody spells it who knows that there is a filter."""
    whole, twin = _original(desk, words=True, image=False)
    name = tuple(SPELLINGS)[desk.number % len(SPELLINGS)]
    yield desk.label(replace(whole, text=SPELLINGS[name](whole.text, desk.rng)), name, twin_of=twin)


def _injection(desk: PostFactory) -> Iterator[Labelled]:
    """A post of `held_out_wordings` with an order to the model: in its words, as a fake role, or in its image."""
    kind = ("injection_order", "injection_roles", "injection_picture")[desk.number % 3]
    whole, twin = _original(desk, words=kind != "injection_picture", image=kind == "injection_picture")
    if kind == "injection_picture":
        order = injection("en", desk.rng, held_out=True)
        whole = replace(whole, images=tuple(written(image, order) for image in whole.images))
    else:
        order = desk.pick(FAKE_ROLES)
        if kind == "injection_order":
            order = injection(desk.language, desk.rng, held_out=True)
        whole = replace(whole, text=f"{whole.text}\n{order}")
    yield desk.label(whole, kind, twin_of=twin)


def _original(desk: PostFactory, *, words: bool, image: bool) -> tuple[Made, str]:
    """A post of `held_out_wordings` that has what it takes, each copied at most once a slice; and its id."""
    number = desk.number * _PLAIN_A_COPY
    while True:
        first = PostFactory(desk.seed, number, _PLAIN, next(iter(SLICES)))
        whole = first.drawn(draft(first.rng, held_out=True))
        if (whole.text or not words) and (whole.images or not image):
            return whole, first.post_id()
        number += 1


@dataclass(frozen=True, slots=True)
class _Slice:
    """How a family is made (a post with its twins), and how many families there are at scale 1."""

    make: Callable[[PostFactory], Iterator[Labelled]]
    families: int
    apart: bool = False


SLICES: dict[str, _Slice] = {
    "held_out_wordings": _Slice(_held_out_wordings, 1200),
    "xor": _Slice(_xor, 1000),
    "confounder_twins": _Slice(_confounders, 240),
    "text_only": _Slice(_text_only, 120),
    "image_only": _Slice(_image_only, 120),
    "either": _Slice(_either, 120),
    "mitigated": _Slice(_mitigated, 150),
    "mixed_languages": _Slice(_mixed_languages, 240),
    "near_duplicates": _Slice(_near_duplicates, 120),
    "missing_picture": _Slice(_missing_image, 160, apart=True),
    "text_in_picture": _Slice(_text_in_image, 160, apart=True),
    "adversarial_spelling": _Slice(_adversarial_spelling, 400, apart=True),
    "injection": _Slice(_injection, 300, apart=True),
    "unseen_pictograms": _Slice(_unseen_pictograms, 800, apart=True),
    "trained_wordings": _Slice(_trained_wordings, 300, apart=True),
}
"""Every slice, in the order in which the set is made."""

_PLAIN_A_COPY = 3
"""`held_out_wordings` has this many posts for each copy of the largest slice of copies."""
