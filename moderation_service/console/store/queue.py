"""The jobs that wait for a person, each leased to one reviewer at a time: gravest first, then least sure, then oldest.

Every change is one statement that names the state it expects, so two who want the same job don't both get it.
Audits, which are done blind, stand among the others at random places, and nothing of what was found is told of them.
"""

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store.audits import Auditor, audits_in_order, is_owed
from moderation_service.console.store.tables import job_policies, jobs, posts, reviews, verdicts
from moderation_service.contracts.enums import AbstainReason, AuditRound, Decision

_SNIPPET = 120  # characters
_EVERY = 5  # at most one post in so many is an audit, while others wait
_ORDER = (jobs.c.severity.desc(), jobs.c.margin, jobs.c.judged_at, jobs.c.verdict_seq)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a reviewer wants to see of the queue; None: whatever it is."""

    policy_id: str | None = None
    attribution: str | None = None  # of that policy, or of any
    language: str | None = None
    abstain_reason: str | None = None
    decision: str | None = None

    @property
    def tell(self) -> bool:
        """Whether what they find tells what was decided: then no audit is among it."""
        return any(value for name, value in asdict(self).items() if name != "language")


@dataclass(frozen=True, slots=True)
class Job:
    """A verdict that waits for a person. `leased_by` is None once a lease is over.

    `audit`: it is done blind, in this round. Of such a job nothing is known here of what was found.
    """

    seq: int
    verdict_id: str
    post_id: str
    decision: Decision | None
    abstain_reason: AbstainReason | None
    severity: int
    margin: float
    language: str
    judged_at: datetime
    audit: AuditRound | None
    reason: str | None  # the bank's entry, as BANK/ENTRY, for which a past verdict was sent here
    leased_by: str | None
    leased_until: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Of the open jobs; `oldest` is when the one that waits longest was judged."""

    open: int
    leased: int
    review: int
    abstain: int
    oldest: datetime | None


@dataclass(frozen=True, slots=True)
class Headline:
    """The policies that a job is found by, and how the post's words begin."""

    policies: tuple[str, ...]
    text: str


async def listed(
    database: AsyncEngine, filters: Filters, *, limit: int, now: datetime, auditor: Auditor | None = None
) -> list[Job]:
    """The first open jobs in order, leased ones too; among them, where there is an `auditor`, the next audits."""
    wanted = _query().where(jobs.c.state == "open", *_conditions(filters))
    async with database.connect() as connection:
        blind = list[Job]()
        if auditor and not filters.tell:
            audits = wanted.where(*await auditor.may_take(connection, now)).order_by(*audits_in_order(now))
            rows = (await connection.execute(audits.limit(limit // _EVERY))).all()
            blind = [_job(row, now) for row in sorted(rows, key=lambda row: row.place)]
        ordinary = wanted.where(jobs.c.audit.is_(None)).order_by(*_ORDER).limit(limit - len(blind))
        found = [_job(row, now) for row in await connection.execute(ordinary)]
    for number, job in enumerate(blind, start=1):
        found.insert(number * _EVERY - 1, job)
    return found


async def held(database: AsyncEngine, reviewer: str, *, now: datetime) -> Job | None:
    """The job that this reviewer has in hand, of several the one that was leased last."""
    query = (
        _query().where(jobs.c.state == "open", _held_by(reviewer, now)).order_by(jobs.c.leased_until.desc()).limit(1)
    )
    async with database.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else _job(row, now)


async def lease_next(
    database: AsyncEngine,
    reviewer: str,
    filters: Filters,
    *,
    now: datetime,
    lease_s: float,
    auditor: Auditor | None = None,
) -> Job | None:
    """Lease the first job in order that nobody else has; the one that the reviewer holds goes before others.

    An `auditor` gets an audit where none was among their last answers, or where no other job is left. None where no job
    is left.
    """
    wanted = select(jobs.c.verdict_seq).where(jobs.c.state == "open", *_conditions(filters))
    mine, free = wanted.where(_held_by(reviewer, now)), wanted.where(_free(now))
    queries = [mine, free.where(jobs.c.audit.is_(None)).order_by(*_ORDER)]
    async with database.begin() as connection:
        if auditor and not filters.tell:
            audits = free.where(*await auditor.may_take(connection, now)).order_by(*audits_in_order(now))
            queries.insert(1 if await _is_turn_of_audits(connection, reviewer) else 2, audits)
        for query in queries:
            first = query.limit(1).with_for_update(skip_locked=True)  # on PostgreSQL; SQLite has one writer at a time
            if job := await _lease(connection, reviewer, jobs.c.verdict_seq == first.scalar_subquery(), now, lease_s):
                return job
    return None


async def lease(
    database: AsyncEngine,
    reviewer: str,
    verdict_id: str,
    *,
    now: datetime,
    lease_s: float,
    auditor: Auditor | None = None,
) -> Job | None:
    """Lease this job, or go on with it; None where another holds it, it is decided, or there is none.

    An audit only to an `auditor` who may answer it.
    """
    this = jobs.c.verdict_seq == _seq_of(verdict_id)
    kind = or_(jobs.c.audit.is_(None), auditor.may_answer) if auditor else jobs.c.audit.is_(None)
    async with database.begin() as connection:
        return await _lease(connection, reviewer, and_(this, kind, claimable(reviewer, now)), now, lease_s)


async def release(database: AsyncEngine, reviewer: str, verdict_id: str) -> None:
    """Give a job back, if this reviewer holds it."""
    mine = jobs.c.leased_by == reviewer
    async with database.begin() as connection:
        await connection.execute(
            update(jobs)
            .where(jobs.c.verdict_seq == _seq_of(verdict_id), jobs.c.state == "open", mine)
            .values(leased_by=None, leased_until=None)
        )


async def counts(database: AsyncEngine, *, now: datetime, blind: bool = True) -> Counts:
    """How many posts wait, and how they stand; without `blind` but for those whose review is done blind."""
    is_open = and_(jobs.c.state == "open", is_owed if blind else jobs.c.audit.is_(None))
    query = select(jobs.c.decision, func.count(), func.min(jobs.c.judged_at)).where(is_open).group_by(jobs.c.decision)
    leased = select(func.count()).where(is_open, jobs.c.leased_until > now)
    async with database.connect() as connection:
        found = {decision: (count, oldest) for decision, count, oldest in await connection.execute(query)}
        held = (await connection.execute(leased)).scalar_one()
    return Counts(
        open=sum(count for count, _ in found.values()),
        leased=held,
        review=found[Decision.REVIEW][0] if Decision.REVIEW in found else 0,
        abstain=found[Decision.ABSTAIN][0] if Decision.ABSTAIN in found else 0,
        oldest=min((oldest for _, oldest in found.values()), default=None),
    )


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


def claimable(reviewer: str, now: datetime) -> ColumnElement[bool]:
    """That an open job is this reviewer's, or nobody's."""
    return and_(jobs.c.state == "open", or_(jobs.c.leased_by == reviewer, _free(now)))


async def _lease(
    connection: AsyncConnection, reviewer: str, which: ColumnElement[bool], now: datetime, lease_s: float
) -> Job | None:
    until = now + timedelta(seconds=lease_s)
    taken = update(jobs).where(which).values(leased_by=reviewer, leased_until=until).returning(jobs.c.verdict_seq)
    seq = (await connection.execute(taken)).scalar_one_or_none()
    if seq is None:
        return None
    return _job((await connection.execute(_query().where(jobs.c.verdict_seq == seq))).one(), now)


async def _is_turn_of_audits(connection: AsyncConnection, reviewer: str) -> bool:
    last = select(reviews.c.audit_round).where(reviews.c.reviewer == reviewer).order_by(reviews.c.reviewed_at.desc())
    return not any((await connection.execute(last.limit(_EVERY - 1))).scalars())


def _conditions(filters: Filters) -> Iterator[ColumnElement[bool]]:
    if filters.tell:
        yield jobs.c.audit.is_(None)
    for column in (jobs.c.language, jobs.c.abstain_reason, jobs.c.decision):
        if (wanted := getattr(filters, column.name)) is not None:
            yield column == wanted
    named = [
        column == wanted
        for column in (job_policies.c.policy_id, job_policies.c.attribution)
        if (wanted := getattr(filters, column.name)) is not None
    ]
    if named:
        yield exists().where(job_policies.c.verdict_seq == jobs.c.verdict_seq, *named)


def _held_by(reviewer: str, now: datetime) -> ColumnElement[bool]:
    return and_(jobs.c.leased_by == reviewer, jobs.c.leased_until > now)


def _free(now: datetime) -> ColumnElement[bool]:
    return or_(jobs.c.leased_until.is_(None), jobs.c.leased_until <= now)


def _seq_of(verdict_id: str) -> Any:  # noqa: ANN401 - SQLAlchemy's scalar subquery
    return select(verdicts.c.seq).where(verdicts.c.verdict_id == verdict_id).scalar_subquery()


def _query() -> Select[Any]:
    return select(jobs, verdicts.c.verdict_id, verdicts.c.post_id).join(verdicts, verdicts.c.seq == jobs.c.verdict_seq)


def _job(row: Row[Any], now: datetime) -> Job:
    held, blind = row.leased_until is not None and row.leased_until > now, row.audit is not None
    return Job(
        seq=row.verdict_seq,
        verdict_id=row.verdict_id,
        post_id=row.post_id,
        decision=None if blind else Decision(row.decision),
        abstain_reason=AbstainReason(row.abstain_reason) if row.abstain_reason and not blind else None,
        severity=0 if blind else row.severity,
        margin=0.0 if blind else row.margin,
        language=row.language,
        judged_at=row.judged_at,
        audit=AuditRound(row.audit) if blind else None,
        reason=row.reason,
        leased_by=row.leased_by if held else None,
        leased_until=row.leased_until if held else None,
    )
