"""Labelled posts with verdicts written by hand, for figures that a reader can check on paper."""

from collections.abc import Mapping
from typing import Any

from moderation_service.contracts.enums import AttributionClass, Decision
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import PolicyVerdict, Thresholds
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost, Run
from moderation_service.judging.decision import attribute, outcome
from tests.contracts.examples import POLICY, verdict

LIMITS = Thresholds(review=0.5, block=0.9)
Views = tuple[float, float | None, float | None]


def part(policy: str, views: Views, raw: float | None = None) -> PolicyVerdict:
    """What one policy says of joint, text and image scores."""
    joint, text, image = views
    return POLICY.model_copy(
        update={
            "policy_id": policy,
            "score": joint,
            "raw_score": joint if raw is None else raw,
            "violated": joint >= LIMITS.review,
            "outcome": outcome(joint, LIMITS),
            "thresholds": LIMITS,
            "attribution": attribute(joint, text, image, LIMITS.review),
        }
    )


def judged(
    name: str,
    labels: Mapping[str, bool],
    scores: Mapping[str, Views],
    decision: Decision = "allow",
    meant: Mapping[str, AttributionClass] | None = None,
    **known: Any,
) -> JudgedPost:
    """A post `name` with its labels, judged so."""
    post = Post(post_id=name, text="x")
    parts = tuple(part(policy, views) for policy, views in scores.items())
    return JudgedPost(
        Labelled(post, labels, meant or {}, **known), verdict(post_id=name, decision=decision, policies=parts)
    )


def run(*posts: JudgedPost) -> Run:
    """Judged in two seconds."""
    return Run(posts, (), 2.0)


def without_views(one: JudgedPost) -> JudgedPost:
    """The same as if the views had not run."""
    parts = tuple(each.model_copy(update={"attribution": None}) for each in one.verdict.policies)
    return JudgedPost(one.labelled, one.verdict.model_copy(update={"policies": parts}))
