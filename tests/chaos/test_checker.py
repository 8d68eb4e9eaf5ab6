"""What the checker must not miss: each breach, made up."""

from collections.abc import Callable

import pytest

from tests.chaos.checker import acknowledged_in_vain, breaches
from tests.chaos.reader import Found, Place
from tests.chaos.traffic import Sent
from tests.chaos.watch import Sample

OUT, DEAD = "verdicts", "dead"
SENT = [
    Sent("post", "a@1", 0, 0),
    Sent("poison", "bad", 0, 1),
    Sent("post", "b@1", 0, 2),
    Sent("gone", "c", 0, 3),
]
SAMPLES = [Sample({}, {}), Sample({0: 2}, {(OUT, 0): 1, (DEAD, 0): 1}), Sample({0: 4}, {(OUT, 0): 3, (DEAD, 0): 1})]


def all_well() -> Found:
    found = Found()
    verdict(found, "a@1", 0)
    verdict(found, "b@1", 1)
    found.add("gone", "c", Place(OUT, 0, 2))
    letter(found, "bad", "1")
    found.erased["c"] += 1
    return found


def verdict(found: Found, name: str, offset: int, verdict_id: str = "") -> None:
    found.verdict_ids[name].add(verdict_id or name)
    found.add("verdict", name, Place(OUT, 0, offset))


def letter(found: Found, name: str, offset: str) -> None:
    found.letters[name].append({"partition": "0", "offset": offset, "reason": "not_json"})
    found.add("dead", name, Place(DEAD, 0, 0))


def lost(found: Found) -> None:
    del found.places["b@1"]


def twice(found: Found) -> None:
    verdict(found, "a@1", 3)


def other_id(found: Found) -> None:
    verdict(found, "a@1", 3, "another")


def made_up(found: Found) -> None:
    verdict(found, "z@1", 3)


def out_of_order(found: Found) -> None:
    found.order[OUT, 0] = ["b@1", "a@1", "c"]


def dropped_as_poison(found: Found) -> None:
    letter(found, "b@1", "2")


def judged_poison(found: Found) -> None:
    found.verdict_ids["bad"].add("x")


def misnamed(found: Found) -> None:
    found.letters["bad"][0]["offset"] = "7"


def published_late(found: Found) -> None:
    found.places["a@1"] = [Place(OUT, 0, 1)]


def not_erased(found: Found) -> None:
    found.erased.clear()


def erased_twice(found: Found) -> None:
    found.erased["c"] += 1


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lost, "missing: 1, such as b@1"),
        (twice, "more than once: 1, such as a@1"),
        (other_id, "verdict ids differ: 1, such as a@1"),
        (made_up, "never sent: 1, such as z@1"),
        (out_of_order, "order: a@1, offset 0, after 2 in verdicts[0]"),
        (dropped_as_poison, "a post became a dead letter: b@1: not_json"),
        (judged_poison, "a verdict on what is no post: 1, such as bad"),
        (misnamed, "a dead letter names another record: bad"),
        (not_erased, "letters not erased: 1, such as c"),
        (erased_twice, "erased more than once: 1, such as c"),
        (published_late, "committed 2 of 0 passed a@1, which was not published"),
    ],
)
def test_each_breach_is_found(fault: Callable[[Found], None], said: str) -> None:
    found = all_well()
    assert not breaches(found, SENT, SAMPLES, once=True)
    fault(found)
    assert said in breaches(found, SENT, SAMPLES, once=True)


TWICE = [*SENT, *(Sent(one.kind, one.name, 0, 4 + one.offset) for one in SENT)]  # as a retrying producer may write


def all_well_twice() -> Found:
    found = all_well()
    verdict(found, "a@1", 3)
    verdict(found, "b@1", 4)
    found.add("gone", "c", Place(OUT, 0, 5))
    letter(found, "bad", "5")
    found.erased["c"] += 1
    return found


def test_what_is_on_the_input_twice_has_two_outputs() -> None:
    later = [*SAMPLES, Sample({0: 8}, {(OUT, 0): 6, (DEAD, 0): 1})]
    assert not breaches(all_well_twice(), TWICE, later, once=True)
    assert breaches(all_well_twice(), SENT, SAMPLES, once=True)[:2] == [
        "more than once: 4, such as a@1, b@1, bad, c",
        "erased more than once: 1, such as c",
    ]
    assert breaches(all_well(), TWICE, SAMPLES, once=True) == [
        "missing: 4, such as a@1, b@1, bad, c",
        "letters not erased: 1, such as c",
    ]


def test_the_second_of_two_is_published_before_it_is_committed_and_has_a_letter_of_its_own() -> None:
    early = [*SAMPLES, Sample({0: 5}, SAMPLES[-1].ends)]
    said = breaches(all_well_twice(), TWICE, early, once=True)
    assert said == ["committed 5 of 0 passed a@1, which was not published"]
    found = all_well_twice()
    found.letters["bad"][1]["offset"] = "1"
    assert breaches(found, TWICE, SAMPLES, once=True) == ["a dead letter names another record: bad"]


def test_what_the_brokers_acknowledged_and_lost_is_found() -> None:
    assert not acknowledged_in_vain(SENT, TWICE)
    assert acknowledged_in_vain(SENT, SENT[1:]) == ["acknowledged and not there: 1, such as a@1"]


def test_a_committed_offset_that_goes_back_is_found() -> None:
    back = [*SAMPLES, Sample({0: 3}, SAMPLES[-1].ends)]
    assert breaches(all_well(), SENT, back, once=True) == ["committed offset of 0 went back from 4 to 3"]


def test_at_least_once_may_repeat_and_not_differ() -> None:
    found = all_well()
    twice(found)
    assert not breaches(found, SENT, SAMPLES, once=False)
    other_id(found)
    assert breaches(found, SENT, SAMPLES, once=False) == ["verdict ids differ: 1, such as a@1"]


def test_what_was_not_committed_yet_may_be_missing_where_not_all_could_be_done() -> None:
    found = all_well()
    for name in ("b@1", "c"):
        del found.places[name]
    found.erased.clear()
    assert not breaches(found, SENT, SAMPLES[:2], once=True, until={0: 2})
    assert breaches(found, SENT, SAMPLES[:2], once=True, until={0: 3}) == ["missing: 1, such as b@1"]
