"""An audited verdict: how it was drawn, what was judged, and what people answered who saw none of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from moderation_service.contracts.enums import AttributionClass, AuditRound, ClosedSet, Decision


class AnswerBasis(ClosedSet):
    """Which answer is the label: the first alone, or what stands after a second answer and its adjudication."""

    FIRST = "first"
    ADJUDICATED = "adjudicated"


class Stratum(NamedTuple):
    """Verdicts that are drawn with one probability. Where the rates change, one name gives several strata."""

    name: str
    probability: float


@dataclass(frozen=True, slots=True)
class JudgedPolicy:
    """What the verdict says of one policy."""

    version: int
    score: float
    violated: bool
    attribution: AttributionClass | None = None


@dataclass(frozen=True, slots=True)
class BlindAnswer:
    """One person's answers by policy, in one round."""

    round: AuditRound
    reviewer: str
    violated: Mapping[str, bool]


@dataclass(frozen=True, slots=True)
class AuditedVerdict:
    """A verdict with its blind answers. It stands for all `copies` of its content in the period, itself included."""

    verdict_id: str
    stratum: Stratum
    copies: int
    language: str
    judged_at: datetime
    decision: Decision
    policies: Mapping[str, JudgedPolicy]
    answers: tuple[BlindAnswer, ...]

    def labels(self, basis: AnswerBasis = AnswerBasis.ADJUDICATED) -> Mapping[str, bool]:
        """By policy, whether the post violates it, by people; without the policies that nobody was asked about.

        Where two differ, and nobody has adjudicated yet, the first answer stands.
        """
        rounds = {answer.round: answer.violated for answer in self.answers}
        first = rounds.get(AuditRound.FIRST, {})
        return first if basis is AnswerBasis.FIRST else {**first, **rounds.get(AuditRound.ADJUDICATION, {})}
