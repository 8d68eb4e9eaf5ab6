import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.stream.budget import Bound, Budget

LIMIT = 64


def test_a_held_lane_leaves_every_other_lane_its_part() -> None:
    bound, used = Bound(LIMIT), [0, 0, 0, 0]
    while bound.admits(used, 0, 1):
        used[0] += 1
    assert used[0] == LIMIT - 3 * (LIMIT // 8)
    for lane in (1, 2, 3):
        for _ in range(LIMIT // 8):
            assert bound.admits(used, lane, 1)
            used[lane] += 1
    assert sum(used) == LIMIT


def test_a_lane_alone_has_the_whole_limit() -> None:
    bound, used = Bound(10), [0]
    while bound.admits(used, 0, 1):
        used[0] += 1
    assert used == [10]


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 7), st.integers(1, 9)), max_size=100), st.integers(1, 8))
def test_the_sum_never_passes_the_limit(limit: int, wishes: list[tuple[int, int]], lanes: int) -> None:
    bound, used = Bound(limit), [0] * lanes
    for wish, more in wishes:
        lane = wish % lanes
        if bound.admits(used, lane, more):
            used[lane] += more
        assert sum(used) <= limit


@pytest.mark.parametrize(("held", "admitted"), [(0, True), (1, False)])
def test_a_record_larger_than_a_lanes_part_passes_when_its_lane_is_empty(held: int, *, admitted: bool) -> None:
    budget = Budget(Bound(100), Bound(1000))
    assert budget.admits([held, 50], [held, 750], 0, 900) is admitted
