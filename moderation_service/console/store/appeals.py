"""Appeals: complaints about a block, each a job in the queue. The first review behind an appeal is its outcome."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, exists, func, insert, select, update

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox
from moderation_service.console.store.reviews import Unknown
from moderation_service.console.store.tables import appeals, jobs, reviews, verdicts
from moderation_service.console.store.verdicts import alone, job_row
from moderation_service.console.store.withheld import visible
from moderation_service.contracts.enums import Decision
from moderation_service.telemetry import audit

REASON = "appeal"
"""Of its job."""


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
    """Put a blocked post's verdict into the queue; while an appeal waits, that one is given.

    A blind audit that is open stays one: its answer is the outcome. Raises Unknown, also for verdicts with a route, and
    NotBlocked.
    """
    made = FiledAppeal(secrets.token_hex(16), verdict_id, "", datetime.now(UTC))
    last = select(reviews.c.decision).where(reviews.c.verdict_id == verdict_id).order_by(reviews.c.reviewed_at.desc())
    async with context.transaction() as connection:
        await alone(connection)
        found = await connection.execute(select(verdicts).where(verdicts.c.verdict_id == verdict_id, *visible()))
        if (verdict := found.one_or_none()) is None:
            raise Unknown(verdict_id)
        decision = await connection.scalar(last.limit(1)) or verdict.decision
        if decision != Decision.BLOCK or not verdict.newest:
            raise NotBlocked(verdict_id)
        waiting = select(appeals).where(appeals.c.verdict_seq == verdict.seq, ~is_decided())
        if (known := (await connection.execute(waiting)).one_or_none()) is not None:
            return FiledAppeal(known.appeal_id, verdict_id, verdict.post_id, known.filed_at)
        row = {"appeal_id": made.appeal_id, "verdict_seq": verdict.seq, "filed_at": made.filed_at}
        await connection.execute(insert(appeals).values(row))
        own = jobs.c.verdict_seq == verdict.seq
        if not await connection.scalar(select(func.count()).where(own)):
            await connection.execute(
                insert(jobs).values(job_row(verdict._asdict(), verdict.seq, "open") | {"reason": REASON})
            )
        again = update(jobs).where(own, jobs.c.state != "open").values(state="open", reason=REASON)
        await connection.execute(again)
        entry = audit.AuditEntry(actor=actor, action="appeal.filed", target=verdict_id)
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return FiledAppeal(made.appeal_id, verdict_id, verdict.post_id, made.filed_at)


def is_decided() -> ColumnElement[bool]:
    """That a review came behind an appeal."""
    of_verdict = verdicts.c.seq == appeals.c.verdict_seq
    later = (reviews.c.verdict_id == verdicts.c.verdict_id, reviews.c.reviewed_at >= appeals.c.filed_at)
    return exists().where(of_verdict, *later)
