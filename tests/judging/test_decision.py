from itertools import product

import pytest

from moderation_service.contracts.enums import ImageStatus, Outcome
from moderation_service.contracts.verdict import Content, PolicyVerdict, Thresholds
from moderation_service.judging.decision import decide, find_abstain_reason, flags, outcome
from tests.contracts.examples import CONTENT, IMAGE, POLICY

LIMITS = Thresholds(review=0.5, block=0.9)


def part(result: str, mass: float = 1.0) -> PolicyVerdict:
    return POLICY.model_copy(update={"outcome": Outcome(result), "label_mass": mass})


def content(*statuses: str, truncated: bool = False) -> Content:
    images = tuple(IMAGE.model_copy(update={"status": ImageStatus(status)}) for status in statuses)
    return CONTENT.model_copy(update={"images": images, "truncated": truncated})


@pytest.mark.parametrize(
    ("score", "result"), [(0.0, "allow"), (0.4999, "allow"), (0.5, "review"), (0.8999, "review"), (0.9, "block")]
)
def test_a_score_at_or_over_a_threshold_has_its_outcome(score: float, result: str) -> None:
    assert outcome(score, LIMITS) == result


def test_without_a_block_threshold_the_highest_score_goes_to_review() -> None:
    assert outcome(1.0, Thresholds(review=0.5, block=None)) == "review"


def test_block_goes_before_review_before_abstain_before_allow() -> None:
    strength = ["allow", "abstain", "review", "block"]
    for first, second, reason in product(
        ["allow", "review", "block"], ["allow", "review", "block"], [None, "truncated"]
    ):
        expected = max([first, second, "abstain" if reason else "allow"], key=strength.index)
        assert decide([part(first), part(second)], reason) == expected  # type: ignore[arg-type]


def test_a_post_by_no_policy_is_allowed_unless_something_was_unseen() -> None:
    assert decide([], None) == "allow"
    assert decide([], "image_unavailable") == "abstain"


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("unavailable", "image_unavailable"),
        ("refused", "image_unavailable"),
        ("too_large", "image_unavailable"),
        ("undecodable", "image_undecodable"),
        ("unsupported", "image_undecodable"),
        ("skipped", "image_skipped"),
    ],
)
def test_an_unseen_image_is_a_reason_and_a_flag(status: str, reason: str) -> None:
    assert find_abstain_reason(content("judged", status), [part("allow")], 0.5) == reason
    assert flags(content("judged", status), suspected=False) == ("image_missing",)


def test_a_cut_text_and_a_low_label_mass_are_reasons() -> None:
    assert find_abstain_reason(content(truncated=True), [part("allow")], 0.5) == "truncated"
    assert flags(content(truncated=True), suspected=False) == ("truncated",)
    assert find_abstain_reason(content("judged"), [part("allow"), part("allow", mass=0.49)], 0.5) == "label_mass_low"
    assert find_abstain_reason(content("judged"), [part("allow", mass=0.5)], 0.5) is None
    assert flags(content("judged"), suspected=False) == ()
