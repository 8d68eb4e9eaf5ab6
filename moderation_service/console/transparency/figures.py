"""What the database holds of a reporting period, counted.

A measure is a post's revision that was blocked: by a verdict, or by a person. The first of these counts, and it counts
in the period in which it fell, so that a post that is judged again is not counted again. An audit that no post waited
for takes no measure.
"""

from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from statistics import median
from typing import Any, NamedTuple

from sqlalchemy import Row, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.audits.proportion import Proportion
from moderation_service.console.store.appeals import outcome
from moderation_service.console.store.audits import decides
from moderation_service.console.store.tables import Words, appeals, reviews, verdicts
from moderation_service.contracts.enums import Decision, ReviewDecision, Route
from moderation_service.contracts.statement import OTHER_VIOLATION
from moderation_service.policies.model import Policy
from moderation_service.policies.pack import PolicyPack

MINORS = "STATEMENT_CATEGORY_PROTECTION_OF_MINORS"
_HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days in UTC, both included."""

    first: date
    last: date

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)

    def __str__(self) -> str:
        """As the template writes it."""
        return f"{self.first}/{self.last}"


class CountedMeasure(NamedTuple):
    """What measures are counted by. `detected`: by the service; else a person blocked what it had not flagged."""

    category: str
    illegal: bool
    automated: bool
    detected: bool
    language: str | None


@dataclass(slots=True)
class AppealFigures:
    """Appeals that were filed in the period, and what became of them since; the median time to that in hours."""

    filed: int = 0
    upheld: int = 0
    reversed: int = 0
    hours: float | None = None


@dataclass(slots=True)
class PeriodFigures:
    """Counts and medians; `hours` are from a post's arrival at the service to the measure.

    `looked_at`: automatic blocks that people decided again in the period, and how many of them they reversed.
    `statements`: automatic blocks that came with a draft of a statement of reasons. `models`: those that judged what
    was blocked. `oldest`: when the first verdict that is kept was judged.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    measures: Counter[CountedMeasure] = field(default_factory=Counter)
    automated_hours: float | None = None
    people_hours: float | None = None
    statements: int = 0
    looked_at: Proportion = field(default_factory=Proportion)
    appeals: AppealFigures = field(default_factory=AppealFigures)
    reviews: int = 0
    reviewers: int = 0
    models: set[str] = field(default_factory=set)
    oldest: datetime | None = None

    def count(self, **wanted: object) -> int:
        """Measures with these fields."""
        return sum(
            number
            for measure, number in self.measures.items()
            if all(getattr(measure, name) == value for name, value in wanted.items())
        )


async def count(database: AsyncEngine, period: Period, pack: PolicyPack) -> PeriodFigures:
    """All figures of a period. `pack` gives the category of what a person blocked, by the policies they named."""
    found = PeriodFigures()
    in_period = (verdicts.c.judged_at >= period.start, verdicts.c.judged_at < period.end)
    by_decision = select(verdicts.c.decision, func.count()).where(*in_period).group_by(verdicts.c.decision)
    people = select(func.count(), func.count(reviews.c.reviewer.distinct())).where(
        reviews.c.reviewed_at >= period.start, reviews.c.reviewed_at < period.end
    )
    async with database.connect() as connection:
        for decision, number in await connection.execute(by_decision):
            found.decisions[decision] = number
        found.reviews, found.reviewers = (await connection.execute(people)).one()
        found.oldest = await connection.scalar(select(func.min(verdicts.c.judged_at)))
        await _count_measures(connection, period, {policy.id: policy for policy in pack.policies}, found)
        await _count_reversals(connection, period, found)
        await _count_appeals(connection, period, found.appeals)
    return found


async def sampled_languages(database: AsyncEngine, period: Period) -> dict[str, str | None]:
    """By the id of each verdict that audits draw, the language that its post names."""
    language = verdicts.c.rest["post_language"].as_string()
    of_period = (verdicts.c.sampled, verdicts.c.judged_at >= period.start, verdicts.c.judged_at < period.end)
    async with database.connect() as connection:
        rows = await connection.execute(select(verdicts.c.verdict_id, language).where(*of_period))
        return {verdict_id: _primary(tag) for verdict_id, tag in rows}


async def _count_measures(
    connection: AsyncConnection, period: Period, policies: Mapping[str, Policy], found: PeriodFigures
) -> None:
    hours = {True: array("d"), False: array("d")}
    async for row in await connection.stream(_first_blocks(period)):
        automated = not row.review_id
        category, illegal = _category(row, policies)
        detected = automated or row.decision == Decision.REVIEW
        found.measures[CountedMeasure(category, illegal, automated, detected, _primary(row.language))] += 1
        found.statements += automated and row.category is not None
        found.models.add(row.model)
        waited = timedelta(0) if automated else row.at - row.judged_at
        hours[automated].append(row.total_ms / _HOUR_MS + waited / timedelta(hours=1))
    found.automated_hours, found.people_hours = (median(hours[by]) if hours[by] else None for by in (True, False))


def _first_blocks(period: Period) -> Any:  # noqa: ANN401 - SQLAlchemy's select
    """The first block of each post's revision, where it falls into the period; `review_id` is empty for a verdict's."""
    key = (verdicts.c.seq, verdicts.c.post_id, verdicts.c.post_revision)
    blocks = union_all(
        select(*key, verdicts.c.judged_at.label("at"), literal("", Words).label("review_id")).where(
            verdicts.c.decision == Decision.BLOCK, verdicts.c.judged_at < period.end
        ),
        select(*key, reviews.c.reviewed_at, reviews.c.review_id)
        .join(reviews, reviews.c.verdict_id == verdicts.c.verdict_id)
        .where(reviews.c.decision == ReviewDecision.BLOCK, reviews.c.reviewed_at < period.end, decides),
    ).subquery()
    post = (blocks.c.post_id, blocks.c.post_revision)
    place = func.row_number().over(partition_by=post, order_by=(blocks.c.at, blocks.c.review_id, blocks.c.seq))
    first = select(blocks.c.seq, blocks.c.at, blocks.c.review_id, place.label("place")).subquery()
    return (
        select(
            first.c.at,
            first.c.review_id,
            verdicts.c.decision,
            verdicts.c.route,
            verdicts.c.judged_at,
            verdicts.c.total_ms,
            verdicts.c.rest["post_language"].as_string().label("language"),
            verdicts.c.rest["model", "name"].as_string().label("model"),
            verdicts.c.rest["statement_of_reasons", "category"].as_string().label("category"),
            verdicts.c.rest["statement_of_reasons", "decision_ground"].as_string().label("ground"),
            reviews.c.policies.label("said"),
        )
        .join(verdicts, verdicts.c.seq == first.c.seq)
        .join(reviews, reviews.c.review_id == first.c.review_id, isouter=True)
        .where(first.c.place == 1, first.c.at >= period.start)
    )


def _category(row: Row[Any], policies: Mapping[str, Policy]) -> tuple[str, bool]:
    """Category and whether the ground is the law: the draft's; of a person's block, of the gravest policy they named.

    A route stands for both: child sexual abuse material is illegal throughout the Union. Of a withheld verdict no draft
    is kept, and it counts as another violation of the terms.
    """
    if row.route == Route.CHILD_SAFETY:
        return MINORS, True
    named = (part["policy_id"] for part in row.said or () if part["violated"])
    if said := [policies[policy_id] for policy_id in named if policy_id in policies]:
        gravest = max(said, key=lambda policy: policy.severity)
        return gravest.dsa_categories[0], gravest.statement.legal_ground is not None
    return row.category or OTHER_VIOLATION, row.ground == "DECISION_GROUND_ILLEGAL_CONTENT"


def _primary(tag: str | None) -> str | None:
    return tag.split("-")[0].lower() if tag else None


async def _count_reversals(connection: AsyncConnection, period: Period, found: PeriodFigures) -> None:
    """By each verdict's last review in the period."""
    query = (
        select(reviews.c.verdict_id, reviews.c.decision)
        .join(verdicts, verdicts.c.verdict_id == reviews.c.verdict_id)
        .where(
            verdicts.c.decision == Decision.BLOCK,
            verdicts.c.route.is_(None),
            reviews.c.audit_round.is_(None),
            reviews.c.reviewed_at >= period.start,
            reviews.c.reviewed_at < period.end,
        )
        .order_by(reviews.c.reviewed_at)
    )
    last = {verdict_id: decision async for verdict_id, decision in await connection.stream(query)}
    for decision in last.values():
        found.looked_at.add(decision == ReviewDecision.ALLOW)


async def _count_appeals(connection: AsyncConnection, period: Period, found: AppealFigures) -> None:
    query = (
        select(appeals.c.appeal_id, appeals.c.filed_at, reviews.c.decision, reviews.c.reviewed_at)
        .join(verdicts, verdicts.c.seq == appeals.c.verdict_seq)
        .join(reviews, outcome, isouter=True)
        .where(appeals.c.filed_at >= period.start, appeals.c.filed_at < period.end)
        .order_by(reviews.c.reviewed_at.desc())
    )
    first = {row.appeal_id: row async for row in await connection.stream(query)}.values()
    decided = [row for row in first if row.decision is not None]
    found.filed = len(first)
    found.reversed = sum(row.decision == ReviewDecision.ALLOW for row in decided)
    found.upheld = len(decided) - found.reversed
    if decided:
        found.hours = median((row.reviewed_at - row.filed_at) / timedelta(hours=1) for row in decided)
