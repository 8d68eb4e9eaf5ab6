"""Criteria against estimates, the costs of a month, and the page for those who decide."""

import math

import pytest
from pydantic import ValidationError

from moderation_service.audits.proportion import Proportion
from moderation_service.contracts.enums import AttributionClass
from moderation_service.evaluation.costs import CostInputs, Costs
from moderation_service.evaluation.go_no_go import Criteria, GoNoGo, assess, at_least, at_most, worst
from moderation_service.evaluation.interval_estimate import IntervalEstimate
from moderation_service.evaluation.proof_of_concept import HtmlPage, render_page
from moderation_service.evaluation.run import JudgedPost
from tests.evaluation.made import judged

CRITERIA = Criteria(recall=0.8, combined_recall=0.8, precision=0.8, review_share=0.1, cost=30_000)
INPUTS = CostInputs(
    posts_per_day=100_000,
    peak_factor=3,
    prevalence=0.02,
    posts_per_second=24,
    card_price=3,
    review_minutes=0.5,
    wage=25,
    currency="USD",
)


def found_and_harmless(found: int, missed: int, harmless: int) -> list[JudgedPost]:
    """Violations of the combination, of which so many are blocked and so many allowed; and harmless posts, allowed."""
    meant = {"sale": AttributionClass.COMBINED}
    return [
        *(judged(f"f{at}", {"sale": True}, {"sale": (0.95, 0.1, 0.1)}, "block", meant) for at in range(found)),
        *(judged(f"m{at}", {"sale": True}, {"sale": (0.1, 0.1, 0.1)}, "allow", meant) for at in range(missed)),
        *(judged(f"h{at}", {"sale": False}, {"sale": (0.1, 0.1, 0.1)}) for at in range(harmless)),
    ]


def estimate(yes: int, of: int) -> IntervalEstimate:
    return IntervalEstimate.of(Proportion(yes, of))


@pytest.mark.parametrize(
    ("yes", "of", "result"),
    [
        (16, 16, "go"),
        (15, 15, "too few labels to say"),  # all of them, and yet 1 in 5 may be missed
        (45, 50, "too few labels to say"),
        (90, 100, "go"),
        (12, 20, "no go"),
        (0, 9, "too few labels to say"),  # fewer than ten decide nothing
        (0, 0, "too few labels to say"),
    ],
)
def test_the_whole_interval_decides(yes: int, of: int, result: str) -> None:
    assert at_least(estimate(yes, of), 0.8) == result


@pytest.mark.parametrize(
    ("yes", "of", "result"), [(0, 35, "go"), (0, 34, "too few labels to say"), (9, 30, "no go"), (1, 100, "go")]
)
def test_what_should_be_small_is_held_from_above(yes: int, of: int, result: str) -> None:
    assert at_most(estimate(yes, of), 0.1) == result


def test_the_weakest_result_counts() -> None:
    assert worst([GoNoGo.GO, GoNoGo.TOO_FEW_LABELS, GoNoGo.NO_GO]) is GoNoGo.NO_GO
    assert worst([GoNoGo.TOO_FEW_LABELS, GoNoGo.GO]) is GoNoGo.TOO_FEW_LABELS


def test_a_weighted_sum_has_the_interval_of_mover() -> None:
    parts = [(0.25, IntervalEstimate(0.4, 0.2, 0.8)), (0.75, IntervalEstimate(0.1, 0.06, 0.18))]
    found = IntervalEstimate.weighted(parts)
    assert found.value == pytest.approx(0.175)
    assert found.low == pytest.approx(0.175 - math.hypot(0.25 * 0.2, 0.75 * 0.04))
    assert found.high == pytest.approx(0.175 + math.hypot(0.25 * 0.4, 0.75 * 0.08))


def test_costs_follow_the_rules_of_the_page_on_capacity() -> None:
    # its example of 200 posts/s: 13 cards and 28,470 USD
    inputs = INPUTS.model_copy(update={"posts_per_day": 200 * 86_400, "peak_factor": 1})
    costs = Costs(inputs, IntervalEstimate(0.01, 0.005, 0.02))
    assert (costs.cards, costs.for_cards) == (13, 28_470)
    hours = 200 * 3600 * 730 * 0.01 * 0.5 / 60
    assert costs.review_hours.value == pytest.approx(hours)
    assert costs.total.value == pytest.approx(28_470 + 25 * hours)
    assert costs.lines[-1].result == f"{28_470 + 25 * hours:,.0f} USD"


def test_an_input_that_can_not_be_is_named() -> None:
    with pytest.raises(ValidationError, match="prevalence"):
        CostInputs(**{**INPUTS.model_dump(), "prevalence": 2})
    with pytest.raises(ValidationError, match="posts_per_day"):
        CostInputs(**{**INPUTS.model_dump(), "posts_per_day": math.inf})
    with pytest.raises(ValidationError, match="recal\n"):
        Criteria(**{**CRITERIA.model_dump(), "recal": 0.8})


def test_good_posts_are_a_go_and_each_criterion_says_on_what() -> None:
    found = assess(found_and_harmless(40, 0, 200), CRITERIA, INPUTS)
    assert found.result is GoNoGo.GO
    assert [one.result for one in found.results] == ["go"] * 5
    assert found.results[0].found == "100% (91 to 100%)"
    assert found.results[2].basis == "40 posts; 50 to 100% at a prevalence of 2.0%"
    assert found.results[3].found == "0.0% (0.0 to 1.9%)"
    assert [(one.attribution, one.labelled, one.found["joint"], one.found["either"]) for one in found.violations] == [
        ("combined", 40, 40, 0)
    ]


def test_misses_are_a_no_go_and_few_posts_are_too_few() -> None:
    assert assess(found_and_harmless(20, 20, 100), CRITERIA, INPUTS).result is GoNoGo.NO_GO
    few = assess(found_and_harmless(5, 0, 100), CRITERIA, INPUTS)
    assert (few.result, few.policies[0].result) == (GoNoGo.TOO_FEW_LABELS, GoNoGo.TOO_FEW_LABELS)


def test_of_no_post_nothing_is_found() -> None:
    harmless = assess(found_and_harmless(0, 0, 50), CRITERIA, INPUTS)
    assert [one.found for one in harmless.results[:3]] == ["–", "–", "–"]
    assert [one.result for one in harmless.results[:3]] == [GoNoGo.TOO_FEW_LABELS] * 3


def test_the_share_for_people_is_weighed_by_prevalence_or_is_that_of_the_sheet() -> None:
    abstained = [judged(f"a{at}", {"sale": False}, {"sale": (0.1, 0.1, 0.1)}, "abstain") for at in range(10)]
    posts = [*found_and_harmless(50, 0, 40), *abstained]
    weighed = assess(posts, CRITERIA, INPUTS)
    assert weighed.costs.review_share.value == pytest.approx(0.98 * 0.2)
    as_it_is = assess(posts, CRITERIA, INPUTS.model_copy(update={"prevalence": None}))
    assert (as_it_is.prevalence, as_it_is.costs.review_share.value) == (0.5, pytest.approx(0.1))


def test_a_post_whose_truth_is_unknown_is_counted_as_neither() -> None:
    unknown = judged("u", {"sale": False}, {"sale": (0.1, 0.1, 0.1), "doxxing": (0.9, 0.1, 0.1)}, "block")
    found = assess([*found_and_harmless(3, 0, 2), unknown], CRITERIA, INPUTS)
    assert (found.violating, found.harmless) == (3, 2)


def test_a_criterion_of_attribution_that_nobody_labels_is_not_asked() -> None:
    without = CRITERIA.model_copy(update={"combined_recall": None})
    assert len(assess(found_and_harmless(3, 0, 2), without, INPUTS).results) == 4


def test_the_page_escapes_what_it_is_given_and_stands_in_a_frame() -> None:
    posts = found_and_harmless(3, 1, 2)
    made = render_page(assess(posts, CRITERIA, INPUTS), posts, {"sale": "Sale & more"}, source="<photos>", left_out=2)
    assert isinstance(made, HtmlPage)
    assert "Sale &amp; more" in made
    assert "&lt;photos&gt;" in made
    assert "2 rows could not be used" in made
    assert "<script" not in made
    assert "http" not in made
    assert made._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
