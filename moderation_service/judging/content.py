"""A post's content as a verdict records it: as it was loaded, and as the model read it."""

import hashlib
import math
from collections.abc import Sequence
from itertools import islice

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import ImageFlag, ImageStatus
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import LEAST_SCALE, MAX_IMAGE_TEXT, Content, ImageContent
from moderation_service.engine.base import ScoreResult
from moderation_service.media.loader import LoadedImage, LoadedImages
from moderation_service.media.pdq import to_hex
from moderation_service.telemetry.redaction import redacted


def text_digest(text: str | None) -> str | None:
    """The digest of a post's or an image's words; None without any."""
    return hashlib.sha256(text.encode()).hexdigest() if text else None


def describe_content(post: Post, language: Language, loaded: LoadedImages) -> Content:
    """The content as it was loaded, before the model reads it."""
    return Content(
        text_sha256=text_digest(post.text),
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
                text_sha256=text_digest(image.text),
                pdq=to_hex(image.hashes[0].hashes)[0] if image.hashes else None,
                pdq_quality=image.hashes[0].quality if image.hashes else None,
            )
            for image in loaded.images
        ),
    )


def with_image_words(content: Content, loaded: LoadedImages) -> Content:
    """The content with the beginning of the words in each image, personal data masked, for the people who review it."""
    images = (
        image.model_copy(update={"text": redacted(source.text)[:MAX_IMAGE_TEXT]}) if source.text else image
        for image, source in zip(content.images, loaded.images, strict=True)
    )
    return content.model_copy(update={"images": tuple(images)})


def content_as_read(content: Content, scored: ScoreResult, loaded: LoadedImages) -> Content:
    """The content as the model read it: an image without room in the prompt is `skipped`, a small one is flagged."""
    if not content.images and content.truncated == scored.truncated:
        return content
    pixels_read = iter(scored.pixels_read)
    images = []
    for image, source in zip(content.images, loaded.images, strict=True):
        pixels = list(islice(pixels_read, len(source.frames)))
        changes: dict[str, object] = {"frames": len(pixels), "pixels_read": sum(pixels) if pixels else None}
        if image.status == ImageStatus.JUDGED and not pixels:
            changes["status"] = ImageStatus.SKIPPED
        if _scale(source, pixels) < LEAST_SCALE:
            changes["flags"] = (ImageFlag.DOWNSCALED, *image.flags)
        images.append(image.model_copy(update=changes))
    return content.model_copy(update={"truncated": scored.truncated, "images": tuple(images)})


def _scale(source: LoadedImage, pixels: Sequence[int]) -> float:
    """The scale of width and height at which the worst frame was read, shrunk first by us and then by the model."""
    frames = zip(pixels, source.frames, strict=False)
    return source.scale * min((math.sqrt(read / math.prod(frame.shape[:2])) for read, frame in frames), default=1.0)
