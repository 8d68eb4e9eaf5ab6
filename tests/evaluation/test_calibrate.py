import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from moderation_service.contracts.verdict import Thresholds
from moderation_service.errors import Misconfigured
from moderation_service.evaluation import calibrators, thresholds
from moderation_service.evaluation.calibrate import COLUMNS, calibrate
from moderation_service.evaluation.calibrators import (
    CalibrationRefused,
    Examples,
    ExampleSource,
    fit,
    from_judged,
    isotonic,
    platt,
)
from moderation_service.evaluation.metrics import calibration
from moderation_service.evaluation.thresholds import Target, review_threshold
from moderation_service.judging.calibration import Calibration
from tests.contracts.examples import MODEL
from tests.evaluation.made import judged

OWN = {"sale": Thresholds(review=0.5, block=0.9)}
Bend = Callable[[Any], Any]


def examples(
    count: int = 600, seed: int = 0, bend: Bend = lambda z: 2 * z + 1, families: int | None = None
) -> Examples:
    """Violations with a known probability p = expit(z); the score is expit of z bent."""
    rng = np.random.default_rng(seed)
    z = rng.normal(-0.5, 2, count)
    truth = rng.random(count) < expit(z)
    return Examples(expit(bend(z)), truth, np.arange(count) % (families or count))


def shuffled(given: Examples, seed: int) -> Examples:
    return Examples(given.score, np.random.default_rng(seed).permutation(given.truth), given.family)


def source(**policies: Examples) -> ExampleSource:
    return ExampleSource(policies, MODEL, 600, f"sha256:{'1' * 64}")


def test_platt_finds_the_sigmoid_that_made_the_data() -> None:
    # z is bent to 2z + 1, so the way back is half of it, less a half
    given = examples(20_000)
    found = platt(given.score, given.truth)
    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.intercept == pytest.approx(-0.5, abs=0.05)


def test_platts_targets_keep_separable_scores_off_certainty() -> None:
    truth = np.arange(100) < 50
    found = platt(np.where(truth, 0.9, 0.1), truth)
    # the targets are 51/52 and 1/52
    assert [found.apply(0.9), found.apply(0.1)] == pytest.approx([51 / 52, 1 / 52], abs=1e-3)


def test_platt_refuses_scores_that_fall_with_violations() -> None:
    given = examples(bend=lambda z: -z)
    with pytest.raises(CalibrationRefused, match="higher scores do not go"):
        platt(given.score, given.truth)


def test_isotonic_by_hand() -> None:
    # the middle two are the wrong way round and share their mean; the ends are off 0 and 1 by Platt's targets
    found = isotonic(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True]))
    assert [found.apply(score) for score in (0.1, 0.4, 0.6, 0.9)] == pytest.approx([0.25, 0.5, 0.5, 0.75])


def test_the_map_is_chosen_by_cross_validation() -> None:
    assert fit(examples(3000), seed=0).map.method == "platt"
    steps = examples(3000, bend=lambda z: np.where(z > 0, z + 3, np.where(z > -1, -z - 0.9, -7 + 0.01 * z)))
    assert fit(steps, seed=0).map.method == "isotonic"


def test_calibrated_scores_are_calibrated_on_posts_that_were_held_out() -> None:
    given = examples(3000)
    after = calibration(given.truth, fit(given, seed=0).held_out)
    assert calibration(given.truth, given.score)["ece"] > 0.1
    assert after["ece"] < 0.03


def test_few_labels_of_either_kind_are_refused_with_their_count() -> None:
    score, truth = np.linspace(0, 1, 200), np.arange(200) >= 190
    with pytest.raises(CalibrationRefused, match=r"10 labelled violating posts .* of at least 20"):
        fit(Examples(score, truth, np.arange(200)), seed=0)
    with pytest.raises(CalibrationRefused, match=r"10 labelled harmless posts"):
        fit(Examples(1 - score, ~truth, np.arange(200)), seed=0)
    with pytest.raises(CalibrationRefused, match="twins counted once"):
        fit(examples(400, families=15), seed=0)


def test_shuffled_labels_are_refused_whatever_the_shuffle() -> None:
    given = examples(1500)
    assert calibrators.fit(given, seed=0)
    for seed in range(12):
        with pytest.raises(CalibrationRefused, match=r"the scores tell no more than|higher scores do not go"):
            fit(shuffled(given, seed), seed=0)


TRUTH = np.array([True, True, True, False, False])
SCORE = np.array([0.9, 0.8, 0.3, 0.6, 0.1])


def test_a_recall_target_takes_the_highest_threshold_that_meets_it() -> None:
    assert review_threshold(TRUTH, SCORE, Target("recall", 0.6)) == 0.8
    assert review_threshold(TRUTH, SCORE, Target("recall", 0.7)) == 0.3


def test_a_precision_target_takes_the_lowest_threshold_that_meets_it() -> None:
    truth, score = np.tile(TRUTH, 20), np.tile(SCORE, 20)
    assert review_threshold(truth, score, Target("precision", 0.75)) == 0.3
    assert review_threshold(truth, score, Target("precision", 0.9)) == 0.8
    with pytest.raises(CalibrationRefused, match=r"no threshold has a precision of 0.9 with at least 20"):
        review_threshold(TRUTH, SCORE, Target("precision", 0.9))


def test_a_cost_ratio_is_the_probability_at_which_both_errors_cost_the_same() -> None:
    assert review_threshold(TRUTH, SCORE, Target("cost", 9)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"recall": 0.9, "cost": 2.0}, "--recall and --cost: one target"),
        ({"recall": 1.2}, "--recall 1.2: should be over 0 and at most 1"),
        ({"cost": 0.0}, "--cost 0.0: should be over 0"),
    ],
)
def test_a_wrong_target_is_refused(given: dict[str, float], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        Target.of(**given)


def test_a_target_is_taken_by_its_name() -> None:
    assert Target.of(recall=None, precision=0.95, cost=None) == Target("precision", 0.95)
    assert Target.of(recall=None) is None


def test_the_file_is_what_judging_reads_with_thresholds_before_the_policys(tmp_path: Path) -> None:
    made = calibrate(source(sale=examples(3000)), OWN, data="posts.jsonl", target=Target("recall", 0.9))
    path = tmp_path / "calibration.json"
    made.write(path)
    read = Calibration.load(path)
    limits = read.thresholds("sale", OWN["sale"])
    assert limits.review != 0.5
    assert limits.block == 0.9
    assert read.apply("sale", 0.5) == made.file.policies["sale"].apply(0.5)
    assert read.fitted_on is not None
    assert (read.fitted_on.data, read.fitted_on.target) == ("posts.jsonl", "recall 0.9")
    assert read.differs_from(MODEL) is None
    assert read.differs_from(MODEL.model_copy(update={"revision": "another"}))
    (line,) = made.lines
    assert line.recall == pytest.approx(0.9, abs=0.03)
    assert len(line.cells()) == len(COLUMNS)


def test_without_a_target_a_policy_keeps_its_thresholds() -> None:
    made = calibrate(source(sale=examples()), OWN, data="d")
    assert made.file.policies["sale"].thresholds is None


def test_review_never_lies_over_block() -> None:
    low = {"sale": Thresholds(review=0.1, block=0.2)}
    made = calibrate(source(sale=examples(3000)), low, data="d", target=Target("precision", 0.9))
    limits = made.file.policies["sale"].thresholds
    assert limits is not None
    assert limits.review == limits.block > 0.2


def test_a_policy_that_never_blocks_stays_so(tmp_path: Path) -> None:
    own = {"sale": Thresholds(review=0.5, block=None)}
    made = calibrate(source(sale=examples(3000)), own, data="d", target=Target("recall", 0.9))
    made.write(tmp_path / "c.json")
    limits = Calibration.load(tmp_path / "c.json").thresholds("sale", own["sale"])
    assert (limits.review != 0.5, limits.block) == (True, None)


def test_a_refused_policy_is_named_with_its_reason_and_the_others_are_fitted(tmp_path: Path) -> None:
    made = calibrate(source(sale=examples(), few=examples(10), noise=shuffled(examples(1500), 1)), OWN, data="d")
    made.write(tmp_path / "c.json")
    written = json.loads((tmp_path / "c.json").read_text())
    assert set(written["policies"]) == {"sale"}
    assert set(written["fitted_on"]["refused"]) == {"few", "noise"}


def test_a_target_out_of_reach_leaves_the_map_and_says_so() -> None:
    made = calibrate(source(sale=examples(300)), OWN, data="d", target=Target("precision", 1.0))
    assert made.file.policies["sale"].thresholds is None
    assert "thresholds: no threshold has a precision of 1" in made.file.fitted_on.refused["sale"]  # type: ignore[union-attr]


def test_the_same_data_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        calibrate(source(sale=examples(1500)), OWN, data="d", target=Target("recall", 0.9)).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_precision_and_recall_are_of_folds_that_the_threshold_was_not_found_on() -> None:
    given = examples(3000)
    precision, recall = thresholds.held_out(given, given.score, Target("recall", 0.9), seed=0)
    assert recall == pytest.approx(0.9, abs=0.03)
    assert 0.5 < precision < 0.9


def test_examples_of_judged_posts_are_raw_scores_where_the_policy_was_asked() -> None:
    posts = [
        judged("a", {"sale": True, "doxxing": False}, {"sale": (0.9, 0.1, 0.1)}),
        judged("b", {"sale": False}, {"sale": (0.2, 0.1, 0.1)}, twin_of="a"),
    ]
    found = from_judged(posts)
    assert found.policies["sale"].score.tolist() == [0.9, 0.2]
    assert found.policies["sale"].family.tolist() == [0, 0]
    assert len(found.policies["doxxing"].truth) == 0
    with pytest.raises(Misconfigured, match="no post was judged"):
        from_judged([])


def test_the_file_keeps_how_the_scores_are_spread_also_of_a_refused_policy(tmp_path: Path) -> None:
    given = {"sale": examples(), "few": examples(20)}
    calibrate(source(**given), OWN, data="d").write(tmp_path / "c.json")
    kept = Calibration.load(tmp_path / "c.json").scores
    for policy, own in given.items():
        assert list(kept[policy]) == np.histogram(own.score, bins=10, range=(0, 1))[0].tolist()
