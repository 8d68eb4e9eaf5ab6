"""Who is suspected of a crash, and what is written before a record is taken."""

import pytest

from moderation_service.stream.resume_offset import CrashGuard, CrashMarker


def opened(found: CrashMarker, lag: int = 10, owner: str = "b") -> CrashGuard:
    guard = CrashGuard(owner)
    guard.open(found, lag)
    return guard


@pytest.mark.parametrize("note", [CrashMarker(), CrashMarker("a1"), CrashMarker("a1", 1, 12), CrashMarker("", 1, 3)])
def test_a_note_is_read_back_beside_that_of_a_loss(note: CrashMarker) -> None:
    assert CrashMarker.of(note.metadata()) == note
    assert CrashMarker.of(f"lost below 1050; {note.metadata()}") == note


@pytest.mark.parametrize("metadata", ["", "lost below 1050", "written by another program"])
def test_other_metadata_is_a_clean_close(metadata: str) -> None:
    assert CrashMarker.of(metadata) == CrashMarker()


def test_after_a_clean_close_nothing_is_suspected_and_one_mark_is_enough() -> None:
    guard = opened(CrashMarker())
    assert (guard.suspects, guard.marked, guard.mark) == (0, False, CrashMarker("b"))
    guard.written = guard.mark
    guard.settle(guard.after(5, left=3, waiting=True, closing=False))
    assert guard.marked


def test_what_another_left_in_flight_is_suspected_one_record_at_a_time() -> None:
    guard = opened(CrashMarker("a"), lag=2)
    assert (guard.suspects, guard.must_run_alone, guard.mark) == (2, False, CrashMarker("b", 1, 2))
    guard.settle(guard.after(1, left=0, waiting=True, closing=False))
    assert (guard.written, guard.marked) == (CrashMarker("b", 1, 1), True)
    guard.settle(guard.after(1, left=0, waiting=True, closing=False))
    assert (guard.written, guard.marked, guard.suspects) == (CrashMarker("b"), True, 0)


def test_an_attempt_that_died_isolates_the_record_and_the_third_convicts_it() -> None:
    for deaths in (1, 2):
        guard = opened(CrashMarker("a", deaths, 2))
        assert (guard.must_run_alone, guard.should_dead_letter) == (True, False)
        assert guard.mark == CrashMarker("b", deaths + 1, 2)
    third = opened(CrashMarker("a", 3, 2))
    assert (third.must_run_alone, third.should_dead_letter) == (False, True)
    third.settle(third.after(1, left=0, waiting=True, closing=False))
    assert (third.should_dead_letter, third.suspects) == (False, 1)


def test_ones_own_attempt_is_no_death() -> None:
    again = opened(CrashMarker("b", 1, 2))
    assert (again.deaths, again.suspects, again.mark) == (0, 2, CrashMarker("b", 1, 2))
    assert opened(CrashMarker("b")).suspects == 0


def test_a_record_that_survives_and_a_clean_close_take_the_attempt_back() -> None:
    guard = opened(CrashMarker("a", 1, 2))
    guard.written = guard.mark
    assert guard.closed == CrashMarker("", 1, 2)
    guard.survived = True
    assert (guard.must_run_alone, guard.marked, guard.mark) == (False, False, CrashMarker("b", 1, 2))
    later = opened(guard.closed, owner="c")
    assert (later.deaths, later.suspects) == (1, 2)


def test_the_last_commit_of_a_close_needs_no_other_and_keeps_the_suspects() -> None:
    guard = opened(CrashMarker("a"), lag=3)
    assert guard.after(1, left=0, waiting=False, closing=True) == CrashMarker(suspects=2)
    assert guard.after(1, left=1, waiting=False, closing=True).owner == "b"


def test_without_an_owner_it_is_off() -> None:
    guard = opened(CrashMarker("a", 3, 2), owner="")
    assert guard.marked
    assert guard.after(1, left=0, waiting=True, closing=False) == CrashMarker()
