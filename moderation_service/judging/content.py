"""What of a post is judged, by its digests."""

import hashlib

from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import Content, ImageContent
from moderation_service.engine.base import Scored
from moderation_service.judging.evidence import Evidence


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


def as_read(content: Content, scored: Scored) -> Content:
    """What of it was read: a picture that had no room in the prompt is `skipped`."""
    if not content.images and content.truncated == scored.truncated:
        return content
    left = scored.images_read
    images = []
    for image in content.images:
        frames = min(image.frames, left)
        left -= frames
        unread = image.status == "judged" and frames == 0
        images.append(image.model_copy(update={"frames": frames, "status": "skipped" if unread else image.status}))
    return content.model_copy(update={"truncated": scored.truncated, "images": tuple(images)})
