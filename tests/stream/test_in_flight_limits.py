import pytest
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.stream.offset_tracker import InFlightLimit, InFlightLimits

LIMIT = 64


def fill(bound: InFlightLimit, processor: int, more: int = 1) -> int:
    """Take as long as the processor may; how much."""
    taken = 0
    while bound.admits(processor, more):
        bound.take(processor, more)
        taken += more
    return taken


def test_a_held_partition_leaves_every_other_partition_its_part() -> None:
    bound = InFlightLimit(LIMIT, [0, 0, 0, 0])
    assert fill(bound, 0) == LIMIT - 3 * (LIMIT // 8)
    assert [fill(bound, processor) for processor in (1, 2, 3)] == [LIMIT // 8] * 3


def test_a_partition_alone_has_the_whole_limit() -> None:
    assert fill(InFlightLimit(10, [0]), 0) == 10


def test_what_is_held_already_counts() -> None:
    assert fill(InFlightLimit(10, [8, 0]), 0) == 0
    assert fill(InFlightLimit(10, [8, 0]), 1) == 2


@given(st.integers(1, 40), st.lists(st.tuples(st.integers(0, 7), st.integers(1, 9)), max_size=100), st.integers(1, 8))
def test_the_sum_never_passes_the_limit(limit: int, wishes: list[tuple[int, int]], processors: int) -> None:
    bound, used = InFlightLimit(limit, [0] * processors), 0
    for wish, more in wishes:
        processor = wish % processors
        if bound.admits(processor, more):
            bound.take(processor, more)
            used += more
        assert used <= limit


@pytest.mark.parametrize(("held", "admitted"), [(0, True), (1, False)])
def test_a_record_larger_than_a_partitions_part_passes_when_its_partition_is_empty(
    held: int, *, admitted: bool
) -> None:
    budget = InFlightLimits(InFlightLimit(100, [held, 50]), InFlightLimit(1000, [held, 750]))
    assert budget.admits(0, 900) is admitted


def test_of_records_larger_than_their_partitions_part_one_passes_at_a_time_and_small_ones_go_on() -> None:
    processors = 200
    budget = InFlightLimits(InFlightLimit(256, [0] * processors), InFlightLimit(64_000, [0] * processors))

    def take(processor: int, size: int) -> bool:
        admitted = budget.admits(processor, size)
        if admitted:
            budget.take(processor, size)
        return admitted

    assert [processor for processor in range(processors) if take(processor, 8_000)] == [0, 1, 2, 3, 4]
    assert all(take(processor, 160) for processor in range(5, processors)), "each processor keeps its part"


def test_when_a_large_record_is_published_the_next_one_passes() -> None:
    held = [0, 8_000, 8_000, 8_000, 8_000, *[0] * 195]
    posts = [int(size > 0) for size in held]
    assert InFlightLimits(InFlightLimit(256, posts), InFlightLimit(64_000, held)).admits(0, 8_000)


@given(st.integers(1, 60), st.lists(st.tuples(st.integers(0, 7), st.integers(1, 20)), max_size=100), st.integers(1, 8))
def test_bytes_never_pass_the_limit_and_one_record(limit: int, wishes: list[tuple[int, int]], processors: int) -> None:
    budget, used = InFlightLimits(InFlightLimit(1000, [0] * processors), InFlightLimit(limit, [0] * processors)), 0
    for wish, size in wishes:
        processor = wish % processors
        if budget.admits(processor, size):
            budget.take(processor, size)
            used += size
        assert used <= limit + 20
