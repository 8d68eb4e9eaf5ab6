from datetime import UTC, datetime, timedelta

from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.run import JudgedPost
from moderation_service.training.split import split
from tests.evaluation.made import judged

BEGAN = datetime(2026, 5, 1, tzinfo=UTC)


def at(name: str, minute: int | None, twin_of: str | None = None) -> JudgedPost:
    one = judged(name, {"doxxing": False}, {}, twin_of=twin_of)
    when = None if minute is None else BEGAN + timedelta(minutes=minute)
    post = one.labelled.post.model_copy(update={"created_at": when})
    return JudgedPost(Labelled(post, one.labelled.labels, twin_of=twin_of), one.verdict)


def names(part: tuple[JudgedPost, ...]) -> list[str]:
    return [one.labelled.post.post_id for one in part]


def test_the_latest_posts_are_held_out_and_those_before_them_validate() -> None:
    found = split([at(f"p-{number}", number) for number in (3, 7, 1, 0, 9, 5, 2, 8, 4, 6)])
    assert found.by == "time"
    assert names(found.train) == [f"p-{number}" for number in range(7)]
    assert names(found.validation) == ["p-7"]
    assert names(found.held_out) == ["p-8", "p-9"]


def test_posts_made_from_one_another_stay_together_at_the_latest_of_their_times() -> None:
    posts = [at(f"p-{number}", number) for number in range(10)]
    found = split([*posts, at("p-0-twin", 50, twin_of="p-0")])
    assert names(found.held_out)[-2:] == ["p-0", "p-0-twin"]


def test_without_all_the_times_a_hash_parts_the_posts_the_same_way_each_time() -> None:
    posts = [at(f"p-{number}", None if number == 3 else number) for number in range(40)]
    found = split(posts)
    assert found.by == "hash"
    assert [len(part) for part in (found.train, found.validation, found.held_out)] == [26, 4, 10]
    again = split(posts[::-1])
    assert set(names(again.held_out)) == set(names(found.held_out))
    assert names(found.held_out) != [f"p-{number}" for number in range(30, 40)]
