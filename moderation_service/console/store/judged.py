"""A post that was judged here: kept, and its verdict published, as if both had come from Kafka."""

from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from moderation_service.console.store import outbox, posts, verdicts
from moderation_service.console.store.rows import verdict_of, verdict_row
from moderation_service.console.store.tables import verdicts as verdict_rows
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.kafka.topic_io import Record


async def put(connection: AsyncConnection, post: Post, verdict: Verdict, record: Record) -> Verdict:
    """Keep a verdict, its post, and its `record` for Kafka; a verdict that is known is given as it was, and kept once.

    In the caller's transaction; once that is through, `parts.put_in_outbox` should be set.
    """
    now = datetime.now(UTC)
    if not await verdicts.put_rows(connection, [verdict_row(verdict, now)]):
        known = select(verdict_rows).where(verdict_rows.c.verdict_id == verdict.verdict_id)
        return verdict_of((await connection.execute(known)).one())
    await posts.put(connection, post, post.model_dump_json().encode())
    await outbox.put(connection, outbox.OutboxEntry(verdict.verdict_id, record, now))
    return verdict
