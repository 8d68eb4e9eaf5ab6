"""Verdict builder: the digests of what was judged, the model as recorded, and one post's verdict."""

import hashlib
import json
import math
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import islice

from moderation_service import __version__
from moderation_service.contracts.post import Post
from moderation_service.contracts.question import Language
from moderation_service.contracts.verdict import (
    LEAST_SCALE,
    Content,
    ImageContent,
    Model,
    Service,
    Timings,
    Verdict,
    verdict_id,
)
from moderation_service.engine.base import EngineInfo, Scored
from moderation_service.judging.decision import flags
from moderation_service.judging.evidence import Evidence
from moderation_service.judging.injection import SHAPE
from moderation_service.judging.result_cache import CachedResult
from moderation_service.judging.statement import draft
from moderation_service.media.loader import Loaded, LoadedImage
from moderation_service.policies.pack import PolicyPack
from moderation_service.settings import Settings


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


def recorded_model(engine: EngineInfo, settings: Settings, calibration_id: str | None) -> Model:
    """What answered; its prompt digest covers too what bounds a post in a prompt, and what is an order to the model."""
    media = settings.media
    bounds = [engine.context_tokens, media.max_images, media.max_frames, media.max_side]
    digest = hashlib.sha256(json.dumps([engine.prompt_digest, bounds, SHAPE]).encode()).hexdigest()
    known = {name: value for name, value in asdict(engine).items() if name in Model.model_fields}
    made = Model(**known, calibration_id=calibration_id)
    return made.model_copy(update={"prompt_digest": f"sha256:{digest}"})


class VerdictBuilder:
    """Names verdicts and makes them, by one pack and one model."""

    def __init__(self, pack: PolicyPack, model: Model, redress: str | None = None) -> None:
        self._digest = pack.digest
        self._by_id = {policy.id: policy for policy in pack.enforced}
        self._model, self._redress = model, redress
        self._service = Service(version=__version__, instance=f"{socket.gethostname()}:{os.getpid()}")

    def key(self, content: Content, surface: str | None) -> str:
        """The key of a content: the verdict's id without the post, so posts of the same content share it."""
        return self._named(content, surface, "", 0)

    def build(self, post: Post, found: CachedResult, trace_id: str, timings: Timings) -> Verdict:
        """The verdict, with its statement of reasons."""
        own, first = (post.post_id, post.revision), (found.post_id, found.revision)
        verdict = Verdict(
            verdict_id=self._named(found.content, post.surface, *own),
            post_id=post.post_id,
            post_revision=post.revision,
            author_id=post.author_id,
            surface=post.surface,
            metadata=post.metadata,
            decision=found.decision,
            abstain_reason=found.unseen if found.decision == "abstain" else None,
            flags=flags(found.content, suspected=found.suspected),
            duplicate_of=None if first == own else self._named(found.content, post.surface, *first),
            policies=found.policies,
            shadow=found.shadowed.parts,
            explanation=found.explanation.text,
            explanation_kind=found.explanation.kind,
            content=found.content,
            model=self._model,
            policy_set_digest=self._digest,
            service=self._service,
            trace_id=trace_id,
            timings_ms=timings,
            judged_at=datetime.now(UTC),
            statement_of_reasons=None,
        )
        reasons = draft(verdict, post, self._by_id, found.language, self._redress)
        return verdict.model_copy(update={"statement_of_reasons": reasons}) if reasons else verdict

    def _named(self, content: Content, surface: str | None, post_id: str, revision: int) -> str:
        return verdict_id(
            post_id=post_id,
            revision=revision,
            content=content,
            surface=surface,
            policy_set_digest=self._digest,
            model=self._model,
        )
