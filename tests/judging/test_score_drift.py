import math
import random

import pytest
from prometheus_client import REGISTRY

from moderation_service.contracts.verdict import PolicyVerdict, Thresholds
from moderation_service.judging.calibration import BINS, EVERY, WINDOW, DriftMonitor, bin_of, stability_index
from moderation_service.telemetry import metrics

EVEN = [400] * BINS


@pytest.fixture(autouse=True)
def none_told() -> None:
    metrics.SCORE_DRIFT.clear()


def scored(policy_id: str, score: float) -> PolicyVerdict:
    return PolicyVerdict(
        policy_id=policy_id,
        version=1,
        digest="sha256:" + "0" * 64,
        outcome="allow",
        violated=False,
        severity=1,
        score=0.0,
        raw_score=score,
        label_mass=1.0,
        thresholds=Thresholds(review=0.5, block=0.9),
        attribution=None,
    )


def told(policy: str) -> float | None:
    return REGISTRY.get_sample_value("moderation_score_drift", {"policy": policy})


def test_the_index_is_that_of_the_book() -> None:
    here, there = [100_000] * 9 + [300_000], [120_000] * 10
    expected = 9 * (1 / 12 - 1 / 10) * math.log((1 / 12) / (1 / 10)) + (1 / 4 - 1 / 10) * math.log((1 / 4) / (1 / 10))
    assert stability_index(here, there) == pytest.approx(expected, abs=1e-4)
    assert stability_index(EVEN, EVEN) == 0


@pytest.mark.parametrize(("score", "part"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.95, 9), (1.0, 9)])
def test_a_score_is_in_its_tenth(score: float, part: int) -> None:
    assert bin_of(score) == part


def test_scores_spread_as_in_the_calibration_set_drift_little_and_others_much() -> None:
    drift, rng = DriftMonitor({"same": EVEN, "other": EVEN}), random.Random(1)
    for _ in range(WINDOW):
        drift.record([scored("same", rng.random()), scored("other", rng.random() ** 3), scored("unknown", 0.5)])
    same, other = told("same"), told("other")
    assert same is not None
    assert other is not None
    assert same < 0.05
    assert other > 0.25
    assert told("unknown") is None


def test_what_is_long_ago_is_forgotten() -> None:
    drift, rng = DriftMonitor({"p": EVEN}), random.Random(1)
    for _ in range(WINDOW):
        drift.record([scored("p", 0.05)])
    strayed = told("p")
    for _ in range(WINDOW):
        drift.record([scored("p", rng.random())])
    back = told("p")
    assert strayed is not None
    assert back is not None
    assert back < 0.05
    assert strayed > 1


def test_a_few_scores_say_nothing() -> None:
    drift = DriftMonitor({"p": EVEN})
    for _ in range(4 * EVERY):
        drift.record([scored("p", 0.05)])
    assert told("p") is None
