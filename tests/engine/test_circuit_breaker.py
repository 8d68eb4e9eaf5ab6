import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from moderation_service.engine.openai.client import COOL_DOWN_S, FAILURES, CircuitBreaker, ServerFailed
from moderation_service.errors import Transient
from tests.timing import Clock


@pytest.fixture
def breaker(clock: Clock) -> Iterator[CircuitBreaker]:
    with capture_logs():
        yield CircuitBreaker(clock=clock)


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(ServerFailed), breaker.call():
            raise ServerFailed("server_error", "status 500")


def is_open(breaker: CircuitBreaker) -> bool:
    reasons = []
    try:
        with breaker.call():
            pass
    except Transient as error:
        reasons.append(error.reason)
    return reasons == ["circuit_open"]


def test_failures_in_a_row_open_it_and_an_answer_between_them_does_not(breaker: CircuitBreaker) -> None:
    for _ in range(3):
        fail(breaker, FAILURES - 1)
        assert not is_open(breaker)
    fail(breaker, FAILURES)
    assert is_open(breaker)


def test_an_error_that_shows_the_server_to_be_there_counts_as_an_answer(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURES - 1)
    with pytest.raises(ValueError, match="busy"), breaker.call():
        raise ValueError("busy")
    fail(breaker, FAILURES - 1)
    assert not is_open(breaker)


def test_after_the_cool_down_one_call_tries_and_the_others_wait_for_it(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += COOL_DOWN_S - 0.1
    assert is_open(breaker)
    clock.now += 0.1
    with breaker.call():
        assert is_open(breaker)
    assert not is_open(breaker)


def test_a_trial_that_fails_begins_another_cool_down(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += COOL_DOWN_S
    fail(breaker)
    assert is_open(breaker)
    clock.now += COOL_DOWN_S
    assert not is_open(breaker)


def test_a_probe_is_always_made_and_what_it_finds_counts(breaker: CircuitBreaker) -> None:
    fail(breaker, FAILURES)
    with breaker.call(probe=True):
        assert is_open(breaker)
    assert not is_open(breaker)


def test_a_trial_that_is_cancelled_lets_another_try(breaker: CircuitBreaker, clock: Clock) -> None:
    fail(breaker, FAILURES)
    clock.now += COOL_DOWN_S
    with pytest.raises(asyncio.CancelledError), breaker.call():
        raise asyncio.CancelledError
    with breaker.call():
        assert is_open(breaker)


def test_opening_and_recovery_are_logged_once_each(clock: Clock) -> None:
    breaker = CircuitBreaker(clock=clock)
    with capture_logs() as logged:
        fail(breaker, FAILURES)
        clock.now += COOL_DOWN_S
        fail(breaker)
        clock.now += COOL_DOWN_S
        assert not is_open(breaker)
    assert [entry["event"] for entry in logged] == [
        "circuit breaker open: nothing is sent to the server",
        "the engine's server is back",
    ]
