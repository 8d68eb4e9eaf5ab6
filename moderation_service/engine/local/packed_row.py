"""Many posts and all that is asked of them in one row of tokens, without padding.

    post 1 │ post 2 │ … │ suffixes of post 1 │ suffixes of post 2 │ …

Every suffix starts at the position behind its post, as if it stood there alone, so each answer is the one a prompt of
its own would get. Positions counted along the row, or left to the model, which keeps those of the batch before, would
be silently wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from moderation_service.engine.local.packing import PostRow, post_positions


@dataclass(frozen=True, slots=True)
class PackedRow:
    """N tokens behind P of a prefix, where the A answers are read, and how long posts and suffixes are, in order."""

    ids: torch.Tensor  # [1, N]
    positions: torch.Tensor  # [3, 1, N]: time, height, width
    images: torch.Tensor  # [M]: where image tokens are
    answers: torch.Tensor  # [A]
    posts: list[int]
    asked: list[int]  # all suffixes of a post together
    suffixes: list[int]


def split_into_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Which posts go together, in order; one that is longer than `max_batch_tokens` goes alone."""
    batches: list[list[int]] = []
    left = 0
    for index, length in enumerate(lengths):
        if not batches or length > left:
            batches.append([])
            left = max_batch_tokens
        batches[-1].append(index)
        left -= length
    return batches


def pack_rows(rows: Sequence[PostRow], start: int, image_token: int, merge: int) -> PackedRow:
    """Lay out `rows`, not none, behind a prefix of `start` tokens, whose last position is `start` - 1.

    `merge` patches of an image a side are a token.
    """
    posts = [post_positions(row.post, start, image_token, merge) for row in rows]  # [3, tokens] each
    behind = [int(positions.max()) + 1 if positions.numel() else start for positions in posts]
    suffixes = [(suffix, place) for row, place in zip(rows, behind, strict=True) for suffix in row.suffixes]
    of_suffixes = [torch.arange(place, place + len(suffix)).expand(3, -1) for suffix, place in suffixes]
    lengths = [len(suffix) for suffix, _ in suffixes]
    tokens = [*(row.post.ids for row in rows), *(suffix for suffix, _ in suffixes)]
    ids = torch.from_numpy(np.fromiter(chain.from_iterable(tokens), np.int64))  # torch reads lists ten times slower
    return PackedRow(
        ids=ids[None],
        positions=torch.cat([*posts, *of_suffixes], dim=1)[:, None],
        images=(ids == image_token).nonzero()[:, 0],
        answers=len(ids) - sum(lengths) + torch.tensor(lengths).cumsum(0) - 1,
        posts=[len(row.post.ids) for row in rows],
        asked=[sum(map(len, row.suffixes)) for row in rows],
        suffixes=lengths,
    )
