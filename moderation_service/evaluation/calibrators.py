"""Fit and choose one policy's map from raw scores to probabilities, or say why there is none."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedGroupKFold

from moderation_service.contracts.verdict import Model
from moderation_service.errors import Misconfigured
from moderation_service.evaluation.answers import Bools, Floats, Ints, answers, policies_of
from moderation_service.evaluation.labelled import digest
from moderation_service.evaluation.run import JudgedPost
from moderation_service.judging.calibration import Calibrator, Isotonic, Platt, logit


@dataclass(frozen=True, slots=True)
class Examples:
    """One policy's raw scores, truths and families; posts of a family are held out together."""

    score: Floats
    truth: Bools
    family: Ints


@dataclass(frozen=True, slots=True)
class ExampleSource:
    """All policies' examples, which model's scores they are, and where they are from."""

    policies: Mapping[str, Examples]
    model: Model
    posts: int
    digest: str


def from_judged(judged: Sequence[JudgedPost]) -> ExampleSource:
    """Examples from labelled posts; a policy in whose scope a post is not has no score there.

    Raises Misconfigured where no post was judged.
    """
    if not judged:
        msg = "calibrate: no post was judged"
        raise Misconfigured(msg)
    rows = answers(judged)
    rows = rows.take(rows.asked)
    found = {}
    for number, policy in enumerate(policies_of(judged)):
        own = rows.take(rows.policy == number)
        found[policy] = Examples(own.raw, own.truth, own.family)
    return ExampleSource(found, judged[0].verdict.model, len(judged), digest(one.labelled for one in judged))


LEAST = 20
"""Posts of either kind, violating and not, in as many families, that the least of fits wants."""

LEAST_ISOTONIC, LEAST_ISOTONIC_KIND = 1000, 100
"""Isotonic regression overfits below about a thousand examples (scikit-learn's user guide, 1.16)."""

FOLDS = 5
CLEAR = 3.0
"""Standard errors by which held-out predictions have to beat the base rate: shuffled labels do it once in 740."""

_ROOM = 1e-9


class CalibrationRefused(Exception):  # noqa: N818 - an outcome
    """Why a policy gets no calibration."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """The chosen map, and each example's probability by a map that was fitted without its family."""

    map: Calibrator
    held_out: Floats


def fit(examples: Examples, *, seed: int) -> Fitted:
    """The map whose held-out predictions have the smaller log loss. Raises Refused."""
    _enough(examples)
    candidates: dict[str, Callable[[Floats, Bools], Calibrator]] = {"platt": platt}
    if len(examples.truth) >= LEAST_ISOTONIC and _rarer(examples.truth) >= LEAST_ISOTONIC_KIND:
        candidates["isotonic"] = isotonic
    held_out = {name: _held_out(examples, make, seed) for name, make in candidates.items()}
    best = min(held_out, key=lambda name: float(log_loss(examples.truth, held_out[name])))
    _better_than_base_rate(examples.truth, held_out[best])
    return Fitted(candidates[best](examples.score, examples.truth), held_out[best])


def platt(score: Floats, truth: Bools) -> Platt:
    """Platt's sigmoid with Platt's targets: off 0 and 1 by what so few examples can't rule out."""
    yes, no = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (yes + 1) / (yes + 2), 1 / (no + 2))
    z = np.array([logit(each) for each in score])[:, None]
    # A target t is an example that counts t times as a violation and 1 - t times as none.
    model = LogisticRegression(C=np.inf, max_iter=1000).fit(
        np.concatenate([z, z]), np.repeat([1, 0], len(z)), np.concatenate([target, 1 - target])
    )
    slope = float(model.coef_[0, 0])
    if slope <= 0:
        msg = "higher scores do not go with more violations"
        raise CalibrationRefused(msg)
    return Platt(slope=slope, intercept=float(model.intercept_[0]))


def isotonic(score: Floats, truth: Bools) -> Isotonic:
    """A rising step function, its ends off 0 and 1 as in Platt's targets."""
    yes, no = int(truth.sum()), int((~truth).sum())
    model = IsotonicRegression(y_min=1 / (no + 2), y_max=(yes + 1) / (yes + 2), out_of_bounds="clip").fit(score, truth)
    return Isotonic(scores=tuple(map(float, model.X_thresholds_)), probabilities=tuple(map(float, model.y_thresholds_)))


def apply(fitted: Calibrator, score: Floats) -> Floats:
    """Every score through the map."""
    return np.array([fitted.apply(float(each)) for each in score])


def folds(examples: Examples, seed: int) -> list[tuple[Ints, Ints]]:
    """Rows to fit on and rows held out, families whole, violations evenly spread."""
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    return list(splitter.split(examples.score, examples.truth, examples.family))


def _enough(examples: Examples) -> None:
    for kind, which in (("violating", examples.truth), ("harmless", ~examples.truth)):
        families = len(np.unique(examples.family[which]))
        if families < LEAST:
            msg = f"{families} labelled {kind} posts (twins counted once), of at least {LEAST} that a fit takes"
            raise CalibrationRefused(msg)


def _held_out(examples: Examples, make: Callable[[Floats, Bools], Calibrator], seed: int) -> Floats:
    found = np.zeros(len(examples.truth))
    for fitted_on, left in folds(examples, seed):
        found[left] = apply(make(examples.score[fitted_on], examples.truth[fitted_on]), examples.score[left])
    return found


def _better_than_base_rate(truth: Bools, probability: Floats) -> None:
    """Raises Refused where scores tell no more than how frequent violations are."""
    base = truth.mean()
    gain = _surprise(truth, np.full(len(truth), base)) - _surprise(truth, probability)
    error = gain.std(ddof=1) / np.sqrt(len(gain))
    if gain.mean() <= CLEAR * error:
        msg = (
            f"the scores tell no more than the share of violations ({base:.0%}): log loss better by "
            f"{gain.mean():.4f} ± {error:.4f} on held-out posts; are the labels right?"
        )
        raise CalibrationRefused(msg)


def _surprise(truth: Bools, probability: Floats) -> Floats:
    """Each example's log loss; its mean is scikit-learn's `log_loss`."""
    right = np.where(truth, probability, 1 - probability)
    surprise: Floats = -np.log(np.clip(right, _ROOM, 1))
    return surprise


def _rarer(truth: Bools) -> int:
    return int(min(truth.sum(), (~truth).sum()))
