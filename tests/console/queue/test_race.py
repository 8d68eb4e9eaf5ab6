"""Two reviewers, each a process of its own, race for the same jobs: no job twice, none lost."""

from collections import Counter
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store.tables import jobs, outbox, reviews
from tests.console.queue.made import kept, policy, verdict
from tests.console.queue.reviewers import Reviewer, reviewing
from tests.console.support import console_settings

JOBS = 200
PATIENCE_S = 120.0


async def test_of_two_hundred_jobs_none_is_reviewed_twice_and_none_is_lost(
    database: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    made = [verdict(f"p{number}", policy(severity=1 + number % 5)) for number in range(JOBS)]
    settings = console_settings(database_url)
    with reviewing() as started:
        started += [Reviewer(settings, name, tmp_path / name, "wait") for name in ("ann", "bob")]
        for reviewer in started:
            await reviewer.said("READY", PATIENCE_S)
        named = await kept(database, *made)
        for reviewer in started:
            await reviewer.said("DONE", PATIENCE_S)
    async with database.connect() as connection:
        kept_reviews = (await connection.execute(select(reviews.c.verdict_id, reviews.c.reviewer))).all()
        states = (await connection.execute(select(jobs.c.state))).scalars().all()
        entries = (await connection.execute(select(outbox.c.topic))).scalars().all()
    assert Counter(row.verdict_id for row in kept_reviews) == Counter(named)
    assert {row.reviewer for row in kept_reviews} == {"ann", "bob"}, "one of them came too late to race"
    assert set(states) == {"decided"}
    assert entries.count(settings.kafka.review_topic) == JOBS
