"""Label scores from a server's likeliest tokens: never surer than what was seen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.engine.base import LabelScore
from moderation_service.engine.openai.responses import ScoringResponse
from moderation_service.engine.prompts import Labels

LABELS = Labels()
OTHERS = tuple(f"word{n}" for n in range(20))


def label(chances: dict[str, float]) -> LabelScore:
    likely = [{"token": token, "logprob": math.log(chance)} for token, chance in chances.items()]
    answer = {
        "model": "m",
        "usage": {"prompt_tokens": 1},
        "choices": [{"logprobs": {"content": [{"top_logprobs": likely}]}}],
    }
    return ScoringResponse.model_validate(answer).label(LABELS)


def test_both_labels_seen_are_weighed_against_each_other() -> None:
    assert label({"yes": 0.3, "Yes": 0.3, "no": 0.2, "word": 0.1}) == LabelScore(0.6 / 0.8, 0.8)


def test_a_label_alone_among_the_likeliest_is_not_certain() -> None:
    only = label({"Yes": 4e-8, "<|begin_of_box|>": 0.99})
    assert only.score == pytest.approx(1 / (1 + len(LABELS.no)))
    assert only.mass == pytest.approx(4e-8)


def test_no_label_among_the_likeliest_is_undecided() -> None:
    assert label({"word": 0.9}) == LabelScore(0.5, 0.0)


@given(
    side=st.sampled_from([LABELS.yes, LABELS.no]),
    weights=st.lists(st.floats(1e-12, 1.0), min_size=2, max_size=20),
    labels=st.integers(1, 3),
)
def test_one_side_alone_never_gives_0_or_1_and_the_true_score_is_never_beyond_it(
    side: tuple[str, ...], weights: list[float], labels: int
) -> None:
    names = [*side[:labels], *OTHERS]
    chances = {name: weight / sum(weights) for name, weight in zip(names, sorted(weights, reverse=True), strict=False)}
    found = label(chances)
    assert 0 < found.score < 1
    seen, last = sum(chances.get(name, 0.0) for name in side), min(chances.values())
    unseen = 3 * last  # the most that the other side's three variants may have
    bound = seen / (seen + unseen)
    assert found.score <= bound + 1e-9 if side is LABELS.yes else found.score >= 1 - bound - 1e-9
