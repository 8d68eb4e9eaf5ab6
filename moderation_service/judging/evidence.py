"""Evidence: the words and images of a post as they could be loaded."""

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import chain

from moderation_service.contracts.engine_input import Pixels
from moderation_service.contracts.post import Post
from moderation_service.judging.injection import without_injections, without_injections_in_thread
from moderation_service.media.image_text import ImageTextReader
from moderation_service.media.loader import ImageLoader, LoadedImages
from moderation_service.media.text_removal import without_text
from moderation_service.settings import MediaSettings

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """A post's words, and its images as pixels, in order (frames of one image behind one another).

    `image_text` is the words in the images, a line each. `without_injections`: what of the text to score once more
    where it looks meant for the model; `image_without_injections`: the same of `image_text`, and then
    `images_without_text`: the images to score it with. `fairness_key`: requests of one key wait for the engine in one
    queue, and the queues take turns.
    """

    text: str
    images: tuple[Pixels, ...]
    loaded: LoadedImages
    without_injections: tuple[str, ...] = ()
    fairness_key: Hashable = None
    image_text: str = ""
    image_without_injections: tuple[str, ...] = ()
    images_without_text: tuple[Pixels, ...] = ()

    @property
    def words(self) -> str:
        """All words: the post's first, since the end is cut off where there is no room."""
        return _lines(self.text, self.image_text)

    @property
    def words_without_injections(self) -> tuple[str, ...]:
        """All words without what looks meant for the model; () where nothing does."""
        texts, images = self.without_injections, self.image_without_injections
        if not images:
            return tuple(_lines(text, self.image_text) for text in texts)
        texts, count = texts or (self.text,), max(len(texts), len(images))
        return tuple(_lines(texts[min(at, len(texts) - 1)], images[min(at, len(images) - 1)]) for at in range(count))

    @property
    def has_both_modalities(self) -> bool:
        """Whether there are two modalities to tell apart."""
        return bool(self.text and self.images)

    @property
    def text_pass(self) -> "Evidence":
        """The words of the post alone. What is read in an image belongs to the image."""
        return replace(self, images=(), image_text="", image_without_injections=(), images_without_text=())

    @property
    def image_pass(self) -> "Evidence":
        """The images alone, with the words in them."""
        return replace(self, text="", without_injections=())


def _lines(*parts: str) -> str:
    return "\n".join(filter(None, parts))


class EvidenceLoader:
    """Loads evidence within a budget of pixels. A post waits whole, so that none holds half of what it needs.

    A post counts with the most bytes its images can take: `max_frames` of `max_side` squared each.
    """

    def __init__(
        self, settings: MediaSettings, loader: ImageLoader, text_reader: ImageTextReader | None = None
    ) -> None:
        self._settings = settings
        self._loader = loader
        self._text_reader = text_reader
        self._free = settings.max_pixel_bytes
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def load(self, post: Post, fairness_key: Hashable = None) -> AsyncIterator[Evidence]:
        """The post's evidence, held until the block is left. Nothing that is wrong with an image raises."""
        text = post.text if post.text.strip() else ""
        cleaned = await without_injections_in_thread(text)
        if not post.images:
            yield Evidence(text, (), LoadedImages((), fetch_ms=0.0, decode_ms=0.0), cleaned, fairness_key)
            return
        size = self._max_bytes(post)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            loaded = await self._loader.load(post.images)
            images = tuple(frame for image in loaded.images for frame in image.frames)
            yield Evidence(text, images, loaded, cleaned, fairness_key)
        finally:
            async with self._changed:
                self._free += size
                self._changed.notify_all()

    async def with_image_text(self, evidence: Evidence) -> Evidence:
        """The same evidence with the words that are read in its images. What can't be read raises nothing.

        An order that stands alone on a strip of plain ground is cut off for good: nothing else is lost with it.
        """
        if self._text_reader is None or not evidence.images:
            return evidence
        loaded = await self._text_reader.with_text(evidence.loaded)
        text = _lines(*(image.text for image in loaded.images))
        evidence = replace(evidence, loaded=loaded, image_text=text)
        cleaned = await without_injections_in_thread(text)
        if not cleaned:
            return evidence
        cut = await asyncio.to_thread(lambda: [without_text(one.frames, one.text_boxes) for one in loaded.images])
        shown = (
            frames if is_plain and "" in without_injections(one.text) else one.frames
            for one, (frames, is_plain) in zip(loaded.images, cut, strict=True)
        )
        return replace(
            evidence,
            images=tuple(chain.from_iterable(shown)),
            image_without_injections=cleaned,
            images_without_text=tuple(chain.from_iterable(frames for frames, _ in cut)),
        )

    def _max_bytes(self, post: Post) -> int:
        images = min(len(post.images), self._settings.max_images)
        one = self._settings.max_side**2 * _CHANNELS * self._settings.max_frames
        if self._loader.keeps_bytes:
            one += self._settings.max_bytes
        return min(images * one, self._settings.max_pixel_bytes)
