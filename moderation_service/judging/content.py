"""What of a post is judged, by its digests."""

import hashlib
import math
from collections.abc import Sequence
from itertools import islice

from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import LEAST_SCALE, Content, ImageContent
from moderation_service.engine.base import Scored
from moderation_service.judging.evidence import Evidence
from moderation_service.media.loader import Loaded, LoadedImage


def text_digest(post: Post) -> str | None:
    """The digest of a post's words; None without any."""
    return hashlib.sha256(post.text.encode()).hexdigest() if post.text else None


def content_of(post: Post, language: Language, evidence: Evidence) -> Content:
    """What there is to read, before anything is read."""
    return Content(
        text_sha256=text_digest(post),
        language=language,
        truncated=False,
        images=tuple(
            ImageContent(
                sha256=image.sha256,
                width=image.width,
                height=image.height,
                frames=len(image.frames),
                media_type=image.media_type,
                status=image.status,
                flags=image.flags,
            )
            for image in evidence.loaded.images
        ),
    )


def as_read(content: Content, scored: Scored, loaded: Loaded) -> Content:
    """What of it was read: an image that had no room in the prompt is `skipped`, one read very small is flagged."""
    if not content.images and content.truncated == scored.truncated:
        return content
    unread = iter(scored.pixels_read)
    images = []
    for image, had in zip(content.images, loaded.images, strict=True):
        pixels = list(islice(unread, len(had.frames)))
        found: dict[str, object] = {"frames": len(pixels), "pixels_read": sum(pixels) if pixels else None}
        if image.status == "judged" and not pixels:
            found["status"] = "skipped"
        if _scale(had, pixels) < LEAST_SCALE:
            found["flags"] = ("downscaled", *image.flags)
        images.append(image.model_copy(update=found))
    return content.model_copy(update={"truncated": scored.truncated, "images": tuple(images)})


def _scale(had: LoadedImage, pixels: Sequence[int]) -> float:
    """Of its width and height at which the worst of its frames was read, shrunk first by us and then by the model."""
    shown = zip(pixels, had.frames, strict=False)
    return had.scale * min((math.sqrt(read / math.prod(frame.shape[:2])) for read, frame in shown), default=1.0)
