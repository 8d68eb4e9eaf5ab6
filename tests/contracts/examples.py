"""Contracts filled in, for tests of what carries them."""

from datetime import UTC, datetime
from typing import Any

from moderation_service.contracts.verdict import (
    Attribution,
    Content,
    ImageContent,
    Model,
    PolicyVerdict,
    Service,
    Thresholds,
    Timings,
    Verdict,
)

DIGEST = "sha256:" + "a" * 64
IMAGE = ImageContent(sha256="cc", width=1024, height=768, frames=1, media_type="image/jpeg", status="judged")
CONTENT = Content(text_sha256="bb", language="en", truncated=False, images=(IMAGE,))
MODEL = Model(
    name="demo",
    revision="r1",
    dtype="float32",
    quantization=None,
    engine="local",
    layout="post_first",
    prompt_digest=DIGEST,
    calibration_id=None,
)
POLICY = PolicyVerdict(
    policy_id="weapon_sale",
    version=3,
    digest=DIGEST,
    outcome="block",
    violated=True,
    severity=4,
    score=0.97,
    raw_score=0.993,
    label_mass=0.99,
    thresholds=Thresholds(review=0.5, block=0.9),
    attribution=Attribution(class_="combined", joint=0.97, text_only=0.11, image_only=0.22),
)


def verdict(**changes: Any) -> Verdict:
    """A verdict on a weapon sale, with `changes`."""
    fields: dict[str, Any] = {
        "verdict_id": "v-1",
        "post_id": "p-17",
        "post_revision": 2,
        "author_id": "u-9",
        "surface": "feed",
        "metadata": {"free": "form"},
        "decision": "block",
        "abstain_reason": None,
        "flags": (),
        "duplicate_of": None,
        "policies": (POLICY,),
        "shadow": (),
        "explanation": None,
        "content": CONTENT,
        "model": MODEL,
        "policy_set_digest": DIGEST,
        "service": Service(version="1", instance="here:1"),
        "trace_id": "0" * 31 + "1",
        "timings_ms": Timings(queue=1, fetch=0, decode=2, score=40, attribution=18, explain=0, total=61),
        "judged_at": datetime(2026, 5, 1, 9, 30, tzinfo=UTC),
        "statement_of_reasons": None,
    }
    return Verdict(**{**fields, **changes})
