"""What is past its time goes, with all that hangs on it; the rest stays."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import posts, retention, verdicts
from moderation_service.console.store.tables import answers, job_policies, jobs, reviews, thumbnails
from moderation_service.contracts.post import Post
from tests.console.support import console_settings
from tests.contracts.examples import verdict

NOW = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


async def test_what_is_past_its_time_goes_with_all_that_hangs_on_it(database: AsyncEngine, database_url: str) -> None:
    settings = console_settings(database_url, retention_days=30, pending_post_ttl_hours=24).console
    ages = {"old": 31, "young": 29}
    review = {"post_revision": 2, "decision": "allow", "policies": [], "reason": "", "reviewer": "ann"}
    async with database.begin() as connection:
        for name, days in ages.items():
            at = NOW - days * DAY
            one = verdict(verdict_id=f"v-{name}", post_id=name, judged_at=at, decision="review")
            await posts.put(connection, Post(post_id=name, revision=2, text="x"), None)
            await verdicts.put(connection, one, at)
            made = {"review_id": name, "verdict_id": name, "post_id": name, "reviewed_at": at, **review}
            await connection.execute(insert(reviews).values(**made))
            row = {"post_id": name, "revision": 2, "position": 0, "status": "refused"}
            await connection.execute(insert(thumbnails).values(**row))
        await posts.put(connection, Post(post_id="unjudged-old", text="x"), None)
        await connection.execute(update(posts.posts).values(received_at=NOW - 2 * DAY))
        await posts.put(connection, Post(post_id="unjudged-young", text="x"), None)
        late = posts.posts.c.post_id == "unjudged-young"
        await connection.execute(update(posts.posts).where(late).values(received_at=NOW))
        for key, at in {"k1": NOW - 2 * DAY, "k2": NOW}.items():
            answer = {
                "key_id": "key",
                "idempotency_key": key,
                "request_digest": "d",
                "verdict_id": "v",
                "created_at": at,
            }
            await connection.execute(insert(answers).values(**answer))
    gone = await retention.forget(database, settings, NOW)
    assert gone == {"verdicts": 1, "reviews": 1, "posts": 2, "thumbnails": 1, "answers": 1}
    assert await retention.forget(database, settings, NOW) == {}
    async with database.connect() as connection:
        for table, left in {verdicts.verdicts: 1, jobs: 1, job_policies: 1, reviews: 1, thumbnails: 1}.items():
            assert (await connection.execute(select(func.count()).select_from(table))).scalar_one() == left
        kept = set((await connection.execute(select(posts.posts.c.post_id))).scalars())
    assert kept == {"young", "unjudged-young"}


async def test_more_than_fits_in_one_transaction_goes_too(database: AsyncEngine, database_url: str) -> None:
    old = NOW - 400 * DAY
    rows = [
        verdicts.verdict_row(verdict(verdict_id=f"v{number}", post_id=f"p{number}", judged_at=old), old)
        for number in range(1200)
    ]
    async with database.begin() as connection:
        await verdicts.put_rows(connection, rows)
    assert await retention.forget(database, console_settings(database_url).console, NOW) == {"verdicts": 1200}
