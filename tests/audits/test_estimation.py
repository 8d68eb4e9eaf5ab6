"""Estimates: the figures of a hand computation, intervals that promise nothing, and no number of too few labels."""

from collections.abc import Iterable
from datetime import UTC, datetime

import numpy as np
import pytest

from moderation_service.audits.audited import AnswerBasis, AuditedVerdict, BlindAnswer, JudgedPolicy, Stratum
from moderation_service.audits.estimation import Estimate, Refusal, estimates
from moderation_service.audits.proportion import Proportion
from moderation_service.audits.ratio_interval import Measure, change_interval
from moderation_service.contracts.enums import AttributionClass, AuditRound, Decision

LOW, REVIEW = Stratum("allow_low", 0.01), Stratum("review", 0.5)


def audited(
    *,
    flagged: bool,
    first: bool,
    adjudicated: bool | None = None,
    language: str = "en",
    copies: int = 1,
) -> AuditedVerdict:
    answers = [BlindAnswer(AuditRound.FIRST, "ada", {"scam": first})]
    if adjudicated is not None:
        answers.append(BlindAnswer(AuditRound.SECOND, "bo", {"scam": not first}))
        answers.append(BlindAnswer(AuditRound.ADJUDICATION, "cy", {"scam": adjudicated}))
    found = AttributionClass.TEXT_ONLY if flagged else None
    return AuditedVerdict(
        verdict_id="v",
        stratum=REVIEW if flagged else LOW,
        copies=copies,
        language=language,
        judged_at=datetime(2026, 5, 1, tzinfo=UTC),
        decision=Decision.REVIEW if flagged else Decision.ALLOW,
        policies={"scam": JudgedPolicy(version=1, score=0.7 if flagged else 0.01, violated=flagged, attribution=found)},
        answers=tuple(answers),
    )


def sample(hits: int, false_alarms: int, misses: int, harmless: int) -> list[AuditedVerdict]:
    counts = {(True, True): hits, (True, False): false_alarms, (False, True): misses, (False, False): harmless}
    return [audited(flagged=flagged, first=first) for (flagged, first), n in counts.items() for _ in range(n)]


def of_scam(rows: Iterable[AuditedVerdict], low: int, review: int) -> dict[Measure, Estimate]:
    return estimates(rows, {LOW: low, REVIEW: review}, "scam")


def test_figures_are_those_of_a_hand_computation() -> None:
    found = of_scam(sample(40, 10, 5, 95), low=10_000, review=100)
    hits, false_alarms, misses, harmless = 40 * 2, 10 * 2, 5 * 100, 95 * 100
    assert found[Measure.PREVALENCE].value == pytest.approx((hits + misses) / 10_100)
    assert found[Measure.PRECISION].value == pytest.approx(0.8)
    assert found[Measure.RECALL].value == pytest.approx(hits / (hits + misses))
    assert found[Measure.FALSE_NEGATIVE_RATE].value == pytest.approx(misses / (hits + misses))
    assert found[Measure.FALSE_POSITIVE_RATE].value == pytest.approx(false_alarms / (false_alarms + harmless))
    assert found[Measure.ACCURACY].value == pytest.approx((hits + harmless) / 10_100)
    recall = found[Measure.RECALL]
    assert (recall.labels, recall.positives, recall.refusal) == (150, 45, None)
    assert (found[Measure.PRECISION].labels, found[Measure.PRECISION].positives) == (50, 50)


def test_a_copy_counts_with_its_content() -> None:
    rows = [*sample(40, 0, 0, 60), audited(flagged=True, first=False, copies=40)]
    assert of_scam(rows, low=60, review=80)[Measure.PRECISION].value == pytest.approx(0.5)


def test_a_sample_of_one_stratum_has_nearly_wilsons_interval() -> None:
    for yes, of in ((15, 200), (150, 200), (200, 200)):
        found = of_scam(sample(yes, of - yes, 0, 0), low=0, review=10**9)[Measure.PRECISION]
        assert (found.low, found.high) == pytest.approx(Proportion(yes, of).interval, abs=0.007)


def test_a_stratum_without_a_miss_gives_no_false_certainty() -> None:
    """Of 300 labels none is a miss: by the rule of three there may be 1% of 10,000, as many as were found."""
    recall = of_scam(sample(100, 0, 0, 300), low=10_000, review=100)[Measure.RECALL]
    assert recall.value == 1
    assert recall.low is not None
    assert recall.low < 0.5


def test_an_error_more_or_less_moves_the_end_by_little() -> None:
    none, one = (of_scam(sample(100, n, 20, 300), 10_000, 10_000)[Measure.PRECISION].low for n in (0, 1))
    assert none is not None
    assert one is not None
    assert none - one == pytest.approx(0.017, abs=0.01)


@pytest.mark.parametrize(
    ("rows", "refusal"),
    [
        (sample(12, 2, 1, 14), Refusal.FEW_LABELS),
        (sample(5, 2, 4, 95), Refusal.FEW_POSITIVES),
        (sample(60, 2, 0, 1), Refusal.UNSEEN_STRATA),
        ([], Refusal.FEW_LABELS),
    ],
)
def test_too_few_labels_give_no_number_but_their_count(rows: list[AuditedVerdict], refusal: Refusal) -> None:
    recall = of_scam(rows, low=10_000, review=100)[Measure.RECALL]
    assert (recall.value, recall.interval, recall.refusal, recall.labels) == (None, None, refusal, len(rows))


def test_a_small_stratum_without_labels_is_counted_with_the_nearest() -> None:
    rows, tiny = sample(40, 10, 5, 95), Stratum("block", 0.6)
    recall = estimates(rows, {LOW: 10_000, REVIEW: 100, tiny: 50}, "scam")[Measure.RECALL]
    assert recall.value == pytest.approx(40 * 3 / (40 * 3 + 500))


def test_estimates_are_of_the_verdicts_that_were_asked_for() -> None:
    german = [audited(flagged=True, first=n % 4 > 0, language="de") for n in range(40)]
    rows = [*sample(40, 0, 5, 95), *german]
    all_of = of_scam(rows, 10_000, 100)
    found = estimates(rows, {LOW: 10_000, REVIEW: 100}, "scam", where=lambda one: one.language == "de")
    assert found[Measure.PRECISION].value == pytest.approx(0.75)
    assert found[Measure.PRECISION].labels == 40
    assert all_of[Measure.PRECISION].value == pytest.approx(70 / 80)


def test_without_a_policy_the_decision_is_judged() -> None:
    found = estimates(sample(40, 10, 5, 95), {LOW: 10_000, REVIEW: 100})
    assert found[Measure.PRECISION].value == pytest.approx(0.8)


def test_the_label_is_the_first_answer_or_what_was_settled() -> None:
    rows = [*sample(30, 0, 5, 95), *(audited(flagged=True, first=True, adjudicated=False) for _ in range(10))]
    settled, first = (
        estimates(rows, {LOW: 10_000, REVIEW: 100}, "scam", basis=basis)[Measure.PRECISION].value
        for basis in (AnswerBasis.ADJUDICATED, AnswerBasis.FIRST)
    )
    assert (settled, first) == (pytest.approx(0.75), 1)


def test_a_change_between_two_periods_is_told_from_chance() -> None:
    weaker = change_interval((0.8, 0.75, 0.84), (0.6, 0.55, 0.65))
    assert weaker[0] == pytest.approx(-0.2)
    assert weaker[2] < 0
    same = change_interval((0.8, 0.75, 0.84), (0.78, 0.73, 0.83))
    assert same[1] < 0 < same[2]
    assert np.isclose(same[2] - same[0], np.hypot(0.05, 0.05))
