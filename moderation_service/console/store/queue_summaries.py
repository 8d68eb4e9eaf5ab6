"""What a line of the queue says of its post, and what its reviewer did last."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.tables import job_policies, posts, reviews, verdicts

_SNIPPET = 120  # characters


@dataclass(frozen=True, slots=True)
class Headline:
    """The policies that a verdict's job is found by, and how the post's words begin."""

    policies: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Last:
    """A review that may still be taken back."""

    review_id: str
    verdict_id: str
    post_id: str
    decision: str


async def headlines(database: AsyncEngine, seqs: Collection[int]) -> dict[int, Headline]:
    """By the seq of each verdict."""
    same = and_(posts.c.post_id == verdicts.c.post_id, posts.c.revision == verdicts.c.post_revision)
    words = select(verdicts.c.seq, func.substr(posts.c.text, 1, _SNIPPET).label("text"))
    named = select(job_policies.c.verdict_seq, job_policies.c.policy_id).where(job_policies.c.verdict_seq.in_(seqs))
    async with database.connect() as connection:
        texts = {
            row.seq: row.text
            for row in await connection.execute(words.join(posts, same).where(verdicts.c.seq.in_(seqs)))
        }
        policies: dict[int, list[str]] = {seq: [] for seq in seqs}
        for row in await connection.execute(named.order_by(job_policies.c.policy_id)):
            policies[row.verdict_seq].append(row.policy_id)
    return {seq: Headline(tuple(policies[seq]), texts.get(seq, "")) for seq in seqs}


async def last_review(database: AsyncEngine, reviewer: str, since: datetime) -> Last | None:
    """The reviewer's last review, if it was made after `since`."""
    columns = (reviews.c.review_id, reviews.c.verdict_id, reviews.c.post_id, reviews.c.decision)
    query = select(*columns).where(reviews.c.reviewer == reviewer, reviews.c.reviewed_at > since)
    async with database.connect() as connection:
        row = (await connection.execute(query.order_by(reviews.c.reviewed_at.desc()).limit(1))).one_or_none()
    return None if row is None else Last(*row)
