"""Golden gate: a set's outcomes beside its baseline. A figure that falls by more than the margin refuses the change.

The drop itself decides, not its significance: a gate that waits for significance lets a small set lose what it was made
to hold. Beside the drop stand McNemar's exact test (McNemar, 1947) on the answers that became wrong and right, and the
paired bootstrap's interval of each difference: they say whether the drop would show on other posts too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from pydantic import JsonValue
from pydantic_core import to_jsonable_python

from moderation_service.contracts.enums import Decision
from moderation_service.evaluation.answers import Bools, Ints
from moderation_service.evaluation.bootstrap import Interval, intervals
from moderation_service.evaluation.golden_set import Baseline, GoldenOutcome
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.metrics import Figures, detection
from moderation_service.evaluation.run import JudgedPost
from moderation_service.telemetry.redaction import beginning

EVERY = "all policies"
_RESAMPLES = 1000
_ROUNDING = 1e-9  # a drop of 0.02 is within a margin of 0.02


@dataclass(frozen=True, slots=True)
class GoldenFlip:
    """A policy's answer on a labelled post that is another than in the baseline; a score is None where not asked."""

    post_id: str
    text: str
    images: int
    policy_id: str
    violates: bool
    is_right: bool
    old_score: float | None
    new_score: float | None
    old_decision: Decision
    new_decision: Decision


@dataclass(frozen=True, slots=True)
class PolicyGate:
    """One policy's figures before and after; `intervals` are of new - old, at 95%.

    `worse` answers became wrong and `better` right; `p_value` is that of McNemar's exact test on these, two-sided. A
    figure is NaN where the labels can't tell it. `fallen` names those that fell by more than the margin.
    """

    policy_id: str
    labels: int
    violations: int
    old: Figures
    new: Figures
    intervals: Mapping[str, Interval]
    worse: int
    better: int
    p_value: float
    fallen: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate found: all policies together first, then each; flips, those that became wrong first."""

    golden_set: str
    posts: int
    margin: float
    changes: tuple[str, ...]
    policies: tuple[PolicyGate, ...]
    flips: tuple[GoldenFlip, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing fell by more than the margin."""
        return not any(policy.fallen for policy in self.policies)

    def as_json(self) -> dict[str, JsonValue]:
        """All of it; NaN is null."""
        made: dict[str, JsonValue] = to_jsonable_python(self, inf_nan_mode="null")
        return {**made, "passed": self.passed}


def outcome(judged: JudgedPost) -> GoldenOutcome:
    """What the enforced policies decided on a labelled post."""
    parts = [part for part in judged.verdict.policies if part.policy_id in judged.labelled.labels]
    return GoldenOutcome(
        decision=judged.verdict.decision,
        scores={part.policy_id: part.score for part in parts},
        violated=tuple(part.policy_id for part in parts if part.violated),
    )


def compare(name: str, posts: Sequence[Labelled], baseline: Baseline, now: Baseline, margin: float) -> GateReport:
    """What is judged now beside the baseline of the same posts."""
    answers = [(one, policy) for one in posts for policy in sorted(one.labels)]
    truth = np.array([one.labels[policy] for one, policy in answers])
    before, after = (
        np.array([policy in outcomes[one.post.post_id].violated for one, policy in answers])
        for outcomes in (baseline.posts, now.posts)
    )
    families = {family: number for number, family in enumerate(dict.fromkeys(one.family for one in posts))}
    family = np.array([families[one.family] for one, _ in answers])
    of = np.array([policy for _, policy in answers])
    gates = [_gate(EVERY, truth, before, after, family, margin)]
    for policy in np.unique(of):
        rows = of == policy
        gates.append(_gate(str(policy), truth[rows], before[rows], after[rows], family[rows], margin))
    flipped = np.flatnonzero(before != after)
    flips = [_flip(*answers[at], baseline.posts, now.posts) for at in flipped]
    flips.sort(key=lambda flip: flip.is_right)
    changes = tuple(baseline.judged_by.changes(now.judged_by))
    return GateReport(name, len(posts), margin, changes, tuple(gates), tuple(flips))


def mcnemar(worse: int, better: int) -> float:
    """Two-sided p-value of McNemar's exact test: as likely worse as better, the flips would be as uneven as this."""
    flips = worse + better
    tail = sum(comb(flips, count) for count in range(min(worse, better) + 1))
    return min(1.0, float(2 * tail / 2**flips))


def _gate(policy: str, truth: Bools, before: Bools, after: Bools, family: Ints, margin: float) -> PolicyGate:
    old, new = _figures(truth, before), _figures(truth, after)

    def differences(rows: Ints) -> Figures:
        was, now = _figures(truth[rows], before[rows]), _figures(truth[rows], after[rows])
        return {name: now[name] - was[name] for name in was}

    worse, better = int(((before == truth) & (after != truth)).sum()), int(((before != truth) & (after == truth)).sum())
    return PolicyGate(
        policy_id=policy,
        labels=len(truth),
        violations=int(truth.sum()),
        old=old,
        new=new,
        intervals=intervals(differences, family, seed=0, resamples=_RESAMPLES),
        worse=worse,
        better=better,
        p_value=mcnemar(worse, better),
        fallen=tuple(name for name in old if old[name] - new[name] > margin + _ROUNDING),
    )


def _figures(truth: Bools, flagged: Bools) -> Figures:
    """Recall, F1 and specificity, so that more is better in each: without violations only the last can be told."""
    found = detection(truth, flagged)
    return {"recall": found["recall"], "f1": found["f1"], "specificity": 1 - found["false_alarm_rate"]}


def _flip(
    one: Labelled, policy: str, before: Mapping[str, GoldenOutcome], now: Mapping[str, GoldenOutcome]
) -> GoldenFlip:
    old, new = before[one.post.post_id], now[one.post.post_id]
    return GoldenFlip(
        post_id=one.post.post_id,
        text=beginning(one.post.text),
        images=len(one.post.images),
        policy_id=policy,
        violates=one.labels[policy],
        is_right=(policy in new.violated) == one.labels[policy],
        old_score=old.scores.get(policy),
        new_score=new.scores.get(policy),
        old_decision=old.decision,
        new_decision=new.decision,
    )
