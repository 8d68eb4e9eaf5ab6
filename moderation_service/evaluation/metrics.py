"""Figures of scores against truths. What can't be told from the rows is NaN."""

import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
)

from moderation_service.evaluation.answers import CLASSES, UNKNOWN, Bools, Floats, Ints

Figures = dict[str, float]

BINS = 15
"""Bins of equal width of the expected calibration error and the reliability diagram (Guo et al., 2017)."""

SURE = 0.9
"""The precision at which recall is given."""


def detection(truth: Bools, flagged: Bools) -> Figures:
    """Precision, recall and F1 of a yes, the share of harmless rows flagged, and the mean recall of yes and no.

    Without a violation among the rows F1 says nothing.
    """
    # By counts: scikit-learn's checks take a hundred times as long, and a bootstrap asks thousands of times.
    hits, missed = int((truth & flagged).sum()), int((truth & ~flagged).sum())
    alarms, passed = int((~truth & flagged).sum()), int((~truth & ~flagged).sum())
    recall, specificity = _share(hits, hits + missed), _share(passed, passed + alarms)
    return {
        "precision": _share(hits, hits + alarms),
        "recall": recall,
        "f1": _share(2 * hits, 2 * hits + alarms + missed) if truth.any() else np.nan,
        "false_alarm_rate": 1 - specificity,
        "balanced_accuracy": (recall + specificity) / 2,
    }


def ranking(truth: Bools, score: Floats) -> Figures:
    """PR-AUC (average precision), AUROC, and the largest recall at a precision of at least SURE."""
    if not _both(truth):
        return {"pr_auc": np.nan, "auroc": np.nan, "recall_at_90_precision": np.nan}
    hits, flagged = _by_threshold(truth, score)
    recall, alarms = hits / hits[-1], flagged - hits
    return {
        "pr_auc": pr_auc(truth, score),
        "auroc": float(np.trapezoid(np.append(0, recall), np.append(0, alarms / alarms[-1]))),
        "recall_at_90_precision": float(recall[hits / flagged >= SURE].max(initial=0)),
    }


def pr_auc(truth: Bools, score: Floats) -> float:
    """Average precision."""
    if not _both(truth):
        return np.nan
    hits, flagged = _by_threshold(truth, score)
    return float((np.diff(hits, prepend=0) * hits / flagged).sum() / hits[-1])


def _by_threshold(truth: Bools, score: Floats) -> tuple[Ints, Ints]:
    """The violations found and the rows flagged at each score as the threshold, from the largest down.

    As scikit-learn has them, in a fiftieth of its time: a bootstrap asks thousands of times.
    """
    order = np.argsort(-score)
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)  # of rows with one score
    return np.cumsum(truth[order])[ends], ends + 1


def best_balanced_accuracy(truth: Bools, score: Floats) -> float:
    """The best that any threshold could do on these very rows: kind to the score, as it is chosen with the answers."""
    if not _both(truth):
        return np.nan
    cuts = np.quantile(score, np.linspace(0, 1, 101))
    return max(float(balanced_accuracy_score(truth, score >= cut)) for cut in np.unique(cuts))


def reliability(truth: Bools, score: Floats) -> tuple[Floats, Floats, Floats]:
    """For each bin with rows: the share of violations, the mean score, and the share of all rows."""
    held, said = calibration_curve(truth, score, n_bins=BINS, strategy="uniform", pos_label=True)
    inner = np.linspace(0, 1, BINS + 1)[1:-1]
    counts = np.bincount(np.searchsorted(inner, score), minlength=BINS)  # the bins of calibration_curve
    return held, said, counts[counts > 0] / len(score)


def calibration(truth: Bools, score: Floats) -> Figures:
    """Brier score, and expected calibration error: the bins' distance from the diagonal, weighed by their rows."""
    if not len(truth):
        return {"brier": np.nan, "ece": np.nan}
    held, said, share = reliability(truth, score)
    brier = float(np.square(score - truth).mean()) if _both(truth) else np.nan
    return {"brier": brier, "ece": float((share * np.abs(held - said)).sum())}


def attribution(meant: Ints, told: Ints) -> Figures:
    """F1 of each class that anybody meant, and their mean; rows with an unknown class are left out."""
    known = (meant != UNKNOWN) & (told != UNKNOWN)
    as_meant, as_told, right = (
        np.bincount(each, minlength=len(CLASSES))
        for each in (meant[known], told[known], meant[known & (meant == told)])
    )
    present = np.flatnonzero(as_meant)
    if not len(present):
        return {"macro_f1": np.nan}
    f1 = 2 * right[present] / (as_meant + as_told)[present]
    return {"macro_f1": float(f1.mean()), **{CLASSES[at]: float(one) for at, one in zip(present, f1, strict=True)}}


def confusion(meant: Ints, told: Ints) -> list[list[int]]:
    """Rows as meant, columns as told, in the order of CLASSES."""
    known = (meant != UNKNOWN) & (told != UNKNOWN)
    if not known.any():
        return []
    counts = confusion_matrix(meant[known], told[known], labels=range(len(CLASSES)))
    return [[int(count) for count in row] for row in counts]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else np.nan


def _both(truth: Bools) -> bool:
    return bool(truth.any() and not truth.all())
