"""Ratios of a stratified sample with 95% intervals: Horvitz-Thompson totals, self-normalised (Hajek, 1971).

The variance of a ratio is that of its linearised residuals within strata, of clusters of copies. The interval is a
score interval, as Wilson's is of a plain share: its ends are moved by the residuals' skewness, since a few labels of
great weight say less of what is above them than of what is below. Where a stratum's n labels are all alike they may
still have overlooked a share of 3.84 / (n + 3.84): the interval has room for it, by the heaviest of such strata.
All arrays may have leading axes, of runs that are computed at once.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self, assert_never

import numpy as np
from numpy.typing import NDArray

from moderation_service.contracts.enums import ClosedSet

Floats = NDArray[np.float64]
Z = 1.959964
"""Of 95%, two-sided."""
STATES = 5
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE, OUTSIDE = range(STATES)
"""What a labelled content is to a measure: flagged or not, violating or not; or outside of what is asked about."""
_LEAST = 1e-12


_States = tuple[int, ...]
_FLAGGED = (TRUE_POSITIVE, FALSE_POSITIVE)
_VIOLATING = (TRUE_POSITIVE, FALSE_NEGATIVE)
_ALL = (TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_NEGATIVE)
_OTHER_ANSWER = (FALSE_POSITIVE, TRUE_POSITIVE, TRUE_NEGATIVE, FALSE_NEGATIVE)
"""To each of them what the content were if people had answered otherwise."""


class Ratio(NamedTuple):
    """A measure by states: what is divided, which labels tell of it, and which of them are its `positives`."""

    numerator: _States
    denominator: _States
    labels: _States
    positives: _States


class Measure(ClosedSet):
    """What is estimated, as the ratio of two totals."""

    PREVALENCE = "prevalence"
    PRECISION = "precision"
    RECALL = "recall"
    FALSE_POSITIVE_RATE = "false_positive_rate"
    FALSE_NEGATIVE_RATE = "false_negative_rate"
    ACCURACY = "accuracy"

    @property
    def ratio(self) -> Ratio:
        """By states."""
        match self:
            case Measure.PREVALENCE:
                return Ratio(_VIOLATING, _ALL, _ALL, _VIOLATING)
            case Measure.PRECISION:
                return Ratio((TRUE_POSITIVE,), _FLAGGED, _FLAGGED, _FLAGGED)
            case Measure.RECALL:
                return Ratio((TRUE_POSITIVE,), _VIOLATING, _ALL, _VIOLATING)
            case Measure.FALSE_POSITIVE_RATE:
                return Ratio((FALSE_POSITIVE,), (FALSE_POSITIVE, TRUE_NEGATIVE), _ALL, _FLAGGED)
            case Measure.FALSE_NEGATIVE_RATE:
                return Ratio((FALSE_NEGATIVE,), _VIOLATING, _ALL, _VIOLATING)
            case Measure.ACCURACY:
                return Ratio((TRUE_POSITIVE, TRUE_NEGATIVE), _ALL, _ALL, _ALL)
        assert_never(self)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sufficient statistics of a stratified sample of clusters.

    `population`: verdicts by stratum, shape (..., strata). Of the labelled contents by stratum and state, shape
    (..., strata, STATES): `contents` how many, `copies` the sum of their copies, `squares` and `cubes` of their powers.
    """

    population: Floats
    contents: Floats
    copies: Floats
    squares: Floats
    cubes: Floats

    @classmethod
    def of(cls, population: Floats, stratum: NDArray[np.intp], state: NDArray[np.intp], copies: Floats) -> Self:
        """From the labelled contents, one a row."""
        cell, size = stratum * STATES + state, len(population) * STATES
        sums = [np.bincount(cell, copies**power, size).reshape(-1, STATES).astype(float) for power in range(4)]
        return cls(population, *sums)


def ratio_interval(tally: Tally, measure: Measure) -> tuple[Floats, Floats, Floats]:
    """The measure with the ends of its interval, each of the leading axes' shape; nan where nothing is divided by."""
    over, under = _indicator(measure.ratio.numerator), _indicator(measure.ratio.denominator)
    seen = tally.copies.sum(-1)
    weight = tally.population / np.maximum(seen, _LEAST)
    totals = (weight[..., None] * tally.copies).sum(-2)
    base = totals @ under
    base = np.where(base > 0, base, np.nan)
    value = totals @ over / base
    residual = over - value[..., None] * under  # by state; its total is 0
    below, above = _deviations(tally, residual[..., None, :])
    return value, np.maximum(value - below / base, 0.0), np.minimum(value + above / base, 1.0)


def change_interval(
    before: tuple[float, float, float], after: tuple[float, float, float]
) -> tuple[float, float, float]:
    """The difference of two independent estimates, `after - before`, with its interval from theirs.

    By the method of variance estimates recovery (Zou and Donner, 2008). Where the interval leaves out 0, the measure
    has changed, at the level of 5%.
    """
    (first, first_low, first_high), (last, last_low, last_high) = before, after
    below, above = np.hypot(last - last_low, first_high - first), np.hypot(last_high - last, first - first_low)
    return last - first, last - first - float(below), last - first + float(above)


def _deviations(tally: Tally, residual: Floats) -> tuple[Floats, Floats]:
    """How far the residuals' total may lie below and above 0."""
    contents, seen = tally.contents.sum(-1), np.maximum(tally.copies.sum(-1), _LEAST)
    mean = (tally.copies * residual).sum(-1) / seen
    off = residual - mean[..., None]
    left = np.clip(1 - seen / np.maximum(tally.population, _LEAST), 0.0, 1.0)  # finite population correction
    weight = tally.population / seen
    bessel = contents / np.maximum(contents - 1, 1)
    variances = left * bessel * weight**2 * (tally.squares * off**2).sum(-1)
    skews = left * (2 * left - 1) * weight**3 * (tally.cubes * off**3).sum(-1)
    variance = variances.sum(-1)
    shift = Z**2 / 2 * skews.sum(-1) / np.maximum(variance, _LEAST)
    half = np.sqrt(Z**2 * variance + shift**2)
    overlooked = _overlooked(tally, residual, weight, left)
    below, above = (-overlooked).max((-2, -1)), overlooked.max((-2, -1))
    return np.hypot(half - shift, np.maximum(below, 0)), np.hypot(half + shift, np.maximum(above, 0))


def _overlooked(tally: Tally, residual: Floats, weight: Floats, left: Floats) -> Floats:
    """By stratum and state what the total would change by if the state were there, as far as it may be.

    Where all labels of what is flagged, or of what is not, are alike in a stratum, the other answer may be as frequent
    as a share of 0 is in Wilson's interval, of as many independent labels as the sizes of the clusters allow for.
    """
    seen, squares = tally.copies[..., _OTHER_ANSWER], tally.squares[..., _OTHER_ANSWER]
    labels = seen**2 / np.maximum(squares * left[..., None], _LEAST)
    share = np.where(tally.contents[..., _ALL] > 0, 0.0, Z**2 / (labels + Z**2))
    change = residual[..., _ALL] - residual[..., _OTHER_ANSWER]
    found: Floats = weight[..., None] * seen * share * change
    return found


def _indicator(states: _States) -> Floats:
    return np.isin(np.arange(STATES), states).astype(float)
