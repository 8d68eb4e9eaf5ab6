"""What estimates of the error rate are made from: audited contents with their blind answers, and the size of strata.

Of nothing that has a route, or that is withheld.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.audited import AuditedVerdict, BlindAnswer, JudgedPolicy, Stratum
from moderation_service.console.store.tables import reviews, verdicts
from moderation_service.contracts.enums import AttributionClass, AuditRound, Decision


async def audited(database: AsyncEngine, since: datetime, until: datetime) -> list[AuditedVerdict]:
    """The answered contents of the verdicts that were judged from `since` on and before `until`, the oldest first.

    A content that came again is the first of its verdicts in that time, also where it was answered before. Of several
    answers to one round the first counts.
    """
    of_answer = verdicts.alias()
    answered = (  # first: of a million verdicts a few thousand are
        select(of_answer.c.cluster)
        .join(reviews, reviews.c.verdict_id == of_answer.c.verdict_id)
        .where(reviews.c.audit_round.is_not(None), of_answer.c.cluster.is_not(None))
        .distinct()
        .subquery()
    )
    of_contents = (
        select(func.min(verdicts.c.seq).label("seq"), func.count().label("copies"))
        .join(answered, answered.c.cluster == verdicts.c.cluster)
        .where(*_drawn(since, until), verdicts.c.sampled)
        .group_by(verdicts.c.cluster)
        .subquery()
    )
    contents = select(verdicts, of_contents.c.copies).join(of_contents, of_contents.c.seq == verdicts.c.seq)
    answers: Select[Any] = (
        select(of_answer.c.cluster, reviews.c.audit_round, reviews.c.reviewer, reviews.c.policies)
        .join(of_answer, of_answer.c.verdict_id == reviews.c.verdict_id)
        .where(reviews.c.audit_round.is_not(None), of_answer.c.route.is_(None))
        .order_by(reviews.c.reviewed_at)
    )
    said = dict[str, dict[AuditRound, BlindAnswer]]()
    async with database.connect() as connection:
        rows = (await connection.execute(contents.order_by(verdicts.c.seq))).all()
        wanted = {row.cluster for row in rows}
        for row in await connection.execute(answers):
            if row.cluster in wanted:
                made = _answer(row)
                said.setdefault(row.cluster, {}).setdefault(made.round, made)
    return [_audited(row, said[row.cluster].values()) for row in rows if row.cluster in said]


async def population(database: AsyncEngine, since: datetime, until: datetime) -> dict[Stratum, int]:
    """How many verdicts of that time are in each stratum, drawn or not."""
    stratum = (verdicts.c.stratum, verdicts.c.probability)
    query = select(*stratum, func.count()).where(*_drawn(since, until)).group_by(*stratum).order_by(*stratum)
    async with database.connect() as connection:
        return {Stratum(row[0], row[1]): row[2] for row in await connection.execute(query)}


def _drawn(since: datetime, until: datetime) -> tuple[Any, ...]:
    """Within that time; what has a route, or is withheld, has no stratum, so that an index alone is read."""
    return verdicts.c.stratum.is_not(None), verdicts.c.judged_at >= since, verdicts.c.judged_at < until


def _audited(row: Row[Any], answers: Iterable[BlindAnswer]) -> AuditedVerdict:
    return AuditedVerdict(
        verdict_id=row.verdict_id,
        stratum=Stratum(row.stratum, row.probability),
        copies=row.copies,
        language=row.rest.get("post_language") or row.rest.get("detected_language") or row.language,
        judged_at=row.judged_at,
        decision=Decision(row.decision),
        policies={part["policy_id"]: _judged(part) for part in row.policies},
        answers=tuple(answers),
    )


def _judged(part: Mapping[str, Any]) -> JudgedPolicy:
    found = part["attribution"]
    return JudgedPolicy(
        version=part["version"],
        score=part["score"],
        violated=part["violated"],
        attribution=AttributionClass(found["class"]) if found else None,
    )


def _answer(row: Row[Any]) -> BlindAnswer:
    violated = {said["policy_id"]: said["violated"] for said in row.policies}
    return BlindAnswer(AuditRound(row.audit_round), row.reviewer, violated)
