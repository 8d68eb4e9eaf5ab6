import pytest

from moderation_service.contracts.engine_input import Language
from moderation_service.contracts.enums import Outcome
from moderation_service.judging.decision import attribute
from moderation_service.judging.explanation import template_explanation
from tests.contracts.examples import POLICY

TITLES = {"weapon_sale": "Sale of weapons"}


@pytest.mark.parametrize(
    ("scores", "language", "says"),
    [
        (
            (0.97, 0.11, 0.22),
            "en",
            (
                "Sale of weapons: only the image and the words together violate it"
                " (together 0.97, words alone 0.11, image alone 0.22)."
            ),
        ),
        ((0.97, 0.91, None), "en", "Sale of weapons: the words alone violate it (together 0.97, words alone 0.91)."),
        (
            (0.97, 0.91, 0.92),
            "zh",
            "Sale of weapons：文字与图片各自均构成违规（合并 0.97，仅文字 0.91，仅图片 0.92）。",
        ),
    ],
)
def test_a_violation_is_explained_by_its_measured_views(
    scores: tuple[float, float | None, float | None], language: Language, says: str
) -> None:
    policy = POLICY.model_copy(update={"attribution": attribute(*scores, threshold=0.5)})
    assert template_explanation([policy], TITLES, language) == says


def test_without_views_the_score_is_all_there_is() -> None:
    policy = POLICY.model_copy(update={"attribution": None})
    assert template_explanation([policy], TITLES, "en") == "Sale of weapons: score 0.97."
    assert template_explanation([policy, policy], TITLES, "zh") == "Sale of weapons：得分 0.97。" * 2


def test_nothing_violated_is_nothing_to_explain() -> None:
    assert (
        template_explanation([POLICY.model_copy(update={"violated": False, "outcome": Outcome.ALLOW})], TITLES, "en")
        is None
    )
