"""A review: what a person decided on a verdict."""

from typing import Annotated, Literal

from pydantic import Field

from moderation_service.contracts.audit import ReviewAudit
from moderation_service.contracts.base import Contract, Identifier, Moment
from moderation_service.contracts.enums import AttributionClass, ReviewDecision


class PolicyReview(Contract):
    """The person's answer for one policy; `attribution_class` where they corrected it."""

    policy_id: Identifier
    violated: bool
    attribution_class: AttributionClass | None = None


class Review(Contract):
    """The record on the review topic, keyed by post. `audit` is set where it was made blind, of a random sample."""

    schema_version: Literal["1"] = "1"
    review_id: Identifier
    verdict_id: Identifier
    post_id: Identifier
    post_revision: int
    decision: ReviewDecision
    policies: tuple[PolicyReview, ...] = ()
    reason: Annotated[str, Field(max_length=4000)] = ""
    reviewer: Identifier
    reviewed_at: Moment
    audit: ReviewAudit | None = None
