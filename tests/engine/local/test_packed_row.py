from moderation_service.engine.local.packed_row import PostRow, pack_rows, split_into_batches
from moderation_service.engine.local.post_tokenizer import TokenizedPost


def test_posts_come_first_and_every_question_starts_right_behind_its_own() -> None:
    rows = [
        PostRow(TokenizedPost([5, 6, 7], (), truncated=False), ([8, 9], [8, 10, 11])),
        PostRow(TokenizedPost([], (), truncated=False), ([8, 9],)),
        PostRow(TokenizedPost([4], (), truncated=False), ([12],)),
    ]
    packed = pack_rows(rows, start=4, image_token=99, merge=2)
    assert packed.ids.tolist() == [[5, 6, 7, 4, 8, 9, 8, 10, 11, 8, 9, 12]]
    assert packed.positions.shape == (3, 1, 12)
    assert packed.positions[0, 0].tolist() == [4, 5, 6, 4, 7, 8, 7, 8, 9, 4, 5, 5]
    assert packed.ids[0, packed.answers].tolist() == [9, 11, 9, 12]
    assert (packed.posts, packed.suffixes_by_post, packed.suffixes) == ([3, 0, 1], [5, 2, 1], [2, 3, 2, 1])


def test_batches_are_filled_in_order_and_no_padding_is_counted() -> None:
    assert split_into_batches([10, 90, 11, 30, 59, 1], max_batch_tokens=100) == [[0, 1], [2, 3, 4], [5]]


def test_a_post_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    assert split_into_batches([500, 3, 500], max_batch_tokens=100) == [[0], [1], [2]]


def test_a_post_longer_than_a_batch_has_its_questions_asked_in_parts() -> None:
    row = PostRow(TokenizedPost([1, 2, 3], (), truncated=False), ([4, 5], [6], [7], [8, 9, 10, 11], [12]))
    parts = list(row.within(6))
    assert [part.suffixes for part in parts] == [([4, 5], [6]), ([7],), ([8, 9, 10, 11],), ([12],)]
    assert all(part.post is row.post for part in parts)
    assert [part.length for part in parts] == [6, 4, 7, 4]  # a question is never cut
    assert [part.suffixes for part in row.within(100)] == [row.suffixes]
    assert list(PostRow(row.post, ()).within(6)) == []


def test_nothing_needs_no_batch() -> None:
    assert split_into_batches([], max_batch_tokens=100) == []
