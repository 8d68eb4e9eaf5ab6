"""Go or no-go: criteria that were fixed beforehand, against estimates from labelled posts.

A criterion is met where its estimate's whole 95% interval meets it, and missed where none of the interval does.
Between lie too few labels to say. The intervals are Wilson's, which hold for few posts and for shares of 0 and 1, where
those of a bootstrap shrink to nothing. They take posts to be independent.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from moderation_service.audits.proportion import Proportion
from moderation_service.contracts.enums import AttributionClass, ClosedSet, Decision
from moderation_service.evaluation.answers import CLASSES, UNKNOWN, answers, policies_of
from moderation_service.evaluation.costs import CostInputs, Costs
from moderation_service.evaluation.decisions import violates
from moderation_service.evaluation.figures import SCORES
from moderation_service.evaluation.interval_estimate import IntervalEstimate
from moderation_service.evaluation.run import JudgedPost

_NOTHING = "–"  # what is found among no posts


class GoNoGo(ClosedSet):
    """What becomes of a criterion. Of several the one furthest down counts."""

    GO = "go"
    TOO_FEW_LABELS = "too few labels to say"
    NO_GO = "no go"

    @property
    def order(self) -> int:
        """Of two the larger counts."""
        return list(GoNoGo).index(self)


class Criteria(BaseModel):
    """What must be so, stated before anything is measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    recall: float = Field(gt=0, lt=1, description="At least this share of violating posts is not simply allowed.")
    combined_recall: float | None = Field(
        gt=0, lt=1, description="The same of posts that violate by the combination alone; None: is not asked."
    )
    precision: float = Field(gt=0, lt=1, description="At least this share of flagged posts violates.")
    review_share: float = Field(gt=0, lt=1, description="At most this share of the platform's posts goes to a person.")
    cost: float = Field(gt=0, description="At most, a month.")


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """A criterion, what was found, and on what `basis`."""

    name: str
    wanted: str
    found: str
    basis: str
    result: GoNoGo


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """One policy on its labels: violations that were flagged, and flags that were right."""

    policy: str
    recall: Proportion
    precision: Proportion
    result: GoNoGo


@dataclass(frozen=True, slots=True)
class FoundViolations:
    """Labelled violations of one attribution class, and how many each of SCORES finds; None: without a class."""

    attribution: AttributionClass | None
    labelled: int
    found: dict[str, int]


@dataclass(frozen=True, slots=True)
class Assessment:
    """All results on `violating` and `harmless` posts. `prevalence` is the share of violating posts on the platform."""

    results: tuple[CriterionResult, ...]
    policies: tuple[PolicyResult, ...]
    violations: tuple[FoundViolations, ...]
    costs: Costs
    violating: int
    harmless: int
    prevalence: float

    @property
    def result(self) -> GoNoGo:
        """Of all criteria."""
        return worst(one.result for one in self.results)


def worst(results: Iterable[GoNoGo]) -> GoNoGo:
    """`no go` before `too few labels` before `go`."""
    return max(results, key=lambda one: one.order)


def at_least(found: IntervalEstimate, threshold: float) -> GoNoGo:
    """Whether the value is as large as is wanted."""
    if found.low < threshold <= found.high:
        return GoNoGo.TOO_FEW_LABELS
    return GoNoGo.GO if found.low >= threshold else GoNoGo.NO_GO


def at_most(found: IntervalEstimate, threshold: float) -> GoNoGo:
    """Whether the value is as small as is wanted."""
    if found.low <= threshold < found.high:
        return GoNoGo.TOO_FEW_LABELS
    return GoNoGo.GO if found.high <= threshold else GoNoGo.NO_GO


def in_percent(found: IntervalEstimate, digits: int = 0) -> str:
    """A share with its interval, as a page has it."""
    return f"{found.value:.{digits}%} ({100 * found.low:.{digits}f} to {found.high:.{digits}%})"


def assess(judged: Sequence[JudgedPost], criteria: Criteria, inputs: CostInputs) -> Assessment:
    """Hold judged posts against the criteria.

    A post with a blank label counts where another label says that it violates; else its truth is unknown.
    """
    bad = [one for one in judged if violates(one) is True]
    good = [one for one in judged if violates(one) is False]
    prevalence = inputs.prevalence
    if prevalence is None:
        prevalence = len(bad) / max(1, len(bad) + len(good))
    sent = [IntervalEstimate.of(_count(posts, lambda decision: decision.needs_review)) for posts in (bad, good)]
    costs = Costs(inputs, IntervalEstimate.weighted(zip((prevalence, 1 - prevalence), sent, strict=True)))
    results = (
        *_recalls(bad, criteria),
        _precision(bad, good, prevalence, criteria.precision),
        *_review_and_cost(costs, criteria),
    )
    policies, violations = _policies(judged, criteria), _violations(judged)
    return Assessment(results, tuple(policies), tuple(violations), costs, len(bad), len(good), prevalence)


def _recalls(bad: Sequence[JudgedPost], criteria: Criteria) -> Iterator[CriterionResult]:
    wanted = [("Violating posts not let through", bad, criteria.recall)]
    if criteria.combined_recall is not None:
        combined = [one for one in bad if _is_combined(one)]
        wanted.append(("Of these: only text with image violates", combined, criteria.combined_recall))
    for name, posts, threshold in wanted:
        found = IntervalEstimate.of(_count(posts, lambda decision: decision.is_flagged))
        said, basis = in_percent(found) if posts else _NOTHING, f"{len(posts):,} posts"
        yield CriterionResult(name, f"≥ {threshold:.0%}", said, basis, at_least(found, threshold))


def _precision(
    bad: Sequence[JudgedPost], good: Sequence[JudgedPost], prevalence: float, threshold: float
) -> CriterionResult:
    hits, alarms = (_count(posts, lambda decision: decision.says_violation) for posts in (bad, good))
    flagged = hits.yes + alarms.yes
    found = IntervalEstimate.of(Proportion(hits.yes, flagged))
    right, wrong = (IntervalEstimate.of(part) for part in (hits, alarms))
    ends = [
        prevalence * one / max(prevalence * one + (1 - prevalence) * other, 1e-9)
        for one, other in ((right.low, wrong.high), (right.high, wrong.low))
    ]
    basis = f"{flagged:,} posts; {100 * ends[0]:.0f} to {ends[1]:.0%} at a prevalence of {prevalence:.1%}"
    return CriterionResult(
        "Flagged posts of the sheet that violate",
        f"≥ {threshold:.0%}",
        in_percent(found) if flagged else _NOTHING,
        basis,
        at_least(found, threshold),
    )


def _review_and_cost(costs: Costs, criteria: Criteria) -> Iterator[CriterionResult]:
    share, total, money = costs.review_share, costs.total, costs.inputs.currency
    yield CriterionResult(
        "Posts that go to a person",
        f"≤ {criteria.review_share:.0%}",
        in_percent(share, 1),
        "all posts, weighed by the prevalence",
        at_most(share, criteria.review_share),
    )
    yield CriterionResult(
        "Cards and reviewers, a month",
        f"≤ {criteria.cost:,.0f} {money}",
        f"{total.value:,.0f} {money} ({total.low:,.0f} to {total.high:,.0f})",
        "the inputs below",
        at_most(total, criteria.cost),
    )


def _policies(judged: Sequence[JudgedPost], criteria: Criteria) -> Iterator[PolicyResult]:
    every = answers(judged)
    for number, policy in enumerate(policies_of(judged)):
        rows = every.take(every.policy == number)
        hits = int((rows.truth & rows.flagged).sum())
        recall = Proportion(hits, int(rows.truth.sum()))
        precision = Proportion(hits, int(rows.flagged.sum()))
        wanted = ((recall, criteria.recall), (precision, criteria.precision))
        result = worst(at_least(IntervalEstimate.of(found), threshold) for found, threshold in wanted)
        yield PolicyResult(policy, recall, precision, result)


def _violations(judged: Sequence[JudgedPost]) -> Iterator[FoundViolations]:
    every = answers(judged)
    every = every.take(every.truth)
    for cls in (*AttributionClass, None):
        rows = every.take(every.meant == (UNKNOWN if cls is None else CLASSES.index(cls)))
        found = {name: int((score(rows) >= rows.threshold).sum()) for name, score in SCORES.items()}
        if len(rows):
            yield FoundViolations(cls, len(rows), found)


def _is_combined(one: JudgedPost) -> bool:
    """Whether each violation of the post is labelled as one that only image and text together make."""
    violated = [policy for policy, violates_it in one.labelled.labels.items() if violates_it]
    return all(one.labelled.attribution.get(policy) is AttributionClass.COMBINED for policy in violated)


def _count(posts: Sequence[JudgedPost], is_so: Callable[[Decision], bool]) -> Proportion:
    return Proportion(sum(is_so(one.verdict.decision) for one in posts), len(posts))
