"""How right the automated means are, from audits: blind answers on a random sample of all decisions.

A post violates where people say so of any enforced policy, and is detected where it was blocked or sent to review.
Abstentions are neither and left out. Reviews of the queue say nothing here: what gets there was chosen by its score.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from moderation_service.audits.audited import AuditedVerdict, Stratum
from moderation_service.audits.estimation import Estimate, Refusal, estimates
from moderation_service.audits.ratio_interval import Measure
from moderation_service.console.transparency.template import LANGUAGES
from moderation_service.contracts.enums import Decision

REFUSALS: Mapping[Refusal | None, str] = {
    Refusal.FEW_LABELS: "too few labels",
    Refusal.FEW_POSITIVES: "too few violations among the labels",
    Refusal.UNSEEN_STRATA: "some strata have too few labels",
}
_NO_LABELS = Estimate(Measure.ACCURACY, 0, 0, refusal=Refusal.FEW_LABELS)


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Of one language or of all.

    `wrong_blocks`: of automatic blocks, those that violate no policy. `wrong_allows`: of posts that were allowed, those
    that violate one.
    """

    accuracy: Estimate = _NO_LABELS
    precision: Estimate = _NO_LABELS
    recall: Estimate = _NO_LABELS
    wrong_blocks: Estimate = _NO_LABELS
    wrong_allows: Estimate = _NO_LABELS

    @property
    def labels(self) -> int:
        """Contents that people labelled."""
        return self.accuracy.labels


def accuracies(
    audited: Sequence[AuditedVerdict], population: Mapping[Stratum, int], languages: Mapping[str, str | None]
) -> dict[str | None, Accuracy]:
    """By official language, and under None of all posts. `languages` by verdict id, as the posts named them."""
    found: dict[str | None, Accuracy] = {None: _accuracy(audited, population, lambda _: True)}
    for language in LANGUAGES:
        some = language in languages.values()
        found[language] = _accuracy(audited, population, _spoken(languages, language)) if some else Accuracy()
    return found


def in_words(estimate: Estimate) -> str:
    """What stands beside the figure, or in its place."""
    if (interval := estimate.interval) is None:
        return f"{REFUSALS[estimate.refusal]} ({estimate.labels} of blind audits)" if estimate.labels else "no audits"
    return f"95% interval {interval[1]:.4f} to {interval[2]:.4f}; {estimate.labels} labels of blind audits"


def rate_of_error(found: Accuracy) -> str:
    """A draft for the qualitative template."""
    if not found.labels:
        return "Not measured: no decision of the period was audited."
    return (
        f"Estimated from {found.labels} decisions of a random sample that people judged blind, weighed by their"
        f" probability of being drawn. Automatic blocks that violate no policy: {_percent(found.wrong_blocks)}. Allowed"
        f" posts that violate one: {_percent(found.wrong_allows)}. The intervals are of sampling alone; people err too."
    )


def _accuracy(
    audited: Sequence[AuditedVerdict], population: Mapping[Stratum, int], where: Callable[[AuditedVerdict], bool]
) -> Accuracy:
    def of(*decisions: Decision) -> dict[Measure, Estimate]:
        return estimates(audited, population, where=lambda one: one.decision in decisions and where(one))

    told = of(Decision.ALLOW, Decision.REVIEW, Decision.BLOCK)
    blocks, allows = of(Decision.BLOCK)[Measure.ACCURACY], of(Decision.ALLOW)[Measure.ACCURACY]
    wrong = (_complement(blocks), _complement(allows))
    return Accuracy(told[Measure.ACCURACY], told[Measure.PRECISION], told[Measure.RECALL], *wrong)


def _spoken(languages: Mapping[str, str | None], language: str) -> Callable[[AuditedVerdict], bool]:
    return lambda one: languages.get(one.verdict_id) == language


def _complement(estimate: Estimate) -> Estimate:
    if (interval := estimate.interval) is None:
        return estimate
    value, low, high = interval
    return replace(estimate, value=1 - value, low=1 - high, high=1 - low)


def _percent(estimate: Estimate) -> str:
    if (interval := estimate.interval) is None:
        return in_words(estimate)
    value, low, high = interval
    return f"{value:.1%} (95% interval {low:.1%} to {high:.1%})"
