"""A review threshold for a target, on calibrated scores."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.metrics import precision_recall_curve, precision_score, recall_score

from moderation_service.errors import Misconfigured
from moderation_service.evaluation.answers import Bools, Floats
from moderation_service.evaluation.calibrators import LEAST, CalibrationRefused, Examples, folds


@dataclass(frozen=True, slots=True)
class Target:
    """`recall`: find this share of violations, with as few false alarms as that allows.

    `precision`: be right this often when flagging, and find as many as that allows. `cost`: a missed violation is
    as bad as this many false alarms.
    """

    kind: Literal["recall", "precision", "cost"]
    value: float

    @classmethod
    def of(cls, **given: float | None) -> "Target | None":
        """The one target that is given by its name, if any. Raises Misconfigured for two, or for a wrong value."""
        named = {name: value for name, value in given.items() if value is not None}
        if len(named) > 1:
            msg = f"--{' and --'.join(named)}: one target at a time"
            raise Misconfigured(msg)
        for name, value in named.items():
            if not (0 < value <= 1 if name != "cost" else 0 < value < np.inf):
                right = "over 0, for example 10" if name == "cost" else "over 0 and at most 1"
                msg = f"--{name} {value}: should be {right}"
                raise Misconfigured(msg)
            return cls(name, value)  # type: ignore[arg-type]
        return None

    def __str__(self) -> str:
        """As the calibration file says it."""
        return f"{self.kind} {self.value:g}"


def review_threshold(truth: Bools, probability: Floats, target: Target) -> float:
    """The threshold that meets the target on these rows. Raises Refused where none does.

    For a cost ratio R it is 1 / (1 + R), whatever the rows: at that probability a miss and a false alarm cost the
    same (Elkan, "The foundations of cost-sensitive learning", 2001).
    """
    if target.kind == "cost":
        return 1 / (1 + target.value)
    precision, recall, at = precision_recall_curve(truth, probability)
    precision, recall = precision[:-1], recall[:-1]  # the last point is no threshold
    if target.kind == "recall":
        return float(at[recall >= target.value].max())
    # A handful of lucky hits at the top is no precision.
    met = (precision >= target.value) & (recall * truth.sum() >= LEAST)
    if not met.any():
        msg = f"no threshold has a precision of {target.value:g} with at least {LEAST} violations found"
        raise CalibrationRefused(msg)
    return float(at[met].min())


def held_out(examples: Examples, probability: Floats, target: Target, *, seed: int) -> tuple[float, float]:
    """Precision and recall when each fold is flagged by a threshold found on the others. Raises Refused as above."""
    flagged = np.zeros(len(probability), bool)
    for chosen_on, left in folds(examples, seed):
        flagged[left] = probability[left] >= review_threshold(examples.truth[chosen_on], probability[chosen_on], target)
    return (
        float(precision_score(examples.truth, flagged, zero_division=np.nan)),
        float(recall_score(examples.truth, flagged)),
    )
