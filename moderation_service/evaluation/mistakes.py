"""The worst errors of a run, with what a reader needs to see why."""

import base64
import io
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from moderation_service.contracts.post import ImageRef
from moderation_service.contracts.verdict import AttributionClass, PolicyVerdict
from moderation_service.evaluation.answers import answers, policies_of
from moderation_service.evaluation.run import JudgedPost
from moderation_service.media.loaded_image import Loaded

WORST = 20
_SIDE = 320


@dataclass(frozen=True, slots=True)
class Mistake:
    """One policy that was answered wrongly on one post. `found` is None where the post was out of its scope."""

    judged: JudgedPost
    policy: str
    truth: bool
    meant: AttributionClass | None
    found: PolicyVerdict | None
    images: tuple[str, ...] = ()


def worst(judged: Sequence[JudgedPost], count: int = WORST) -> list[Mistake]:
    """The answers on the wrong side of their threshold, the surest first; posts that are apart come last."""
    rows = answers(judged)
    if not len(rows):
        return []
    policies = policies_of(judged)
    wrong = np.flatnonzero(rows.flagged != rows.truth)
    apart = np.array([one.labelled.apart for one in judged], bool)[rows.post[wrong]]
    order = np.lexsort((-np.abs(rows.joint - rows.truth)[wrong], apart))
    return [_mistake(judged[rows.post[at]], policies[rows.policy[at]]) for at in wrong[order][:count]]


async def with_images(
    mistakes: Sequence[Mistake], load: Callable[[Sequence[ImageRef]], Awaitable[Loaded]]
) -> list[Mistake]:
    """The same with those images that are still as they were judged, small, as `data:` URLs; `load` is the loader's."""
    shown = []
    for one in mistakes:
        loaded = await load(one.judged.labelled.post.images)
        digests = [content.sha256 for content in one.judged.verdict.content.images]
        pairs = zip(loaded.images, digests, strict=False)
        frames = (image.frames[0] for image, digest in pairs if image.frames and image.sha256 == digest)
        images = tuple(_small(Image.fromarray(frame)) for frame in frames)
        shown.append(Mistake(one.judged, one.policy, one.truth, one.meant, one.found, images))
    return shown


def _mistake(one: JudgedPost, policy: str) -> Mistake:
    parts = (part for part in (*one.verdict.policies, *one.verdict.shadow) if part.policy_id == policy)
    known = one.labelled
    return Mistake(one, policy, known.labels[policy], known.attribution.get(policy), next(parts, None))


def _small(image: Image.Image) -> str:
    image.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
