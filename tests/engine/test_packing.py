import torch

from moderation_service.engine.inputs import PostInputs
from moderation_service.engine.packing import Row, block_mask, pack, plan


def straight(ids: torch.Tensor, **_: object) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(ids.shape[1]).expand(3, 1, -1), torch.zeros(1, 1)


def test_a_token_sees_the_opening_the_post_and_its_own_question_up_to_itself() -> None:
    mask = block_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), start=1)
    assert mask.shape == (1, 1, 6, 7)
    assert mask[0, 0].int().tolist() == [
        # opening, post, post, first question twice, second question, padding
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0, 1, 0],
        [1, 1, 1, 0, 0, 0, 1],
    ]


def test_every_question_starts_right_behind_its_post() -> None:
    rows = [
        Row(PostInputs([5, 6, 7], (), truncated=False), ([8, 9], [8, 10, 11])),
        Row(PostInputs([], (), truncated=False), ([8, 9],)),
    ]
    batch = pack(rows, start=4, image_token=99, pad=0, rope_index=straight)
    assert batch.ids.tolist() == [[5, 6, 7, 8, 9, 8, 10, 11], [8, 9, 0, 0, 0, 0, 0, 0]]
    assert batch.positions[0, 0].tolist() == [4, 5, 6, 7, 8, 7, 8, 9]
    assert batch.positions[0, 1, :2].tolist() == [4, 5]
    assert list(zip(batch.answer_rows.tolist(), batch.answer_columns.tolist(), strict=True)) == [(0, 4), (0, 7), (1, 1)]


def test_rows_alike_in_length_go_together_and_fill_the_batch_with_padding_counted() -> None:
    assert plan([10, 90, 11, 30, 200], max_batch_tokens=100) == [[0, 2, 3], [1], [4]]


def test_a_row_longer_than_a_batch_is_a_batch_of_its_own() -> None:
    assert plan([500, 500], max_batch_tokens=100) == [[0], [1]]


def test_nothing_needs_no_batch() -> None:
    assert plan([], max_batch_tokens=100) == []
