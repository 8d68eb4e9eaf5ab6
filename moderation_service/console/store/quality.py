"""What people's decisions say of the policies, and what shadow policies would change."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.audits.proportion import Proportion
from moderation_service.console.store.tables import case_results, reviews, verdicts
from moderation_service.contracts.enums import Decision, Outcome, ReviewDecision
from moderation_service.judging.shadow import is_flip
from moderation_service.judging.shadow_model import model_flips

_REVIEWS = 50_000  # the newest; more would say the same


@dataclass(slots=True)
class Quality:
    """From the reviews since a day; of several by one person on one verdict the last counts."""

    reviews: int = 0
    policies: dict[str, Proportion] = field(default_factory=dict)  # said to be violated: people agreed
    overturned: Proportion = field(default_factory=Proportion)  # of blocks and allows: decided otherwise
    let_go: Proportion = field(default_factory=Proportion)  # of what was sent to review: allowed
    agreed: Proportion = field(default_factory=Proportion)  # of verdicts with several reviewers: all decided the same


@dataclass(slots=True)
class Lately:
    """Of the newest verdicts: how many violated a policy, and where a shadow policy would change the outcome.

    `model_flips`: where only one of the model in force and the shadow model finds a policy violated, of `model_seen`.
    """

    seen: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    flips: Counter[str] = field(default_factory=Counter)
    shadowed: set[str] = field(default_factory=set)
    model_seen: int = 0
    model_flips: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class CaseRow:
    """A policy's case as it was run last."""

    policy_id: str
    case_name: str
    policy_digest: str
    as_expected: bool
    decided: str
    score: float
    ran_at: datetime


async def quality(database: AsyncEngine, since: datetime) -> Quality:
    """What people said of the verdicts since then, but for audits: these are of another sample, and weigh otherwise."""
    query = (
        select(
            reviews.c.verdict_id,
            reviews.c.reviewer,
            reviews.c.decision,
            reviews.c.verdict_decision,
            reviews.c.policies,
            verdicts.c.policies.label("judged"),
        )
        .join(verdicts, verdicts.c.verdict_id == reviews.c.verdict_id, isouter=True)
        .where(reviews.c.reviewed_at >= since, reviews.c.audit_round.is_(None))
        .order_by(reviews.c.reviewed_at.desc())
        .limit(_REVIEWS)
    )
    async with database.connect() as connection:
        rows = (await connection.execute(query)).all()
    last = {(row.verdict_id, row.reviewer): row for row in reversed(rows)}.values()
    found = Quality(reviews=len(rows))
    by_verdict = dict[str, list[str]]()
    for row in last:
        by_verdict.setdefault(row.verdict_id, []).append(row.decision)
        if row.verdict_decision == Decision.REVIEW:
            found.let_go.add(row.decision == ReviewDecision.ALLOW)
        elif row.verdict_decision and not Decision(row.verdict_decision).needs_review:
            found.overturned.add(row.decision != row.verdict_decision)
        _answers(found.policies, row.policies, row.judged or ())
    for decisions in by_verdict.values():
        if len(decisions) > 1:
            found.agreed.add(len(set(decisions)) == 1)
    return found


def _answers(
    policies: dict[str, Proportion], said: Iterable[Mapping[str, Any]], judged: Iterable[Mapping[str, Any]]
) -> None:
    violated = {part["policy_id"] for part in judged if part["violated"]}
    for answer in said:
        if answer["policy_id"] in violated:
            policies.setdefault(answer["policy_id"], Proportion()).add(answer["violated"])


async def lately(database: AsyncEngine, limit: int) -> Lately:
    """Of the newest `limit` verdicts.

    Flips are as `moderation_shadow_flips_total` counts them: a post that is out of a shadow policy's scope counts as
    allowed by it. A verdict does not tell which those were: from the first post that a policy judged on, all are.
    """
    query = select(verdicts.c.policies, verdicts.c.rest, verdicts.c.decision)
    found = Lately()
    async with database.connect() as connection:
        rows = (await connection.execute(query.order_by(verdicts.c.seq.desc()).limit(limit))).all()
    for row in reversed(rows):
        found.seen += 1
        found.violations.update(part["policy_id"] for part in row.policies if part["violated"])
        enforced = {part["policy_id"]: Outcome(part["outcome"]) for part in row.policies}
        shadow = {part["policy_id"]: Outcome(part["outcome"]) for part in row.rest["shadow"]}
        found.shadowed |= shadow.keys()
        for policy_id in found.shadowed:
            outcome = shadow.get(policy_id, Outcome.ALLOW)
            found.flips[policy_id] += is_flip(outcome, enforced.get(policy_id), Decision(row.decision))
        if by_model := row.rest.get("shadow_model"):
            found.model_seen += 1
            parts = (by_model["policies"], row.policies)
            found.model_flips.update(
                model_flips(*({one["policy_id"]: one["violated"] for one in each} for each in parts))
            )
    return found


async def results(database: AsyncEngine) -> list[CaseRow]:
    """The last run of each case."""
    async with database.connect() as connection:
        return [CaseRow(*row) for row in await connection.execute(select(case_results))]
