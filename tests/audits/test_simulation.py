"""A stream with known truth: audits cover it, reviews alone do not, and the design is worth its strata."""

import pytest

from benchmarks.audit_simulation import (
    PREVALENCES,
    RARE,
    Design,
    Stream,
    cheapest,
    coverage,
    from_reviews,
    made_stream,
    uniform,
)
from moderation_service.audits.ratio_interval import Measure

LABELS, RUNS, SEED = 100_000, 500, 2


@pytest.fixture(scope="module")
def stream() -> Stream:
    return made_stream(10_000_000, SEED)


@pytest.fixture(scope="module")
def design(stream: Stream) -> Design:
    return cheapest(stream, LABELS)


def test_intervals_of_recall_and_prevalence_cover_the_truth_in_93_to_97_of_100_samples(
    stream: Stream, design: Design
) -> None:
    covered = coverage(stream, design, RUNS, SEED)
    for policy in PREVALENCES:
        for measure in (Measure.RECALL, Measure.PREVALENCE):
            assert 0.93 <= covered[policy][measure]["coverage"] <= 0.97, (policy, measure)


def test_reviews_of_a_queue_alone_are_biased(stream: Stream) -> None:
    said = from_reviews(stream, 100, SEED)
    for policy, measures in said.items():
        assert measures[Measure.RECALL]["mean"] > measures[Measure.RECALL]["truth"] + 0.25, policy
        assert measures[Measure.PREVALENCE]["mean"] > 5 * measures[Measure.PREVALENCE]["truth"], policy
        assert measures[Measure.RECALL]["coverage"] == 0


def test_five_times_the_labels_drawn_uniformly_say_less_of_a_rare_policys_recall(
    stream: Stream, design: Design
) -> None:
    ours = coverage(stream, design, 100, SEED)
    theirs = coverage(stream, uniform(stream, 5 * LABELS), 100, SEED)
    for policy in RARE:
        narrow, wide = (found[policy][Measure.RECALL]["width"] for found in (ours, theirs))
        said = f"{policy}: {LABELS} audits by stratum {narrow:.3f}, {5 * LABELS} uniform ones {wide:.3f}"
        print(said)  # noqa: T201 - the figures are what one wants to see
        assert narrow < wide
