"""Where a family of benchmark posts is made: its generator, its parts, its posts' ids."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from PIL import Image

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.post import ImageRef, Post
from moderation_service.demo.glyphs import ImageClass
from moderation_service.demo.images import render
from moderation_service.demo.posts import SIZES, Draft, draw
from moderation_service.demo.texts import Intent, sentence
from moderation_service.demo.truths import truths
from moderation_service.evaluation.labelled import Labelled

_LANGUAGES: tuple[Language, ...] = ("en", "zh")
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Made:
    """A post in the making: what is on its images and what its words want, and both themselves."""

    shown: tuple[ImageClass, ...]
    said: tuple[Intent, ...]
    text: str
    language: Language
    images: tuple[Image.Image, ...]


class PostFactory:
    """One family of posts: the first is `NAME-0001a`, its twins follow as b, c, ..."""

    def __init__(self, seed: int, number: int, tag: int, name: str) -> None:
        """`tag` is never 0: numpy takes (seed, number) for (seed, number, 0), and those are training's generators."""
        self.rng = np.random.default_rng([seed, number, tag])
        self.seed, self.number, self.name = seed, number, name
        self.language: Language = self.pick(_LANGUAGES)
        self._labelled = 0

    def pick(self, choices: Sequence[_T]) -> _T:
        """One of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def post_id(self, letter: str = "a") -> str:
        """The id of the family's first post, or of a twin."""
        return f"{self.name}-{self.number:04d}{letter}"

    def sentence(self, intent: Intent, language: Language) -> str:
        """Words never trained on."""
        return sentence(intent, language, self.rng, held_out=True)

    def made(self, cls: ImageClass, intent: Intent, language: Language | None = None) -> Made:
        """A post of one image and one sentence."""
        told = language or self.language
        return Made((cls,), (intent,), self.sentence(intent, told), told, (self._image(cls),))

    def drawn(self, sketched: Draft, *, unseen: bool = False) -> Made:
        """A draft with its images."""
        images = draw(sketched, self.rng, unseen=unseen).images
        return Made(sketched.images, sketched.intents, sketched.text, sketched.language, images)

    def with_words(self, made: Made, intent: Intent) -> Made:
        """The same images beside other words."""
        return replace(made, said=(intent,), text=self.sentence(intent, made.language))

    def with_image(self, made: Made, cls: ImageClass) -> Made:
        """The same words beside another image."""
        return replace(made, shown=(cls,), images=(self._image(cls),))

    def label(self, made: Made, *slices: str, twin: str | None = None, twin_of: str | None = None) -> Labelled:
        """The next post of the family with the truth for every shipped policy.

        `twin` is the letter of the family's post that it was made from, `twin_of` the id of one of another family.
        """
        letter = "abc"[self._labelled]
        self._labelled += 1
        told = truths(frozenset(made.shown), frozenset(made.said))
        post = Post(
            post_id=self.post_id(letter),
            text=made.text,
            # With words the service tells the language by itself, as it does for any post.
            language=None if made.text else made.language,
            images=tuple(map(_carried, made.images)),
        )
        return Labelled(
            post,
            {policy: truth.violated for policy, truth in told.items()},
            {policy: truth.attribution for policy, truth in told.items()},
            (self.name, *slices),
            twin_of or (self.post_id(twin) if twin else None),
        )

    def _image(self, cls: ImageClass) -> Image.Image:
        return render(cls, self.rng, size=self.pick(SIZES))


def _carried(image: Image.Image) -> ImageRef:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return ImageRef(data=base64.b64encode(out.getvalue()).decode(), media_type="image/jpeg")
