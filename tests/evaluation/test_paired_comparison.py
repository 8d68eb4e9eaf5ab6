import numpy as np

from moderation_service.evaluation.paired_comparison import RANKING, compare
from moderation_service.evaluation.run import JudgedPost
from tests.evaluation.made import judged


def posts(scores: list[float], truths: list[bool]) -> list[JudgedPost]:
    return [
        judged(f"p-{number}", {"doxxing": truth}, {"doxxing": (score, score, None)})
        for number, (score, truth) in enumerate(zip(scores, truths, strict=True))
    ]


TRUTHS = [number % 3 == 0 for number in range(120)]
CHANCE = np.random.default_rng(5).uniform(0, 0.4, 120).tolist()


def test_a_model_that_ranks_better_is_improved_and_each_difference_has_its_interval() -> None:
    found = compare(posts(CHANCE, TRUTHS), posts([0.9 if truth else 0.1 for truth in TRUTHS], TRUTHS), resamples=200)
    assert found.is_improved
    assert found.changes["F1 policy doxxing"].before == 0
    assert found.changes["F1 policy doxxing"].after == 1
    ranking = found.changes[RANKING]
    assert ranking.interval
    assert ranking.interval[0] <= ranking.difference <= ranking.interval[1]
    assert not found.worse


def test_answering_yes_more_often_gains_f1_and_is_no_improvement() -> None:
    found = compare(posts(CHANCE, TRUTHS), posts([score + 0.6 for score in CHANCE], TRUTHS), resamples=200)
    assert found.changes["F1 policy doxxing"].is_better
    assert not found.is_improved


def test_a_figure_that_falls_beyond_chance_is_named() -> None:
    right = [0.9 if truth else 0.1 for truth in TRUTHS]
    found = compare(posts(right, TRUTHS), posts(CHANCE, TRUTHS), resamples=200)
    assert RANKING in found.worse
    assert "F1 policy doxxing" in found.worse


def test_the_same_answers_differ_by_nothing() -> None:
    one = posts(CHANCE, TRUTHS)
    found = compare(one, one, resamples=50)
    assert found.changes[RANKING].difference == 0
    assert not found.is_improved
    assert not found.worse
