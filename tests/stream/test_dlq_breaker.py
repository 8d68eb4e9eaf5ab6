from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moderation_service.settings import KafkaSettings
from moderation_service.stream.admission import DeadLetterBreaker
from tests.timing import Clock

PAUSE_S = 10.0


def breaker(clock: Clock, window: int = 10, share: float = 0.5) -> DeadLetterBreaker:
    settings = KafkaSettings(dlq_breaker_window=window, dlq_breaker_ratio=share, dlq_breaker_pause_s=PAUSE_S)
    return DeadLetterBreaker(settings, clock)


def see(its: DeadLetterBreaker, *dead: bool) -> None:
    for one in dead:
        its.record(dead_letter=one)


def test_it_opens_when_more_than_the_share_of_a_whole_window_is_dead() -> None:
    its = breaker(Clock())
    see(its, *[True] * 5, *[False] * 5)
    assert not its.is_open
    see(its, False, *[True] * 6)
    assert its.is_open


def test_a_few_records_say_nothing() -> None:
    its = breaker(Clock())
    see(its, *[True] * 9)
    assert not its.is_open


def test_after_the_pause_it_looks_at_new_records_alone(clock: Clock) -> None:
    its = breaker(clock)
    see(its, *[True] * 30)
    clock.now += PAUSE_S
    assert not its.is_open
    see(its, *[True] * 9)
    assert not its.is_open
    see(its, True)
    assert its.is_open


def test_a_share_of_1_never_opens_it() -> None:
    its = breaker(Clock(), share=1.0)
    see(its, *[True] * 1000)
    assert not its.is_open


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=60), st.integers(1, 12), st.sampled_from([0.1, 0.5, 0.9]))
def test_it_counts_as_a_plain_sum_does(seen: list[bool], window: int, share: float) -> None:
    its, last = breaker(Clock(), window, share), deque[bool](maxlen=window)
    for one in seen:
        its.record(dead_letter=one)
        last.append(one)
        if len(last) == window and sum(last) > share * window:
            assert its.is_open
            return
        assert not its.is_open


@pytest.mark.parametrize("share", [0.0, 1.1])
def test_shares_that_are_none_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match="dlq_breaker_ratio"):
        KafkaSettings(dlq_breaker_ratio=share)
