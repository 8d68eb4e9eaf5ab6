"""`GET /v1/quality`: how often decisions are wrong, as estimated from blind audits."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from moderation_service.audits.estimation import Estimate
from moderation_service.audits.ratio_interval import Measure
from moderation_service.console.api.operation import Call
from moderation_service.console.store import error_rates
from moderation_service.contracts.base import Identifier, Moment


class QualityQuery(BaseModel):
    """Verdicts of which days and language; with `policy_id` of this policy alone, in detail."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[int, Field(ge=1, le=366)] = 30
    language: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    policy_id: Identifier | None = None


class ReviewerAgreement(BaseModel):
    """Of first and second blind answers; null where there are under 30 pairs, or all answers are the same."""

    pairs: int
    share: float | None
    cohens_kappa: float | None
    krippendorffs_alpha: float | None


class PolicyQuality(BaseModel):
    """Estimates with 95% intervals. `policy_id` null: of the decisions. `first_answer`: without adjudication."""

    policy_id: str | None
    estimates: list[Estimate]
    first_answer: list[Estimate]
    agreement: ReviewerAgreement


class SliceQuality(BaseModel):
    """The verdicts of one language, attribution class (its precision alone) or policy version."""

    kind: str
    name: str
    estimates: list[Estimate]


class MeasureChange(BaseModel):
    """Since the period before, with the 95% interval of the difference."""

    measure: Measure
    difference: float
    low: float
    high: float


class ExpectedRecall(BaseModel):
    """The interval of recall that so many audits a day would give."""

    per_day: int
    low: float
    high: float


class QualityEstimates(BaseModel):
    """Of the verdicts since then; `answered`: contents that people audited. The last three are of `policy_id` alone."""

    since: Moment
    until: Moment
    verdicts: int
    answered: int
    policies: list[PolicyQuality]
    slices: list[SliceQuality] = []
    changes: list[MeasureChange] = []
    power: list[ExpectedRecall] = []


async def estimated(call: Call) -> Response:
    """Estimate error rates from the audits of the last days. Without enough labels there is a `refusal`, no number."""
    query: QualityQuery = call.query
    now, length = datetime.now(UTC), timedelta(days=query.days)
    audits = await error_rates.read(call.context.database, now - length, now)
    asked = [query.policy_id] if query.policy_id else [None, *(policy.id for policy in call.context.pack.enforced)]
    found = await error_rates.rates(audits, asked, query.language)
    answer = QualityEstimates(
        since=audits.since,
        until=audits.until,
        verdicts=audits.verdicts,
        answered=len(audits.answered),
        policies=[_of_policy(rates) for rates in found],
    )
    if query.policy_id:
        before = await error_rates.read(call.context.database, now - 2 * length, now - length)
        detail = await error_rates.detail(audits, before, query.policy_id, query.language)
        answer.slices = [
            SliceQuality(kind=one.kind, name=one.name, estimates=list(one.estimates.values())) for one in detail.slices
        ]
        answer.changes = [
            MeasureChange(measure=one.measure, difference=one.difference, low=one.low, high=one.high)
            for one in detail.changes
        ]
        answer.power = [ExpectedRecall(per_day=one.per_day, low=one.low, high=one.high) for one in detail.power]
    return Response(answer.model_dump_json(), media_type="application/json")


def _of_policy(rates: error_rates.ErrorRates) -> PolicyQuality:
    said = rates.agreement
    return PolicyQuality(
        policy_id=rates.policy_id,
        estimates=list(rates.estimates.values()),
        first_answer=list(rates.first_answer.values()),
        agreement=ReviewerAgreement(
            pairs=said.pairs, share=said.share, cohens_kappa=said.kappa, krippendorffs_alpha=said.alpha
        ),
    )
