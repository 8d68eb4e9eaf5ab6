"""Appeals: complaints about a block, each a job in the queue. The first review behind an appeal is its outcome."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, exists, insert, select, update

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox
from moderation_service.console.store.audits import decides
from moderation_service.console.store.reviews import Unknown
from moderation_service.console.store.tables import appeals, jobs, reviews, verdicts
from moderation_service.console.store.verdicts import alone, job_row
from moderation_service.console.store.withheld import visible
from moderation_service.contracts.enums import Decision
from moderation_service.telemetry import audit

_REASON = "appeal"  # of its job

outcome: ColumnElement[bool] = and_(
    reviews.c.verdict_id == verdicts.c.verdict_id,
    reviews.c.reviewed_at >= appeals.c.filed_at,
    reviews.c.audit_round.is_(None),
)
"""That a review of an appeal's verdict came behind it; of several the first counts."""


class NotBlocked(Exception):  # noqa: N818 - a fate, not a fault
    """The post is not blocked by this verdict, or a newer verdict took its place."""


@dataclass(frozen=True, slots=True)
class FiledAppeal:
    """An appeal that waits for a person."""

    appeal_id: str
    verdict_id: str
    post_id: str
    filed_at: datetime


async def file(context: ConsoleContext, verdict_id: str, *, actor: str) -> FiledAppeal:
    """Put a blocked post's verdict into the queue. While an appeal waits, that one is given.

    A blind audit of the verdict that is open gives way: an appeal does not wait for the audits' budget. Raises Unknown,
    also for verdicts with a route, and NotBlocked.
    """
    last = select(reviews.c.decision).where(reviews.c.verdict_id == verdict_id, decides)
    async with context.transaction() as connection:
        await alone(connection)
        found = await connection.execute(select(verdicts).where(verdicts.c.verdict_id == verdict_id, *visible()))
        if (verdict := found.one_or_none()) is None:
            raise Unknown(verdict_id)
        by_people = await connection.scalar(last.order_by(reviews.c.reviewed_at.desc()).limit(1))
        if (by_people or verdict.decision) != Decision.BLOCK or not verdict.newest:
            raise NotBlocked(verdict_id)
        decided = exists().where(verdicts.c.seq == appeals.c.verdict_seq, outcome).correlate(appeals)
        waiting = select(appeals).where(appeals.c.verdict_seq == verdict.seq, ~decided)
        if (known := (await connection.execute(waiting)).one_or_none()) is not None:
            return FiledAppeal(known.appeal_id, verdict_id, verdict.post_id, known.filed_at)
        filed = FiledAppeal(secrets.token_hex(16), verdict_id, verdict.post_id, datetime.now(UTC))
        row = {"appeal_id": filed.appeal_id, "verdict_seq": verdict.seq, "filed_at": filed.filed_at}
        await connection.execute(insert(appeals).values(row))
        job = job_row(verdict._asdict(), verdict.seq, "open") | {"reason": _REASON}
        free = {"audit": None, "second": None, "place": None, "leased_by": None, "leased_until": None}
        reopened = update(jobs).where(jobs.c.verdict_seq == verdict.seq).values(**job, **free)
        if not (await connection.execute(reopened)).rowcount:
            await connection.execute(insert(jobs).values(job))
        entry = audit.AuditEntry(actor=actor, action="appeal.filed", target=verdict_id)
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return filed
