import asyncio
from collections.abc import Sequence

import pytest

from moderation_service.contracts.post import ImageRef, Post
from moderation_service.judging.evidence import EvidenceLoader
from moderation_service.media.loader import ImageLoader, LoadedImages
from moderation_service.settings import MediaSettings
from tests.judging.conftest import make_image

ONE = 4 * 100 * 100 * 3
SETTINGS = MediaSettings(max_side=100, max_frames=4, max_pixel_bytes=2 * ONE)


class CountingLoader(ImageLoader):
    """How many posts are loaded, or being loaded, is what the room bounds."""

    def __init__(self, settings: MediaSettings) -> None:
        super().__init__(settings)
        self.calls = 0

    async def load(self, references: Sequence[ImageRef]) -> LoadedImages:
        self.calls += 1
        return await super().load(references)


def post(images: int) -> Post:
    return Post(post_id="p", text="words", images=tuple(make_image() for _ in range(images)))


async def test_posts_wait_while_the_pixels_of_others_are_held() -> None:
    async with CountingLoader(SETTINGS) as loader:
        budget = EvidenceLoader(SETTINGS, loader)
        async with budget.load(post(1)), budget.load(post(1)):
            third = asyncio.create_task(budget.load(post(1)).__aenter__())
            async with budget.load(post(0)):
                await asyncio.sleep(0)  # words take no room
            assert not third.done()
            assert loader.calls == 2
        assert len((await third).images) == 1


async def test_a_post_larger_than_the_room_has_it_alone() -> None:
    async with CountingLoader(SETTINGS) as loader:
        budget = EvidenceLoader(SETTINGS, loader)
        async with budget.load(post(5)) as evidence:
            assert len(evidence.images) == 5
            waiting = asyncio.create_task(budget.load(post(1)).__aenter__())
            await asyncio.sleep(0)
            assert not waiting.done()
        await waiting


async def test_room_is_given_back_when_judging_fails_or_waiting_is_given_up() -> None:
    async with CountingLoader(SETTINGS) as loader:
        budget = EvidenceLoader(SETTINGS, loader)
        with pytest.raises(RuntimeError):
            async with budget.load(post(2)):
                raise RuntimeError
        async with budget.load(post(2)):
            given_up = asyncio.create_task(budget.load(post(1)).__aenter__())
            await asyncio.sleep(0)
            given_up.cancel()
        async with budget.load(post(2)) as evidence:
            assert evidence.has_both_modalities
