"""What people decided: a review's row, its record for Kafka and the end of its job are one transaction."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Row, and_, delete, exists, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import audits, outbox, queue
from moderation_service.console.store.tables import jobs, reviews, verdicts
from moderation_service.console.store.withheld import visible
from moderation_service.contracts.audit import ReviewAudit
from moderation_service.contracts.enums import AuditRound, ReviewDecision
from moderation_service.contracts.envelope import event_headers
from moderation_service.contracts.review import PolicyReview, Review
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings, Settings
from moderation_service.telemetry import audit


class Unknown(LookupError):  # noqa: N818 - a fate, not a fault
    """No such verdict is here."""


class NotYours(Exception):  # noqa: N818 - a fate, not a fault
    """The review is refused: another reviewer holds the job, or it is decided, or a newer verdict took its place.

    `audited`: the job is an audit's, which is answered blind, and by this person once at most.
    """

    def __init__(self, why: Literal["leased", "decided", "superseded", "audited"]) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Decided:
    """A person's answer. `further`: it is meant as one more review, of a verdict that is decided or out of date."""

    decision: ReviewDecision
    policies: tuple[PolicyReview, ...] = ()
    reason: str = ""
    further: bool = False


@dataclass(frozen=True, slots=True)
class UndoableReview:
    """A review that may still be taken back."""

    review_id: str
    verdict_id: str
    post_id: str
    decision: str


async def decide(
    context: ConsoleContext, reviewer: str, verdict_id: str, decided: Decided, *, routed: bool = False
) -> Review:
    """Keep a review, and see to it that it goes to Kafka once it can't be undone any more.

    The job, if there is one, must be this reviewer's or nobody's. `routed`: they may see verdicts with a route. Raises
    Unknown without a verdict, NotYours, and pydantic's ValidationError for what the contract refuses.
    """
    now = datetime.now(UTC)
    async with context.transaction() as connection:
        seen = select(verdicts).where(verdicts.c.verdict_id == verdict_id, *visible(routed=routed))
        found = await connection.execute(seen)
        if (verdict := found.one_or_none()) is None:
            raise Unknown(verdict_id)
        review = Review(
            review_id=secrets.token_hex(16),
            verdict_id=verdict_id,
            post_id=verdict.post_id,
            post_revision=verdict.post_revision,
            decision=decided.decision,
            policies=decided.policies,
            reason=decided.reason,
            reviewer=reviewer,
            reviewed_at=now,
        )
        await _close_job(connection, verdict.seq, reviewer, now, further=decided.further)
        await _keep(connection, context.settings, review, verdict.decision)
    return review


async def answer_audit(
    context: ConsoleContext, auditor: audits.Auditor, verdict_id: str, policies: tuple[PolicyReview, ...], reason: str
) -> Review:
    """Keep a blind answer to the round that the verdict's audit waits for; it blocks where a policy is violated.

    Sent like any other review. Raises as `decide`.
    """
    now = datetime.now(UTC)
    columns = (verdicts, jobs.c.audit, jobs.c.state)
    asked = select(*columns, auditor.may_answer.label("may"), queue.claimable(auditor.name, now).label("free"))
    this = (verdicts.c.verdict_id == verdict_id, jobs.c.audit.is_not(None), *visible())
    async with context.transaction() as connection:
        found = await connection.execute(
            asked.join(jobs, jobs.c.verdict_seq == verdicts.c.seq).where(*this).with_for_update()
        )
        if (job := found.one_or_none()) is None:
            raise Unknown(verdict_id)
        if job.state != "open":
            raise NotYours(job.state)
        if not job.may or not job.free:
            raise NotYours("leased" if job.may else "audited")
        review = Review(
            review_id=secrets.token_hex(16),
            verdict_id=verdict_id,
            post_id=job.post_id,
            post_revision=job.post_revision,
            decision=ReviewDecision.BLOCK if any(one.violated for one in policies) else ReviewDecision.ALLOW,
            policies=policies,
            reason=reason,
            reviewer=auditor.name,
            reviewed_at=now,
            audit=ReviewAudit(round=AuditRound(job.audit), stratum=job.stratum, probability=job.probability),
        )
        await _keep(connection, context.settings, review, job.decision)
        await audits.advance(connection, [verdict_id])
    return review


async def undo(context: ConsoleContext, reviewer: str, review_id: str) -> bool:
    """Take a review back while it is not on its way to Kafka; its job is the reviewer's again. False: it is too late.

    A review that is not theirs can't be taken back either.
    """
    now = datetime.now(UTC)
    async with context.transaction() as connection:
        mine = (reviews.c.review_id == review_id) & (reviews.c.reviewer == reviewer)
        verdict_id = (await connection.execute(select(reviews.c.verdict_id).where(mine))).scalar_one_or_none()
        if verdict_id is None or not await outbox.withdraw(connection, review_id, now):
            return False
        await connection.execute(delete(reviews).where(mine))
        await _open_job(connection, verdict_id, reviewer, now + timedelta(seconds=context.settings.console.lease_s))
        entry = audit.AuditEntry(actor=audit.reviewer(reviewer), action="review.undone", target=verdict_id)
        await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
    return True


async def of_verdict(database: AsyncEngine, verdict_id: str) -> list[Review]:
    """The reviews of a verdict, newest first."""
    query = select(reviews).where(reviews.c.verdict_id == verdict_id).order_by(reviews.c.reviewed_at.desc())
    async with database.connect() as connection:
        return [_review(row) for row in await connection.execute(query)]


async def put(connection: AsyncConnection, review: Review) -> None:
    """Keep a review that was made elsewhere; one that is here already changes nothing. Its job is done."""
    known = select(reviews.c.review_id).where(reviews.c.review_id == review.review_id)
    if (await connection.execute(known)).first():
        return
    found = await connection.execute(
        select(verdicts.c.seq, verdicts.c.decision).where(verdicts.c.verdict_id == review.verdict_id)
    )
    verdict = found.one_or_none()
    await connection.execute(insert(reviews).values(_row(review, verdict.decision if verdict else None)))
    if verdict:
        ordinary = (jobs.c.state == "open", jobs.c.audit.is_(None))
        await connection.execute(_done().where(jobs.c.verdict_seq == verdict.seq, *ordinary))
        await audits.advance(connection, [review.verdict_id])


async def exported(database: AsyncEngine) -> AsyncIterator[Review]:
    """All reviews, oldest first, but of verdicts with a route."""
    hidden = exists().where(verdicts.c.verdict_id == reviews.c.verdict_id, verdicts.c.route.is_not(None))
    async with database.connect() as connection:
        async for row in await connection.stream(select(reviews).where(~hidden).order_by(reviews.c.reviewed_at)):
            yield _review(row)


async def last_review(database: AsyncEngine, reviewer: str, since: datetime) -> UndoableReview | None:
    """The reviewer's last review, if it was made after `since`."""
    columns = (reviews.c.review_id, reviews.c.verdict_id, reviews.c.post_id, reviews.c.decision)
    query = select(*columns).where(reviews.c.reviewer == reviewer, reviews.c.reviewed_at > since)
    async with database.connect() as connection:
        row = (await connection.execute(query.order_by(reviews.c.reviewed_at.desc()).limit(1))).one_or_none()
    return None if row is None else UndoableReview(*row)


async def _close_job(connection: AsyncConnection, seq: int, reviewer: str, now: datetime, *, further: bool) -> None:
    mine = _done().where(jobs.c.verdict_seq == seq, jobs.c.audit.is_(None), queue.claimable(reviewer, now))
    if (await connection.execute(mine)).rowcount:
        return
    found = await connection.execute(select(jobs.c.state, jobs.c.audit).where(jobs.c.verdict_seq == seq))
    if (job := found.one_or_none()) is None:
        return
    if job.state == "open" and not job.audit:
        raise NotYours("leased")
    if not further:
        raise NotYours("audited" if job.state == "open" else job.state)


async def _open_job(connection: AsyncConnection, verdict_id: str, reviewer: str, until: datetime) -> None:
    """Unless somebody else decided it too; a newer verdict of the post that came meanwhile has a job of its own.

    An audit waits again for the round that was undone.
    """
    query = select(verdicts.c.seq, verdicts.c.newest).where(verdicts.c.verdict_id == verdict_id)
    verdict = (await connection.execute(query.with_for_update())).one()  # no newer one comes just now
    mine = {"state": "open", "leased_by": reviewer, "leased_until": until}
    await audits.advance(connection, [verdict_id])
    again = and_(jobs.c.audit.is_(None), jobs.c.state == "decided", ~exists().where(reviews.c.verdict_id == verdict_id))
    blind = and_(jobs.c.audit.is_not(None), jobs.c.state == "open")
    await connection.execute(
        update(jobs)
        .where(jobs.c.verdict_seq == verdict.seq, or_(again, blind))
        .values(mine if verdict.newest else {"state": "superseded"})
    )


async def _keep(connection: AsyncConnection, settings: Settings, review: Review, verdict_decision: str) -> None:
    """The review's row, and its record, which is due once it can't be undone any more."""
    await connection.execute(insert(reviews).values(_row(review, verdict_decision)))
    due = review.reviewed_at + timedelta(seconds=settings.console.undo_s)
    await outbox.put(connection, outbox.OutboxEntry(review.review_id, _record(settings.kafka, review), due))


def _done() -> Any:  # noqa: ANN401 - SQLAlchemy's update
    return update(jobs).values(state="decided", leased_by=None, leased_until=None)


def _record(kafka: KafkaSettings, review: Review) -> Record:
    headers = event_headers("review", review.review_id, review.post_id, review.reviewed_at)
    return Record(kafka.review_topic, review.post_id.encode(), review.model_dump_json().encode(), headers)


def _row(review: Review, verdict_decision: str | None) -> dict[str, Any]:
    fields = review.model_dump(exclude={"schema_version", "policies", "audit"})
    answers = [answer.model_dump(mode="json") for answer in review.policies]
    of = review.audit
    drawn = {
        "audit_round": of and of.round,
        "audit_stratum": of and of.stratum,
        "audit_probability": of and of.probability,
    }
    return {**fields, **drawn, "policies": answers, "verdict_decision": verdict_decision}


def _review(row: Row[Any]) -> Review:
    answers = tuple(PolicyReview(**answer) for answer in row.policies)
    return Review(
        review_id=row.review_id,
        verdict_id=row.verdict_id,
        post_id=row.post_id,
        post_revision=row.post_revision,
        decision=row.decision,
        policies=answers,
        reason=row.reason,
        reviewer=row.reviewer,
        reviewed_at=row.reviewed_at,
        audit=ReviewAudit(round=row.audit_round, stratum=row.audit_stratum, probability=row.audit_probability)
        if row.audit_round
        else None,
    )
