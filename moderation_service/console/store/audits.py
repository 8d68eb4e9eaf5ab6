"""Audits as jobs that are done blind: which round a job waits for, who may answer, what is hidden meanwhile.

A job of an audit is a verdict's one job, whatever was decided. Where the verdict needs a review anyway, the first blind
answer is that review.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, case, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.audits.agreement import differ
from moderation_service.console.store.tables import jobs, outbox, reviews, verdicts
from moderation_service.contracts.enums import AuditRound, Decision

KEPT = timedelta(days=7)
"""An audit that nobody was free for is given up after this time."""
_PATIENCE = timedelta(minutes=15)
NEEDS_REVIEW = tuple(decision for decision in Decision if decision.needs_review)

is_owed = or_(jobs.c.audit.is_(None), and_(jobs.c.audit == AuditRound.FIRST, jobs.c.decision.in_(NEEDS_REVIEW)))
"""That a post waits for this job: what the queue's counts and its age are of."""
decides = or_(
    reviews.c.audit_round.is_(None),
    and_(reviews.c.audit_round == AuditRound.FIRST, reviews.c.verdict_decision.in_(NEEDS_REVIEW)),
)
"""That a post waited for this review."""


@dataclass(frozen=True)
class Auditor:
    """Who answers audits: a reviewer, whether they may adjudicate, and the answers a day of all people together."""

    name: str
    adjudicates: bool
    per_day: int

    @property
    def may_answer(self) -> ColumnElement[bool]:
        """That a job is an audit whose post they have not reviewed; its adjudication needs the permission."""
        of_job = verdicts.alias()
        same = (of_job.c.seq == jobs.c.verdict_seq, reviews.c.verdict_id == of_job.c.verdict_id)
        reviewed = exists().where(*same, reviews.c.reviewer == self.name).correlate(jobs)
        rounds = [one for one in AuditRound if self.adjudicates or one is not AuditRound.ADJUDICATION]
        return and_(jobs.c.audit.in_(rounds), ~reviewed)

    async def may_take(self, connection: AsyncConnection, now: datetime) -> tuple[ColumnElement[bool], ...]:
        """That they may answer, and that a post waits for it, or some of the day's answers (by UTC) are left."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        audits = (reviews.c.audit_round.is_not(None), reviews.c.reviewed_at >= midnight, ~decides)
        spent: int = (await connection.execute(select(func.count()).where(*audits))).scalar_one()
        return (self.may_answer,) if spent < self.per_day else (self.may_answer, is_owed)


def audits_in_order(now: datetime) -> tuple[ColumnElement[Any], ...]:
    """By place; but first those for which a post has waited long, so that the other audits don't keep it waiting."""
    is_late = and_(is_owed, jobs.c.judged_at < now - _PATIENCE)
    return case((is_late, 0), else_=1), jobs.c.place, jobs.c.verdict_seq


def job_fields(row: dict[str, Any], *, is_first: bool) -> dict[str, Any]:
    """What the job of a sampled verdict's row has besides. The first of a content alone has a second reviewer.

    `place` in the queue follows from the verdict's id, which is a digest, so that it tells nothing.
    """
    if not row["sampled"]:
        return {"audit": None, "second": None, "place": None}
    second = is_first and bool(row["rest"]["audit"]["second"])
    return {"audit": AuditRound.FIRST, "second": second, "place": _place(row["verdict_id"])}


async def first_of_content(connection: AsyncConnection, rows: Iterable[dict[str, Any]]) -> set[str]:
    """Of the rows of verdicts, the ids of those that are sampled, and whose content has no audit yet."""
    first = dict[str, str]()
    for row in rows:
        if row["cluster"]:
            first.setdefault(row["cluster"], row["verdict_id"])
    query = select(verdicts.c.cluster).join(jobs, jobs.c.verdict_seq == verdicts.c.seq)
    audited = query.where(verdicts.c.cluster.in_(list(first)), jobs.c.audit.is_not(None))
    known = set((await connection.execute(audited)).scalars()) if first else set()
    return {verdict_id for cluster, verdict_id in first.items() if cluster not in known}


async def advance(connection: AsyncConnection, verdict_ids: Collection[str]) -> None:
    """Bring the jobs of audits to the round that follows from the answers that are kept."""
    of_jobs = select(jobs.c.verdict_seq, jobs.c.second, verdicts.c.verdict_id).join(
        verdicts, verdicts.c.seq == jobs.c.verdict_seq
    )
    wanted = (verdicts.c.verdict_id.in_(verdict_ids), jobs.c.audit.is_not(None), jobs.c.state != "superseded")
    for job in (await connection.execute(of_jobs.where(*wanted))).all():
        columns = (reviews.c.audit_round, reviews.c.policies)
        made = select(*columns).where(reviews.c.verdict_id == job.verdict_id, reviews.c.audit_round.is_not(None))
        rows = await connection.execute(made.order_by(reviews.c.reviewed_at.desc()))
        answers = {AuditRound(row.audit_round): row.policies for row in rows}  # of two of a round the earlier
        waits_for = _next_round(answers, second=job.second)
        done = {"state": "decided"} if waits_for is None else {"state": "open", "audit": waits_for}
        free = {"leased_by": None, "leased_until": None}
        await connection.execute(update(jobs).where(jobs.c.verdict_seq == job.verdict_seq).values(**done, **free))


def is_hidden() -> ColumnElement[bool]:
    """That a verdict would tell what an audit is to find: the audited one, its copies, and others on the post.

    An audit counts as open while an answer to it can be undone: it is in the outbox then.
    """
    audited = verdicts.alias()
    undoable = exists().where(reviews.c.verdict_id == audited.c.verdict_id, reviews.c.review_id == outbox.c.entry_id)
    same = or_(audited.c.post_id == verdicts.c.post_id, audited.c.cluster == verdicts.c.cluster)
    of_audit = select(jobs.c.verdict_seq).join(audited, audited.c.seq == jobs.c.verdict_seq)
    is_open = and_(jobs.c.audit.is_not(None), or_(jobs.c.state == "open", undoable))
    return of_audit.where(same, is_open).correlate(verdicts).exists()


async def hides(database: AsyncEngine, verdict_id: str) -> bool:
    """Whether this verdict is hidden; see `is_hidden`."""
    query = select(verdicts.c.seq).where(verdicts.c.verdict_id == verdict_id, is_hidden())
    async with database.connect() as connection:
        return (await connection.execute(query)).first() is not None


async def answers_to_settle(database: AsyncEngine, verdict_id: str) -> dict[str, list[bool]]:
    """By policy what the first and the second answered, for the policies on which they differ too."""
    query = select(reviews.c.audit_round, reviews.c.policies).where(
        reviews.c.verdict_id == verdict_id, reviews.c.audit_round.in_([AuditRound.FIRST, AuditRound.SECOND])
    )
    said = dict[str, list[bool]]()
    async with database.connect() as connection:
        for row in await connection.execute(query.order_by(reviews.c.audit_round, reviews.c.reviewed_at)):
            for answer in row.policies:
                said.setdefault(answer["policy_id"], []).append(answer["violated"])
    return said


async def give_up(connection: AsyncConnection, now: datetime) -> int:
    """Drop the audits for which no post waits, and for which nobody was free in time; how many."""
    old = select(verdicts.c.seq).where(verdicts.c.received_at < now - KEPT)
    late = (jobs.c.audit.is_not(None), ~is_owed, jobs.c.state == "open", jobs.c.verdict_seq.in_(old))
    return (await connection.execute(delete(jobs).where(*late))).rowcount


def _next_round(answers: dict[AuditRound, Any], *, second: bool) -> AuditRound | None:
    """The first round without an answer; None where all is said. `answers`: lists of PolicyReview, as JSON."""
    if AuditRound.FIRST not in answers:
        return AuditRound.FIRST
    if not second:
        return None
    if AuditRound.SECOND not in answers:
        return AuditRound.SECOND
    one, other = (
        {answer["policy_id"]: answer["violated"] for answer in answers[asked]}
        for asked in (AuditRound.FIRST, AuditRound.SECOND)
    )
    is_settled = not differ(one, other) or AuditRound.ADJUDICATION in answers
    return None if is_settled else AuditRound.ADJUDICATION


def _place(verdict_id: str) -> float:
    """In [0, 1), by the first of its hexadecimal digits; a foreign id's at the end."""
    try:
        return int(verdict_id[:8], 16) / 2**32
    except ValueError:
        return 1.0
