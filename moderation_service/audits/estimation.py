"""Estimates of how often decisions are wrong, from audits: each with its interval and the labels behind it."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import log

import numpy as np

from moderation_service.audits.audited import AnswerBasis, AuditedVerdict, Stratum
from moderation_service.audits.ratio_interval import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    OUTSIDE,
    TRUE_NEGATIVE,
    TRUE_POSITIVE,
    Floats,
    Measure,
    Tally,
    ratio_interval,
)
from moderation_service.contracts.enums import ClosedSet

LEAST_LABELS, LEAST_POSITIVES = 30, 10
_LEAST_CONTENTS = 2  # labelled in a stratum, for its variance
_MOST_UNSEEN = 0.05  # of the verdicts, in strata with fewer

Where = Callable[[AuditedVerdict], bool]


class Refusal(ClosedSet):
    """Why there is no number."""

    FEW_LABELS = "few_labels"
    FEW_POSITIVES = "few_positives"
    UNSEEN_STRATA = "unseen_strata"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its 95% interval, or why it can't be told.

    `labels`: contents that people labelled, of precision those that were flagged. `positives`: violations among them;
    of precision and of the false-positive rate what was flagged, of accuracy all labels.
    """

    measure: Measure
    labels: int
    positives: int
    value: float | None = None
    low: float | None = None
    high: float | None = None
    refusal: Refusal | None = None

    @property
    def interval(self) -> tuple[float, float, float] | None:
        """The value and the ends of its interval; None where it was refused."""
        if self.value is None or self.low is None or self.high is None:
            return None
        return self.value, self.low, self.high


def estimates(
    audited: Iterable[AuditedVerdict],
    population: Mapping[Stratum, int],
    policy_id: str | None = None,
    *,
    where: Where | None = None,
    basis: AnswerBasis = AnswerBasis.ADJUDICATED,
) -> dict[Measure, Estimate]:
    """All measures of a policy, of the verdicts that `where` takes; without a policy, of the decision on the post.

    `population`: all verdicts of the period by stratum, labelled or not. A decision flags a post by `review` or
    `block`, and is right to where any policy is violated.
    """
    tally, unseen = tally_of(audited, population, policy_id, where=where, basis=basis)
    counts = tally.contents.sum(0)
    return {measure: _estimate(tally, counts, measure, unseen) for measure in Measure}


def tally_of(
    audited: Iterable[AuditedVerdict],
    population: Mapping[Stratum, int],
    policy_id: str | None = None,
    *,
    where: Where | None = None,
    basis: AnswerBasis = AnswerBasis.ADJUDICATED,
) -> tuple[Tally, float]:
    """What the estimates are computed from, and the share of verdicts whose own stratum has too few labels.

    Strata with fewer than two labels are counted with the one whose probability is nearest (collapsed strata; Cochran,
    "Sampling Techniques", 1977, 5A.12).
    """
    rows = [
        (one, state if where is None or where(one) else OUTSIDE)
        for one in audited
        if one.stratum in population and (state := _state(one, policy_id, basis)) is not None
    ]
    places, sizes, unseen = _collapsed(population, Counter(one.stratum for one, _ in rows))
    strata = np.array([places[one.stratum] for one, _ in rows], np.intp)
    states = np.array([state for _, state in rows], np.intp)
    return Tally.of(sizes, strata, states, np.array([one.copies for one, _ in rows], float)), unseen


def _state(one: AuditedVerdict, policy_id: str | None, basis: AnswerBasis) -> int | None:
    """None: without a label. A post on which the policy was not judged is outside."""
    labels = one.labels(basis)
    if policy_id is None:
        flagged = one.decision.says_violation
        return _named(flagged=flagged, violated=any(labels.values())) if labels else None
    if policy_id not in one.policies:
        return OUTSIDE
    if policy_id not in labels:
        return None
    return _named(flagged=one.policies[policy_id].violated, violated=labels[policy_id])


def _named(*, flagged: bool, violated: bool) -> int:
    if flagged:
        return TRUE_POSITIVE if violated else FALSE_POSITIVE
    return FALSE_NEGATIVE if violated else TRUE_NEGATIVE


def _collapsed(
    population: Mapping[Stratum, int], labelled: Mapping[Stratum, int]
) -> tuple[dict[Stratum, int], Floats, float]:
    """The row of each stratum, the verdicts of each row, and the share of verdicts in strata with too few labels."""
    rich = [stratum for stratum in population if labelled.get(stratum, 0) >= _LEAST_CONTENTS]
    total = sum(population.values())
    if not rich:
        return dict.fromkeys(population, 0), np.array([float(total)]), 1.0
    row = {stratum: at for at, stratum in enumerate(rich)}
    sizes, unseen = np.zeros(len(rich)), 0
    for stratum, size in population.items():
        if stratum not in row:
            unseen += size
            row[stratum] = min(range(len(rich)), key=lambda at: abs(log(rich[at].probability / stratum.probability)))
        sizes[row[stratum]] += size
    return row, sizes, unseen / total


def _estimate(tally: Tally, counts: Floats, measure: Measure, unseen: float) -> Estimate:
    ratio = measure.ratio
    labels, positives = int(counts[[*ratio.labels]].sum()), int(counts[[*ratio.positives]].sum())
    if labels < LEAST_LABELS:
        return Estimate(measure, labels, positives, refusal=Refusal.FEW_LABELS)
    if positives < LEAST_POSITIVES or not counts[[*ratio.denominator]].any():
        return Estimate(measure, labels, positives, refusal=Refusal.FEW_POSITIVES)
    if unseen > _MOST_UNSEEN:
        return Estimate(measure, labels, positives, refusal=Refusal.UNSEEN_STRATA)
    value, low, high = (float(number) for number in ratio_interval(tally, measure))
    return Estimate(measure, labels, positives, value, low, high)
