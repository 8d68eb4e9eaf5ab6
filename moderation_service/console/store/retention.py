"""What is kept no longer: verdicts and reviews by their age, posts that no person is to see, answers and sessions."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Table, delete, exists, select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import audits
from moderation_service.console.store.routed import audit_kept
from moderation_service.console.store.tables import answers, jobs, posts, reviews, sessions, thumbnails, verdicts
from moderation_service.contracts.enums import Decision, Route
from moderation_service.settings import ConsoleSettings
from moderation_service.telemetry import audit

EVERY_S = 3600.0
_ANSWERS = timedelta(hours=24)  # an Idempotency-Key is remembered so long
_UNDONE = timedelta(hours=1)  # more than `console.undo_s`
_TOGETHER = 1000  # rows in a transaction, so that nobody waits long for it

log = structlog.get_logger(__name__)


async def run(context: ConsoleContext) -> None:
    """Forget every hour, until cancelled."""
    while True:
        try:
            now = datetime.now(UTC)
            await forget_routed(context, now)
            async with context.database.begin() as connection:
                await audits.give_up(connection, now)
            if forgotten := await forget(context.database, context.settings.console, now):
                log.info("rows past their retention were deleted", **forgotten)
        except (SQLAlchemyError, OSError) as error:
            log.warning("retention failed; it is retried in an hour", error=type(error).__name__)
        await asyncio.sleep(EVERY_S)


async def forget_routed(context: ConsoleContext, now: datetime) -> None:
    """Delete withheld and routed verdicts that are past their time, and put on record what the legal hold keeps.

    Their reviews go with them: without its verdict nothing would keep one from the exports.
    """
    kept = now - timedelta(days=context.settings.console.retention_days)
    past = (verdicts.c.route.is_not(None), verdicts.c.judged_at < kept)
    theirs = reviews.c.verdict_id.in_(select(verdicts.c.verdict_id).where(*past))
    async with context.transaction() as connection:
        await connection.execute(delete(reviews).where(theirs))
        gone = await connection.execute(delete(verdicts).where(*past).returning(verdicts.c.post_id, verdicts.c.route))
        held = {row.post_id for row in gone if row.route == Route.CHILD_SAFETY}
        await audit_kept(connection, context, held, actor=audit.process())


async def forget(database: AsyncEngine, settings: ConsoleSettings, now: datetime) -> dict[str, int]:
    """Delete what is past its time; how many rows of which table, where there were any."""
    kept = now - timedelta(days=settings.retention_days)
    unjudged = now - timedelta(hours=settings.pending_post_ttl_hours)
    judged = exists().where(verdicts.c.post_id == posts.c.post_id, verdicts.c.post_revision == posts.c.revision)
    audited = exists().where(jobs.c.verdict_seq == verdicts.c.seq, jobs.c.state == "open")
    undoable = exists().where(reviews.c.verdict_id == verdicts.c.verdict_id, reviews.c.reviewed_at > now - _UNDONE)
    needless = judged.where(verdicts.c.newest, verdicts.c.decision == Decision.ALLOW, ~audited, ~undoable)
    of_a_post = exists().where(posts.c.post_id == thumbnails.c.post_id, posts.c.revision == thumbnails.c.revision)
    past: dict[Table, ColumnElement[bool]] = {
        verdicts: verdicts.c.judged_at < kept,
        reviews: reviews.c.reviewed_at < kept,
        posts: ((posts.c.received_at < unjudged) & ~judged) | needless,
        thumbnails: ~of_a_post,
        answers: answers.c.created_at < now - _ANSWERS,
        sessions: sessions.c.expires_at < now,
    }
    gone = {table.name: await _delete(database, table, where) for table, where in past.items()}
    return {name: count for name, count in gone.items() if count}


async def _delete(database: AsyncEngine, table: Table, where: ColumnElement[bool]) -> int:
    """Look first, and then delete: SQLite's one place to write is not held while a large table is looked through."""
    key: Any = tuple_(*table.primary_key)
    some = select(*table.primary_key).where(where).limit(_TOGETHER)
    count = 0
    while True:
        async with database.connect() as connection:
            found = [tuple(row) for row in await connection.execute(some)]
        if not found:
            return count
        async with database.begin() as connection:
            count += (await connection.execute(delete(table).where(key.in_(found), where))).rowcount
