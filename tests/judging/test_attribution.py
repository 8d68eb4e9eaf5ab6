import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.judging.decision import attribute


@pytest.mark.parametrize(
    ("joint", "text", "image", "named"),
    [
        (0.9, 0.1, 0.1, "combined"),
        (0.9, 0.9, 0.1, "text_only"),
        (0.9, 0.1, 0.9, "image_only"),
        (0.9, 0.9, 0.9, "either"),
        (0.1, 0.1, 0.9, "context_mitigated"),
        (0.1, 0.9, 0.1, "context_mitigated"),
        (0.1, 0.1, 0.1, "none"),
        (0.5, 0.5, 0.4999, "text_only"),
        (0.9, 0.9, None, "text_only"),
        (0.9, None, 0.9, "image_only"),
        (0.1, 0.1, None, "none"),
    ],
)
def test_the_class_follows_from_the_three_scores(
    joint: float, text: float | None, image: float | None, named: str
) -> None:
    assert attribute(joint, text, image, 0.5).class_ == named


score = st.floats(0, 1)


@given(score, score, score, score)
def test_only_a_violation_has_a_class_that_names_one(joint: float, text: float, image: float, threshold: float) -> None:
    found = attribute(joint, text, image, threshold)
    assert (found.class_ not in {"none", "context_mitigated"}) == (joint >= threshold)
    assert (found.joint, found.text_only, found.image_only) == (joint, text, image)
