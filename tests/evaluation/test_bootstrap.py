from collections.abc import Callable

import numpy as np

from moderation_service.evaluation.answers import Ints
from moderation_service.evaluation.bootstrap import _rows, intervals


def test_a_family_is_drawn_whole_and_as_often_as_it_is_drawn() -> None:
    starts, sizes = np.array([0, 2, 5]), np.array([2, 3, 1])
    assert _rows(np.array([1, 1, 0]), starts, sizes).tolist() == [2, 3, 4, 2, 3, 4, 0, 1]


def test_intervals_hold_the_figure_and_are_the_same_for_the_same_seed() -> None:
    values = np.random.default_rng(0).normal(5.0, 1.0, 400)
    family = np.arange(400)

    def mean(rows: Ints) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    found = intervals(mean, family, seed=1)["mean"]
    assert found == intervals(mean, family, seed=1)["mean"] != intervals(mean, family, seed=2)["mean"]
    assert found is not None
    low, high = found
    assert low < values.mean() < high
    # the normal interval of a mean of 400 is 2 × 1.96 × 1/20 wide
    assert abs((high - low) - 0.196) < 0.06


def test_intervals_of_few_families_by_hand() -> None:
    def mean(values: list[float]) -> Callable[[Ints], dict[str, float]]:
        return lambda rows: {"mean": float(np.array(values)[rows].mean())}

    # one family is drawn whole each time, so nothing varies
    assert intervals(mean([0.0, 1.0, 1.0]), np.array([7, 7, 7]), seed=0) == {"mean": (2 / 3, 2 / 3)}
    # two families: both twice a quarter of the time each, so 2.5% and 97.5% lie at the ends
    assert intervals(mean([0.0, 1.0]), np.array([0, 1]), seed=0) == {"mean": (0.0, 1.0)}


def test_answers_that_come_in_families_have_a_wider_interval() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=50), 8)

    def mean(rows: Ints) -> dict[str, float]:
        return {"mean": float(values[rows].mean())}

    alone = intervals(mean, np.arange(400), seed=0)["mean"]
    together = intervals(mean, np.repeat(np.arange(50), 8), seed=0)["mean"]
    assert alone is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_a_figure_that_never_could_be_told_has_no_interval() -> None:
    assert intervals(lambda _: {"x": np.nan}, np.arange(3), seed=0) == {"x": None}
    assert intervals(lambda _: {"x": np.nan}, np.array([], np.int64), seed=0) == {"x": None}
