"""A block of figures as it stands in the JSON: rounded, each with its interval, null where it can't be told."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from moderation_service.evaluation.answers import Answers, Ints
from moderation_service.evaluation.bootstrap import RESAMPLES, intervals

_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are made."""

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
