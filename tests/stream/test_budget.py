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


def test_of_records_larger_than_their_lanes_part_one_passes_at_a_time_and_small_ones_go_on() -> None:
    lanes = 200
    budget, posts, sizes = Budget(Bound(256), Bound(64_000)), [0] * lanes, [0] * lanes

    def take(lane: int, size: int) -> bool:
        admitted = budget.admits(posts, sizes, lane, size)
        if admitted:
            posts[lane] += 1
            sizes[lane] += size
        return admitted

    assert [lane for lane in range(lanes) if take(lane, 8_000)] == [0, 1, 2, 3, 4]
    assert sum(sizes) <= 64_000 + 8_000
    assert all(take(lane, 160) for lane in range(5, lanes)), "each lane keeps its part"
    posts[0] = sizes[0] = 0
    assert take(0, 8_000), "when one is published the next one passes"


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 7), st.integers(1, 20)), max_size=100), st.integers(1, 8))
def test_bytes_never_pass_the_limit_and_one_record(limit: int, wishes: list[tuple[int, int]], lanes: int) -> None:
    budget, posts, sizes = Budget(Bound(1000), Bound(limit)), [0] * lanes, [0] * lanes
    for wish, size in wishes:
        lane = wish % lanes
        if budget.admits(posts, sizes, lane, size):
            posts[lane] += 1
            sizes[lane] += size
        assert sum(sizes) <= limit + 20
