"""What of a post could be had, and a bound on how much of it is held at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from moderation_service.contracts.pixels import Pixels
from moderation_service.contracts.post import Post
from moderation_service.judging.injection import without_orders
from moderation_service.media.loader import ImageLoader, Loaded
from moderation_service.settings import MediaSettings

_CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Evidence:
    """A post's words, and its images as pixels, in order (frames of one image behind one another).

    `without_orders`: the words as they are asked about once more where they look meant for the model.
    """

    text: str
    images: tuple[Pixels, ...]
    loaded: Loaded
    without_orders: tuple[str, ...] = ()

    @property
    def both(self) -> bool:
        """Whether there are two modalities to tell apart."""
        return bool(self.text and self.images)


class EvidenceRoom:
    """Loads evidence while there is room for its pixels; a post waits whole, so that none holds half of what it needs.

    Room is counted in bytes by the most a post's images can take: `max_frames` of `max_side` squared each.
    """

    def __init__(self, settings: MediaSettings, loader: ImageLoader) -> None:
        self._settings = settings
        self._loader = loader
        self._free = settings.max_pixel_bytes
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, post: Post) -> AsyncIterator[Evidence]:
        """The post's evidence, held until the block is left. Nothing that is wrong with an image raises."""
        text = post.text if post.text.strip() else ""
        rests = await without_orders(text)
        if not post.images:
            yield Evidence(text, (), Loaded((), fetch_ms=0.0, decode_ms=0.0), rests)
            return
        size = self._most(post)
        async with self._changed:
            await self._changed.wait_for(lambda: self._free >= size)
            self._free -= size
        try:
            loaded = await self._loader.load(post.images)
            images = tuple(frame for image in loaded.images for frame in image.frames)
            yield Evidence(text, images, loaded, rests)
        finally:
            async with self._changed:
                self._free += size
                self._changed.notify_all()

    def _most(self, post: Post) -> int:
        images = min(len(post.images), self._settings.max_images)
        one = self._settings.max_side**2 * _CHANNELS * self._settings.max_frames
        return min(images * one, self._settings.max_pixel_bytes)
