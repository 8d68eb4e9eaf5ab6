"""Verdicts that wait for a person."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import verdicts
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Attribution, PolicyVerdict, Thresholds, Verdict
from tests.stream.support import verdict_of

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def policy(
    policy_id: str = "weapon_sale", *, score: float = 0.7, severity: int = 3, attribution: Any = "combined"
) -> PolicyVerdict:
    """A policy that is violated from 0.5 on."""
    return PolicyVerdict(
        policy_id=policy_id,
        version=1,
        digest="sha256:" + "2" * 64,
        outcome="review" if score >= 0.5 else "allow",
        violated=score >= 0.5,
        severity=severity,
        score=score,
        raw_score=score,
        label_mass=1.0,
        thresholds=Thresholds(review=0.5, block=0.9),
        attribution=Attribution(class_=attribution, joint=score, text_only=0.1, image_only=0.1),
    )


def verdict(post_id: str, *policies: PolicyVerdict, **fields: Any) -> Verdict:
    """A verdict on a post; without more said one for review by one policy."""
    revision = fields.pop("post_revision", 1)
    language = fields.pop("language", "en")
    made = verdict_of(Post(post_id=post_id, revision=revision, text="x"))
    content = made.content.model_copy(update={"language": language})
    given = {"decision": "review", "policies": policies or (policy(),), "content": content, "judged_at": NOW, **fields}
    return made.model_copy(update=given)


async def kept(database: AsyncEngine, *made: Verdict) -> list[str]:
    """Keep them as they come from the topic; gives their ids."""
    async with database.begin() as connection:
        for one in made:
            await verdicts.put(connection, one, NOW)
    return [one.verdict_id for one in made]
