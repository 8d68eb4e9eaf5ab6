"""Small copies of images, made while their addresses still work, through the same guards as for judging."""

import asyncio
from datetime import datetime
from io import BytesIO

import numpy as np
import structlog
from PIL import Image
from sqlalchemy import insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.tables import posts, thumbnails
from moderation_service.contracts.post import read_post
from moderation_service.errors import Poison
from moderation_service.media.loader import ImageLoader, LoadedImage
from moderation_service.settings import Settings

_AT_ONCE = 4  # posts
_LOOK_S = 2.0
_AGAIN_S = 5.0
_QUALITY = 80

log = structlog.get_logger(__name__)


class Thumbnails:
    """Makes those of every post that a person may want to see, oldest first, and drops the post's record then."""

    def __init__(self, settings: Settings, database: AsyncEngine) -> None:
        """Each shows all frames that were judged, at most `thumbnail_side` pixels each on the longer side."""
        self._media = settings.media.model_copy(update={"max_side": settings.console.thumbnail_side})
        self._database = database

    async def run(self) -> None:
        """Make them until cancelled. While the database is away all waits, and is tried again."""
        async with ImageLoader(self._media) as loader:
            while True:
                try:
                    made = await self.make(loader)
                except (SQLAlchemyError, OSError) as error:
                    log.warning("thumbnails could not be made; retried", error=type(error).__name__)
                    await asyncio.sleep(_AGAIN_S)
                else:
                    await asyncio.sleep(0 if made else _LOOK_S)

    async def make(self, loader: ImageLoader) -> int:
        """Make those of the next few posts; of how many."""
        columns = (posts.c.post_id, posts.c.revision, posts.c.record, posts.c.received_at)
        due = select(*columns).where(posts.c.wanted, posts.c.record.is_not(None)).order_by(posts.c.received_at)
        async with self._database.connect() as connection:
            found = (await connection.execute(due.limit(_AT_ONCE))).all()
        await asyncio.gather(
            *(self._make(loader, row.post_id, row.revision, row.record, row.received_at) for row in found)
        )
        return len(found)

    async def _make(
        self, loader: ImageLoader, post_id: str, revision: int, record: bytes, received_at: datetime
    ) -> None:
        try:
            images = (await asyncio.to_thread(read_post, record)).images
        except Poison:  # by a newer contract than it was kept by
            images = ()
        loaded = await loader.load(images)
        key = {"post_id": post_id, "revision": revision}
        rows = [
            {**key, "position": position, **await asyncio.to_thread(_row, image)}
            for position, image in enumerate(loaded.images)
        ]
        this = (posts.c.post_id == post_id, posts.c.revision == revision, posts.c.received_at == received_at)
        async with self._database.begin() as connection:
            done = update(posts).where(*this, posts.c.record.is_not(None)).values(record=None)
            if (await connection.execute(done)).rowcount and rows:  # or it was erased, or published anew, meanwhile
                await connection.execute(insert(thumbnails), rows)


def _row(image: LoadedImage) -> dict[str, object]:
    """What became of an image, its digest, and the thumbnail's size and WebP file if there is one; blocks."""
    if not image.frames:
        return {"status": image.status, "sha256": image.sha256, "width": None, "height": None, "image": None}
    height, width, _ = image.frames[0].shape
    sheet = Image.fromarray(np.concatenate(image.frames, axis=0 if width > height else 1))
    out = BytesIO()
    sheet.save(out, "WEBP", quality=_QUALITY)
    size = {"width": sheet.width, "height": sheet.height}
    return {"status": image.status, "sha256": image.sha256, **size, "image": out.getvalue()}
