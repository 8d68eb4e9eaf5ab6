import math

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)

from moderation_service.evaluation import metrics
from moderation_service.evaluation.answers import CLASSES, UNKNOWN

TRUTH = np.array([True, True, True, False, False])
SCORE = np.array([0.9, 0.8, 0.3, 0.6, 0.1])


def test_detection_by_hand() -> None:
    # flagged: 0.9, 0.8, 0.6: two right of three; two of three found; one of two harmless ones let by
    found = metrics.detection(TRUTH, SCORE >= 0.5)
    thirds = dict.fromkeys(("precision", "recall", "f1"), 2 / 3)
    assert found == pytest.approx({**thirds, "false_alarm_rate": 1 / 2, "balanced_accuracy": 7 / 12})


def test_ranking_by_hand() -> None:
    found = metrics.ranking(TRUTH, SCORE)
    # pairs of a violation over a harmless one: 2 + 2 + 1 of 6
    assert found["auroc"] == pytest.approx(5 / 6)
    # precision at each violation, from the top: 1/1, 2/2, 3/4; each is a third of the recall
    assert found["pr_auc"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["recall_at_90_precision"] == pytest.approx(2 / 3)


def test_figures_equal_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    for rows in range(2, 60):
        truth, score = rng.random(rows) < rng.random(), rng.random(rows).round(1)
        precision, recall, f1, _ = precision_recall_fscore_support(
            truth, score >= 0.5, labels=[False, True], zero_division=np.nan
        )
        found = metrics.detection(truth, score >= 0.5)
        assert found["precision"] == pytest.approx(precision[1], nan_ok=True)
        assert found["recall"] == pytest.approx(recall[1], nan_ok=True)
        assert found["false_alarm_rate"] == pytest.approx(1 - recall[0], nan_ok=True)
        if truth.any():
            assert found["f1"] == pytest.approx(f1[1])
        if truth.any() and not truth.all():
            assert found["balanced_accuracy"] == pytest.approx(recall.mean())
            ranking = metrics.ranking(truth, score)
            assert ranking["pr_auc"] == pytest.approx(average_precision_score(truth, score))
            assert ranking["auroc"] == pytest.approx(roc_auc_score(truth, score))
            at_precision, at_recall, _ = precision_recall_curve(truth, score)
            assert ranking["recall_at_90_precision"] == pytest.approx(at_recall[at_precision >= metrics.SURE].max())
            assert metrics.calibration(truth, score)["brier"] == pytest.approx(brier_score_loss(truth, score))


def test_calibration_by_hand() -> None:
    # Bins of 1/15: 0.05 and 0.06 lie in the first, 0.95 and 0.97 in the last.
    truth, score = np.array([False, True, True, True]), np.array([0.05, 0.06, 0.95, 0.97])
    found = metrics.calibration(truth, score)
    assert found["brier"] == pytest.approx((0.05**2 + 0.94**2 + 0.05**2 + 0.03**2) / 4)
    assert found["ece"] == pytest.approx(0.5 * abs(0.5 - 0.055) + 0.5 * abs(1 - 0.96))


def test_a_score_on_the_edge_of_a_bin_is_counted_where_its_mean_is() -> None:
    truth, score = np.array([True, False, True]), np.array([1 / 15, 2 / 15, 1.0])
    held, said, share = metrics.reliability(truth, score)
    assert len(held) == len(said) == len(share)
    assert said == pytest.approx([1 / 15, 2 / 15, 1.0])
    assert share == pytest.approx([1 / 3] * 3)


def test_best_balanced_accuracy_is_the_best_of_all_thresholds() -> None:
    # at 0.7 both high violations are found and nothing else: (2/3 + 1) / 2
    assert metrics.best_balanced_accuracy(TRUTH, SCORE) == pytest.approx((2 / 3 + 1) / 2)
    assert metrics.best_balanced_accuracy(TRUTH, np.zeros(5)) == 0.5


def test_attribution_by_hand() -> None:
    combined, text, none = (CLASSES.index(name) for name in ("combined", "text_only", "none"))
    meant = np.array([combined, combined, text, none, UNKNOWN, none])
    told = np.array([combined, none, text, none, text, UNKNOWN])
    found = metrics.attribution(meant, told)
    # combined: precision 1, recall 1/2; none: precision 1/2, recall 1; the two rows with an unknown don't count
    assert found == pytest.approx(
        {"macro_f1": (2 / 3 + 1 + 2 / 3) / 3, "combined": 2 / 3, "text_only": 1, "none": 2 / 3}
    )
    counts = np.array(metrics.confusion(meant, told))
    assert counts.sum() == 4
    assert counts[combined, none] == counts[combined, combined] == counts[text, text] == counts[none, none] == 1


def test_what_cannot_be_told_is_nan_and_no_error() -> None:
    one_kind = np.array([False, False])
    assert math.isnan(metrics.detection(one_kind, one_kind)["f1"])
    assert math.isnan(metrics.detection(one_kind, ~one_kind)["f1"]), "nothing to find: false alarms say it"
    assert metrics.detection(one_kind, ~one_kind)["false_alarm_rate"] == 1
    assert all(map(math.isnan, metrics.ranking(one_kind, np.array([0.1, 0.2])).values()))
    assert math.isnan(metrics.calibration(one_kind, np.array([0.1, 0.2]))["brier"])
    assert math.isnan(metrics.calibration(one_kind[:0], np.array([]))["ece"])
    assert math.isnan(metrics.best_balanced_accuracy(one_kind, np.array([0.1, 0.2])))
    assert metrics.attribution(np.array([UNKNOWN]), np.array([0])).keys() == {"macro_f1"}
    assert metrics.confusion(np.array([UNKNOWN]), np.array([0])) == []


def test_attribution_equals_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    meant, told = rng.integers(-1, 4, 300), rng.integers(-1, 6, 300)
    known = (meant != UNKNOWN) & (told != UNKNOWN)
    wanted = f1_score(meant[known], told[known], labels=range(4), average="macro", zero_division=0)
    assert metrics.attribution(meant, told)["macro_f1"] == pytest.approx(wanted)
