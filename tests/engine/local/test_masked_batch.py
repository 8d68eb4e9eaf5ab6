from collections.abc import Sequence

import torch
from hypothesis import given
from hypothesis import strategies as st

from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.generator import plan_padded_batches
from moderation_service.engine.local.image_encoder import StagedImage
from moderation_service.engine.local.packed_row import PostRow, post_positions
from moderation_service.engine.local.post_tokenizer import TokenizedPost
from moderation_service.training.masked_batch import block_mask, pack

IMAGE = 99
SIDES = st.integers(1, 9)


def test_a_token_sees_the_prefix_the_post_and_its_own_question_up_to_itself() -> None:
    mask = block_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), start=1)
    assert mask.shape == (1, 1, 6, 7)
    assert mask[0, 0].int().tolist() == [
        # prefix, post, post, first question twice, second question, padding
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0, 1],
    ]


def test_every_question_starts_right_behind_its_post() -> None:
    rows = [
        PostRow(TokenizedPost([5, 6, 7], (), truncated=False), ([8, 9], [8, 10, 11])),
        PostRow(TokenizedPost([], (), truncated=False), ([8, 9],)),
    ]
    batch = pack(rows, start=4, image_token=99, pad=0, merge=2)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9, 8, 10, 11], [8, 9, 0, 0, 0, 0, 0, 0]]
    assert batch.positions[0, 0].tolist() == [4, 5, 6, 7, 8, 7, 8, 9]
    assert batch.positions[0, 1, :2].tolist() == [4, 5]
    assert list(zip(batch.answer_rows.tolist(), batch.answer_columns.tolist(), strict=True)) == [(0, 4), (0, 7), (1, 1)]


@given(
    images=st.lists(st.tuples(st.integers(1, 3), SIDES, SIDES), max_size=4),
    closing=st.integers(0, 5),
    start=st.integers(0, 300),
)
def test_a_posts_positions_are_those_that_the_model_gives_it(
    checkpoint: Checkpoint, images: Sequence[tuple[int, int, int]], closing: int, start: int
) -> None:
    """Images of so many tokens down and across, each behind some words."""
    ids: list[int] = []
    for words, down, across in images:
        ids += [5] * words + [IMAGE] * down * across
    ids += [5] * closing
    grids = [torch.tensor([[1, 2 * down, 2 * across]]) for _, down, across in images]
    post = TokenizedPost(ids, tuple(StagedImage(torch.empty(0), grid) for grid in grids), truncated=False)
    found = post_positions(post, start, IMAGE, merge=2)
    assert (found.shape, found.dtype) == ((3, len(ids)), torch.int64)
    if ids:  # the model takes none without
        tokens = torch.tensor([ids])
        wanted, _ = checkpoint.model.model.get_rope_index(
            tokens, (tokens == IMAGE).int(), image_grid_thw=torch.cat(grids) if grids else None
        )
        assert torch.equal(found, wanted[:, 0] + start)


def test_rows_alike_in_length_go_together_and_fill_the_batch_with_padding_counted() -> None:
    assert plan_padded_batches([10, 90, 11, 30, 200], max_batch_tokens=100) == [[0, 2, 3], [1], [4]]


def test_a_row_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    assert plan_padded_batches([500, 500], max_batch_tokens=100) == [[0], [1]]


def test_nothing_needs_no_batch() -> None:
    assert plan_padded_batches([], max_batch_tokens=100) == []
