from moderation_service.engine.inputs import PostInputs
from moderation_service.engine.packing import Row
from moderation_service.engine.rows import fill, line_up


def test_posts_come_first_and_every_question_starts_right_behind_its_own() -> None:
    rows = [
        Row(PostInputs([5, 6, 7], (), truncated=False), ([8, 9], [8, 10, 11])),
        Row(PostInputs([], (), truncated=False), ([8, 9],)),
        Row(PostInputs([4], (), truncated=False), ([12],)),
    ]
    line = line_up(rows, start=4, image_token=99, merge=2)
    assert line.ids.tolist() == [[5, 6, 7, 4, 8, 9, 8, 10, 11, 8, 9, 12]]
    assert line.positions.shape == (3, 1, 12)
    assert line.positions[0, 0].tolist() == [4, 5, 6, 4, 7, 8, 7, 8, 9, 4, 5, 5]
    assert line.ids[0, line.answers].tolist() == [9, 11, 9, 12]
    assert (line.posts, line.asked, line.tails) == ([3, 0, 1], [5, 2, 1], [2, 3, 2, 1])


def test_batches_are_filled_in_order_and_no_padding_is_counted() -> None:
    assert fill([10, 90, 11, 30, 59, 1], max_batch_tokens=100) == [[0, 1], [2, 3, 4], [5]]


def test_a_post_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    assert fill([500, 3, 500], max_batch_tokens=100) == [[0], [1], [2]]


def test_a_post_longer_than_a_batch_has_its_questions_asked_in_parts() -> None:
    row = Row(PostInputs([1, 2, 3], (), truncated=False), ([4, 5], [6], [7], [8, 9, 10, 11], [12]))
    parts = list(row.within(6))
    assert [part.tails for part in parts] == [([4, 5], [6]), ([7],), ([8, 9, 10, 11],), ([12],)]
    assert all(part.post is row.post for part in parts)
    assert [part.length for part in parts] == [6, 4, 7, 4]  # a question is never cut
    assert [part.tails for part in row.within(100)] == [row.tails]
    assert list(Row(row.post, ()).within(6)) == []


def test_nothing_needs_no_batch() -> None:
    assert fill([], max_batch_tokens=100) == []
