import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from moderation_service.stream.offset_tracker import OffsetTracker, Release


class LedgerAgainstAModel(RuleBasedStateMachine):
    """The model: a list of offsets in order, and a set of the finished ones."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker: OffsetTracker[str] = OffsetTracker()
        self.order: list[tuple[int, int]] = []
        self.finished: dict[int, int] = {}
        self.released: Release[str] | None = None
        self.published: list[int] = []
        self.committed = 0
        self.last = -1

    @rule(gap=st.integers(1, 5), size=st.integers(0, 100))
    def take(self, gap: int, size: int) -> None:
        self.last += gap
        self.tracker.take(self.last, size)
        self.order.append((self.last, size))

    @precondition(lambda self: any(offset not in self.finished for offset, _ in self.order))
    @rule(data=st.data(), size=st.integers(0, 100))
    def finish(self, data: st.DataObject, size: int) -> None:
        offset = data.draw(st.sampled_from([offset for offset, _ in self.order if offset not in self.finished]))
        self.tracker.finish(offset, f"result {offset}", size)
        self.finished[offset] = size

    @precondition(lambda self: self.released is None)
    @rule(posts=st.integers(1, 4), size=st.integers(1, 150))
    def release(self, posts: int, size: int) -> None:
        expected: list[int] = []
        for offset, _ in self.order[:posts]:
            if offset not in self.finished or (expected and sum(map(self.finished.get, [*expected, offset])) > size):
                break
            expected.append(offset)
        self.released = self.tracker.release(posts, size)
        assert list(self.released.offsets if self.released else ()) == expected
        if self.released is not None:
            assert list(self.released.results) == [f"result {offset}" for offset in expected]
            assert self.released.next_offset == expected[-1] + 1

    @precondition(lambda self: self.released is not None)
    @rule()
    def settle(self) -> None:
        assert self.released is not None
        assert self.released.next_offset > self.committed
        self.committed = self.released.next_offset
        self.tracker.settle(self.released)
        done = set(self.released.offsets)
        self.published += self.released.offsets
        self.order = [(offset, size) for offset, size in self.order if offset not in done]
        self.released = None

    @precondition(lambda self: self.released is not None)
    @rule()
    def what_is_released_is_not_released_again(self) -> None:
        assert self.tracker.release(1, 1000) is None

    @invariant()
    def counts_agree(self) -> None:
        assert self.tracker.posts == len(self.order)
        assert self.tracker.size == sum(size for _, size in self.order)

    @invariant()
    def nothing_below_the_committed_offset_is_unpublished(self) -> None:
        assert self.published == sorted(self.published)
        assert all(offset >= self.committed for offset, _ in self.order)


TestLedgerAgainstAModel = LedgerAgainstAModel.TestCase
TestLedgerAgainstAModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


def test_an_offset_that_was_passed_is_refused() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.take(5, 1)
    with pytest.raises(ValueError, match="offset 5 taken after 5"):
        tracker.take(5, 1)


@pytest.mark.parametrize("offset", [4, 5])
def test_finishing_an_offset_twice_or_one_never_taken_is_refused(offset: int) -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    tracker.take(5, 1)
    tracker.finish(5, "done", 1)
    with pytest.raises(ValueError, match="is not in flight"):
        tracker.finish(offset, "again", 1)


def test_a_result_larger_than_the_bound_is_released_alone() -> None:
    tracker: OffsetTracker[str] = OffsetTracker()
    for offset in (1, 9):
        tracker.take(offset, 1)
        tracker.finish(offset, "large", 1000)
    release = tracker.release(10, 10)
    assert release is not None
    assert release.offsets == [1]
