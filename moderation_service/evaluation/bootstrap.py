"""95% intervals by the percentile bootstrap (Efron, 1979) over families of posts, and blocks of figures with them.

A family (a post with all its answers, and the posts made from it) is drawn as a whole: its answers are not independent,
and an interval that takes them for so would be too narrow.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from moderation_service.evaluation.answers import Answers, Floats, Ints

RESAMPLES = 200
_DIGITS = 4
Interval = tuple[float, float] | None


def intervals(
    figures: Callable[[Ints], dict[str, float]], family: Ints, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, Interval]:
    """For each name that `figures` gives of all rows its 95% interval; None where it could not be told.

    `figures` is called with row numbers, `family` holds each row's family.
    """
    named = figures(np.arange(len(family)))
    if not len(family):
        return dict.fromkeys(named)
    order = np.argsort(family, kind="stable")
    _, starts, sizes = np.unique(family[order], return_index=True, return_counts=True)
    rng = np.random.default_rng([seed, resamples])
    drawn = np.full((resamples, len(named)), np.nan)
    for number in range(resamples):
        found = figures(order[_rows(rng.integers(len(starts), size=len(starts)), starts, sizes)])
        drawn[number] = [found.get(name, np.nan) for name in named]
    return {name: _interval(drawn[:, at]) for at, name in enumerate(named)}


def _rows(chosen: Ints, starts: Ints, sizes: Ints) -> Ints:
    """All rows of the chosen families, one behind the other."""
    counts = sizes[chosen]
    ends = np.cumsum(counts)
    rows: Ints = np.arange(ends[-1]) + np.repeat(starts[chosen] - (ends - counts), counts)
    return rows


def _interval(values: Floats) -> Interval:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Blocks of figures as they stand in the JSON: rounded, each with its interval, null where it can't be told."""

    seed: int = 0
    resamples: int = RESAMPLES

    def block(self, figures: Callable[[Ints], dict[str, float]], family: Ints) -> dict[str, Any]:
        """The figures of all rows, with `intervals` beside them. `figures` takes row numbers."""
        if not len(family):
            return {}
        found = intervals(figures, family, seed=self.seed, resamples=self.resamples)
        shown = {name: None if pair is None else [rounded(end) for end in pair] for name, pair in found.items()}
        return {**{name: rounded(value) for name, value in figures(np.arange(len(family))).items()}, "intervals": shown}

    def of_answers(self, rows: Answers, figures: Callable[[Answers], dict[str, float]]) -> dict[str, Any]:
        """A block over answers, with how many there are."""
        counts = {"answers": len(rows), "violations": int(rows.truth.sum())}
        return {**counts, **self.block(lambda at: figures(rows.take(at)), rows.family)}


def rounded(value: float) -> float | None:
    """Four digits; null for what can't be told."""
    return None if math.isnan(value) else round(float(value), _DIGITS)
