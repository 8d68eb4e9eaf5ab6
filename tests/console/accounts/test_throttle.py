"""Guesses: so many in a window by name and address, and the memory they take is bounded."""

import pytest

from moderation_service.console.accounts import throttle
from moderation_service.console.accounts.throttle import ONE, PAIR, WINDOW_S, Throttle
from tests.timing import Clock


def test_a_name_from_one_address_has_few_tries_in_a_window(clock: Clock) -> None:
    guesses = Throttle(clock)
    for number in range(PAIR):
        assert guesses.begin("ann", "192.0.2.1") == 0
        assert guesses.spent("ann", "192.0.2.1") == (number == PAIR - 1)
        clock.now += 1
    assert guesses.begin("ann", "192.0.2.1") == WINDOW_S - PAIR
    assert guesses.begin("ann", "192.0.2.2") == 0
    assert guesses.begin("bob", "192.0.2.1") == 0
    clock.now = 1000.0 + WINDOW_S
    assert guesses.begin("ann", "192.0.2.1") == 0


def test_a_name_from_many_addresses_is_held_too(clock: Clock) -> None:
    guesses = Throttle(clock)
    assert all(guesses.begin("ann", f"192.0.2.{number}") == 0 for number in range(ONE))
    assert guesses.begin("ann", "198.51.100.1") == WINDOW_S


def test_many_names_from_one_address_are_held_too(clock: Clock) -> None:
    guesses = Throttle(clock)
    assert all(guesses.begin(f"user{number}", "192.0.2.1") == 0 for number in range(ONE))
    assert guesses.begin("ann", "192.0.2.1") == WINDOW_S
    assert guesses.begin("ann", "192.0.2.2") == 0


def test_addresses_of_one_ipv6_network_are_one(clock: Clock) -> None:
    guesses = Throttle(clock)
    assert all(guesses.begin("ann", f"2001:db8::{number:x}") == 0 for number in range(PAIR))
    assert guesses.begin("ann", "2001:db8::ffff") > 0
    assert guesses.begin("ann", "2001:db8:0:1::1") == 0


def test_a_right_password_forgets_the_wrong_ones_of_its_name_alone(clock: Clock) -> None:
    guesses = Throttle(clock)
    for number in range(ONE - 1):
        guesses.begin(f"user{number}", "192.0.2.1")
    assert guesses.begin("ann", "192.0.2.1") == 0
    guesses.passed("ann", "192.0.2.1")
    assert guesses.begin("ann", "192.0.2.1") == 0
    assert guesses.begin("ann", "192.0.2.1") > 0, "the address's own guesses of others count on"


def test_tries_at_the_same_time_are_counted_before_they_are_known_to_fail(clock: Clock) -> None:
    guesses = Throttle(clock)
    assert sum(guesses.begin("ann", "192.0.2.1") == 0 for _ in range(100)) == PAIR


def test_memory_is_bounded_however_many_try(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_KEPT", 50)
    guesses = Throttle(clock)
    for number in range(1000):
        guesses.begin(f"{number}" + "x" * 10_000, f"198.51.100.{number % 250}")
    assert len(guesses._tries) <= 50
    assert max(len(name) for name, _ in guesses._tries if name) <= 65
