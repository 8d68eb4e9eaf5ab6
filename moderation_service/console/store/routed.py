"""Verdicts with a route: the cases of child safety, and who is told that their erasure leaves the legal hold."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from sqlalchemy import exists, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.child_safety.legal_hold import LegalHold
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox, reviews
from moderation_service.console.store.tables import reviews as review_rows
from moderation_service.console.store.tables import verdicts
from moderation_service.console.store.verdicts import verdict_of
from moderation_service.contracts.enums import Route
from moderation_service.contracts.review import Review
from moderation_service.contracts.verdict import Verdict
from moderation_service.telemetry.audit import AuditEntry

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RoutedCase:
    """A verdict with a route, and what people decided on it, the newest review first."""

    verdict: Verdict
    reviews: tuple[Review, ...]


async def listed(database: AsyncEngine, *, decided: bool, limit: int) -> list[RoutedCase]:
    """The cases that nobody has decided, the oldest first; or those `decided`, the newest first."""
    reviewed = exists().where(review_rows.c.verdict_id == verdicts.c.verdict_id)
    query = select(verdicts).where(verdicts.c.route == Route.CHILD_SAFETY, reviewed if decided else ~reviewed)
    async with database.connect() as connection:
        rows = await connection.execute(
            query.order_by(verdicts.c.seq.desc() if decided else verdicts.c.seq).limit(limit)
        )
        found = [verdict_of(row) for row in rows]
    return [await _case(database, verdict) for verdict in found]


async def by_id(database: AsyncEngine, verdict_id: str) -> RoutedCase | None:
    """The case of this verdict; None where it has no route."""
    query = select(verdicts).where(verdicts.c.verdict_id == verdict_id, verdicts.c.route == Route.CHILD_SAFETY)
    async with database.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else await _case(database, verdict_of(row))


async def audit_kept(
    connection: AsyncConnection, context: ConsoleContext, post_ids: Iterable[str], *, actor: str
) -> None:
    """Put on record, for the auditor alone, that these posts were erased here and that the legal hold keeps them.

    Where nobody can look, without the legal hold or while it does not answer, it is taken for granted.
    """
    for post_id in post_ids:
        if await asyncio.to_thread(_is_held, context.legal_hold, post_id):
            entry = AuditEntry(actor=actor, action="erasure.kept_on_hold", target=post_id)
            await outbox.put(connection, outbox.audited(context.settings.kafka, entry))


def _is_held(hold: LegalHold | None, post_id: str) -> bool:
    try:
        return hold is None or hold.is_held(post_id)
    except OSError as error:  # an erasure does not wait for the hold's volume
        log.warning("the legal hold does not answer; a post is taken to be held", error=error.strerror)
        return True


async def _case(database: AsyncEngine, verdict: Verdict) -> RoutedCase:
    return RoutedCase(verdict, tuple(await reviews.of_verdict(database, verdict.verdict_id)))
