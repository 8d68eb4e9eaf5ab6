"""Audits: a random sample of all decisions, allows among them, that people judge blind."""

from typing import Annotated

from pydantic import Field

from moderation_service.contracts.base import Contract, Identifier
from moderation_service.contracts.enums import AuditRound

InclusionProbability = Annotated[float, Field(gt=0, le=1)]


class AuditDraw(Contract):
    """A verdict's stratum, the probability with which the stratum's verdicts are audited, and whether this one is.

    `second`: two people answer. Every verdict has its stratum, so that strata can be counted.
    """

    stratum: Identifier
    probability: InclusionProbability
    is_sampled: bool
    second: bool = False


class ReviewAudit(Contract):
    """What a review in an audit carries, so that reviews alone are enough to weigh it."""

    round: AuditRound
    stratum: Identifier
    probability: InclusionProbability
