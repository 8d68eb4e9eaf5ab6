"""Figures of whole posts: abstentions, decisions against those on a post's twin, and times."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score

from moderation_service.contracts.enums import Decision
from moderation_service.evaluation.answers import Bools, Ints
from moderation_service.evaluation.bootstrap import Bootstrap, rounded
from moderation_service.evaluation.run import JudgedPost, Run

_PERCENTILES = (50, 95, 99)


def violates(one: JudgedPost) -> bool | None:
    """Whether the post violates any policy; None where a label that could say so is missing."""
    if any(one.labelled.labels.values()):
        return True
    return False if all(part.policy_id in one.labelled.labels for part in one.verdict.policies) else None


def abstentions(judged: Sequence[JudgedPost], boot: Bootstrap) -> dict[str, Any]:
    """How often the decision was `abstain`, and how often a decision to flag or not was right on the other posts."""
    strength, families = _strength(judged), _families(judged)
    abstained = strength == Decision.ABSTAIN.strength
    truth = [violates(one) for one in judged]
    known = np.array([each is not None for each in truth], bool) & ~abstained
    right_is = np.array([bool(each) for each in truth], bool)

    def figures(at: Ints) -> dict[str, float]:
        decided = at[known[at]]
        right = (
            accuracy_score(right_is[decided], strength[decided] >= Decision.REVIEW.strength) if len(decided) else np.nan
        )
        return {"rate": float(abstained[at].mean()), "accuracy_on_decided": right}

    return {"posts": len(judged), "decided_and_known": int(known.sum()), **boot.block(figures, families)}


def against_twins(posts: Sequence[JudgedPost], judged: Sequence[JudgedPost], boot: Bootstrap) -> dict[str, Any] | None:
    """How often a post's decision is worse, or better, than that on the post it was made from; both mean the same.

    Worse is weaker on a post that violates, stronger on one that does not. Pairs whose labels or attribution
    differ, or that don't tell whether the post violates, are no such pairs; None where there is none.
    """
    originals = {one.labelled.post.post_id: one for one in judged}
    pairs = [
        (one, originals[one.labelled.twin_of], bad)
        for one in posts
        if one.labelled.twin_of in originals
        and _meaning(one) == _meaning(originals[one.labelled.twin_of])
        and (bad := violates(one)) is not None
    ]
    if not pairs:
        return None
    change = _strength([one for one, _, _ in pairs]) - _strength([twin for _, twin, _ in pairs])
    worse: Ints = np.where(np.array([bad for _, _, bad in pairs]), -change, change)
    lost: Bools = worse > 0

    def figures(at: Ints) -> dict[str, float]:
        return {"worse_share": float(lost[at].mean()), "better_share": float((worse[at] < 0).mean())}

    return {"pairs": len(pairs), **boot.block(figures, _families([one for one, _, _ in pairs]))}


def latency(run: Run) -> dict[str, Any]:
    """Percentiles over all posts in milliseconds, and posts a second; many posts were in work at once."""
    times = {
        name: [getattr(one.verdict.timings_ms, name) for one in run.judged]
        for name in ("total", "score", "attribution")
    }
    found: dict[str, Any] = {
        name: {f"p{each}": rounded(np.percentile(values, each)) for each in _PERCENTILES}
        for name, values in times.items()
        if values
    }
    return {**found, "posts_per_second": rounded(len(run.judged) / run.seconds) if run.seconds else None}


def _meaning(one: JudgedPost) -> tuple[dict[str, bool], dict[str, str]]:
    return dict(one.labelled.labels), dict(one.labelled.attribution)


def _strength(judged: Sequence[JudgedPost]) -> Ints:
    return np.array([one.verdict.decision.strength for one in judged], np.int64)


def _families(judged: Sequence[JudgedPost]) -> Ints:
    return np.unique([one.labelled.family for one in judged], return_inverse=True)[1].astype(np.int64)
