"""What verdicts and people's decisions say of banks: how much they match, and how often people agree."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.proportion import Proportion
from moderation_service.console.store.tables import bank_matches, reviews, verdicts
from moderation_service.contracts.bank import BankAction
from moderation_service.contracts.enums import ReviewDecision
from moderation_service.telemetry import metrics

LEAST = 10
"""Reviews: of fewer no precision is told."""
_REVIEWS = 50_000  # the newest; more would say the same


@dataclass(slots=True)
class BankQuality:
    """By bank: verdicts that match it, and of those that people decided, how many they agreed with."""

    matches: Counter[str] = field(default_factory=Counter)
    agreed: defaultdict[str, Proportion] = field(default_factory=lambda: defaultdict(Proportion))

    def precision(self, bank: str) -> Proportion | None:
        """None where there are too few reviews."""
        counted = self.agreed.get(bank)
        return counted if counted and counted.of >= LEAST else None


async def bank_quality(database: AsyncEngine, since: datetime) -> BankQuality:
    """Since a day, matches of shadow banks too; of several reviews by one person on one verdict the last counts."""
    matched = (
        select(bank_matches.c.bank, func.count().label("matches"))
        .join(verdicts, verdicts.c.seq == bank_matches.c.verdict_seq)
        .where(verdicts.c.judged_at >= since)
        .group_by(bank_matches.c.bank)
    )
    reviewed = _reviewed().where(reviews.c.reviewed_at >= since).order_by(reviews.c.reviewed_at.desc())
    found = BankQuality()
    async with database.connect() as connection:
        found.matches.update({row.bank: row.matches for row in await connection.execute(matched)})
        rows = (await connection.execute(reviewed.limit(_REVIEWS))).all()
    for row in {(row.verdict_id, row.reviewer, row.bank): row for row in reversed(rows)}.values():
        found.agreed[row.bank].add(_agrees(row))
    return found


async def count_bank_reviews(database: AsyncEngine, review_ids: Collection[str], labels: Mapping[str, str]) -> None:
    """Add reviews that were sent to `moderation_bank_reviews_total`; `labels`: of the banks."""
    async with database.connect() as connection:
        for row in await connection.execute(_reviewed().where(reviews.c.review_id.in_(review_ids))):
            bank = labels.get(row.bank, "other")
            metrics.BANK_REVIEWS.labels(bank, str(_agrees(row)).lower()).inc()


def _reviewed() -> Select[Any]:
    columns = (reviews.c.verdict_id, reviews.c.reviewer, reviews.c.decision)
    return (
        select(*columns, bank_matches.c.bank, bank_matches.c.action)
        .join(verdicts, verdicts.c.verdict_id == reviews.c.verdict_id)
        .join(bank_matches, bank_matches.c.verdict_seq == verdicts.c.seq)
        .where(reviews.c.audit_round.is_(None))
    )


def _agrees(row: Row[Any]) -> bool:
    """Whether the person found what the bank says: harm, or with `allow` that there is none."""
    return (ReviewDecision(row.decision) is ReviewDecision.ALLOW) == (BankAction(row.action) is BankAction.ALLOW)
