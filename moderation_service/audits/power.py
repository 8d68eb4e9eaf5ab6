"""Power table: which interval so many audits a day would give."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from moderation_service.audits.ratio_interval import Floats, Measure, Tally, ratio_interval

PER_DAY = (50, 100, 200, 500, 1_000, 2_000)


@dataclass(frozen=True, slots=True)
class Power:
    """The interval that is expected of so many audits a day."""

    per_day: int
    low: float
    high: float


def power_table(observed: Tally, measure: Measure, days: float, per_day: Sequence[int] = PER_DAY) -> list[Power]:
    """By the strata and the labels of `days`, were there more or fewer of them, spread over the strata as they are.

    A number of audits with which nothing that the measure is a share of would be found is left out.
    """
    labels, found = observed.contents.sum(), list[Power]()
    for audits in per_day:
        _, low, high = ratio_interval(expected(observed, audits * days / max(labels, 1.0)), measure)
        if not np.isnan(low):
            found.append(Power(audits, float(low), float(high)))
    return found


def expected(tally: Tally, factor: float | Floats = 1.0) -> Tally:
    """What the median sample holds with `factor` times the labels, by stratum, as far as there are verdicts.

    Of a state of which fewer than ln 2 contents are expected it holds none (Poisson).
    """
    most = np.maximum(tally.population / np.maximum(tally.copies.sum(-1), 1.0), 1.0)
    by = np.minimum(factor, most)[..., None]
    by = np.where(tally.contents * by < log(2), 0.0, by)
    return Tally(tally.population, *(sums * by for sums in (tally.contents, tally.copies, tally.squares, tally.cubes)))
