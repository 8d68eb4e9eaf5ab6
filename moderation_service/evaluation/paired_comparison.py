"""Two models on the same posts: figures before and after, and 95% intervals of the differences by a paired bootstrap.

A resample draws families of posts and takes both models' answers on them, so what makes a post hard for both does not
widen the interval of the difference.

Whether anything was learnt is told by ranking: the mean of the policies' PR-AUC, weighted by their violations. A model
that answers *yes* more often, or as often as the labels do, gains F1 without telling one post from another; its PR-AUC
stays that of chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from moderation_service.evaluation import metrics
from moderation_service.evaluation.answers import Answers, Bools, Ints, answers, policies_of
from moderation_service.evaluation.bootstrap import intervals, rounded
from moderation_service.evaluation.figures import combined_rows
from moderation_service.evaluation.run import JudgedPost

RESAMPLES = 1000
RANKING = "ranking"
"""The figure that tells whether anything was learnt."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after; None where the posts can't tell it. `interval` is that of the difference."""

    before: float | None
    after: float | None
    difference: float | None
    interval: tuple[float, float] | None

    @property
    def is_better(self) -> bool:
        """Whether all of the interval lies above zero."""
        return self.interval is not None and self.interval[0] > 0

    @property
    def is_worse(self) -> bool:
        """Whether all of the interval lies under zero."""
        return self.interval is not None and self.interval[1] < 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures by name, on how many posts."""

    posts: int
    changes: Mapping[str, Change]

    @property
    def is_improved(self) -> bool:
        """Whether the posts are ranked significantly better."""
        return self.changes[RANKING].is_better

    @property
    def worse(self) -> tuple[str, ...]:
        """The figures that are significantly worse. Of many that did not change, one in forty looks so."""
        return tuple(name for name, change in self.changes.items() if change.is_worse)

    def as_json(self) -> dict[str, Any]:
        """As it stands in an adapter's card."""
        changes = {name: asdict(change) for name, change in self.changes.items()}
        return {"posts": self.posts, "changes": changes, "worse": list(self.worse), "is_improved": self.is_improved}


def compare(
    before: Sequence[JudgedPost], after: Sequence[JudgedPost], *, seed: int = 0, resamples: int = RESAMPLES
) -> Comparison:
    """Compare two runs over the same labelled posts, which stand in the same order."""
    old, new, policies = answers(before), answers(after), policies_of(before)
    groups = _groups(before, old, policies)

    def figures(rows: Ints) -> dict[str, float]:
        sides = [
            _figures(each.take(rows), {name: chosen[rows] for name, chosen in groups.items()}) for each in (old, new)
        ]
        named = {f"{name}{_SIDES[at]}": value for at, side in enumerate(sides) for name, value in side.items()}
        return named | {name: sides[1][name] - sides[0][name] for name in sides[0]}

    spread = intervals(figures, old.family, seed=seed, resamples=resamples)
    found = figures(np.arange(len(old)))
    changes = {
        name: Change(
            before=rounded(found[f"{name} before"]),
            after=rounded(found[f"{name} after"]),
            difference=rounded(found[name]),
            interval=spread[name],
        )
        for name in found
        if not name.endswith(_SIDES)
    }
    return Comparison(len(before), changes)


_SIDES = (" before", " after")


def _groups(judged: Sequence[JudgedPost], rows: Answers, policies: Sequence[str]) -> dict[str, Bools]:
    """The rows that have figures of their own."""
    language = np.array([one.verdict.content.language for one in judged])[rows.post]
    groups: dict[str, Bools] = {"all": np.ones(len(rows), bool), "combined": combined_rows(rows, rows)}
    groups |= {f"policy {name}": rows.policy == number for number, name in enumerate(policies)}
    groups |= {f"language {name}": language == name for name in np.unique(language).tolist()}
    slices = dict.fromkeys(name for one in judged for name in one.labelled.slices)
    held = {name: np.array([name in one.labelled.slices for one in judged], bool)[rows.post] for name in slices}
    return groups | {f"slice {name}": chosen for name, chosen in held.items()}


def _figures(rows: Answers, groups: Mapping[str, Bools]) -> dict[str, float]:
    return {
        RANKING: _ranking(rows),
        "attribution": metrics.attribution(rows.meant, rows.told)["macro_f1"],
        **{
            f"F1 {name}": metrics.detection(rows.truth[chosen], rows.flagged[chosen])["f1"]
            for name, chosen in groups.items()
        },
    }


def _ranking(rows: Answers) -> float:
    own = [rows.policy == number for number in np.unique(rows.policy)]
    found = [(metrics.pr_auc(rows.truth[at], rows.raw[at]), int(rows.truth[at].sum())) for at in own]
    known = [(value, violations) for value, violations in found if not np.isnan(value)]
    total = sum(violations for _, violations in known)
    return sum(value * violations for value, violations in known) / total if known else np.nan
