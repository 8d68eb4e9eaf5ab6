"""Many posts and all that is asked of them in one row of tokens, without padding.

    post 1 │ post 2 │ … │ tails of post 1 │ tails of post 2 │ …

Every tail starts at the position behind its post, as if it stood there alone, so each answer is the one a prompt of
its own would get. Positions counted along the row, or left to the model, which keeps those of the batch before, would
be silently wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from moderation_service.engine.packing import Row, post_positions


@dataclass(frozen=True, slots=True)
class Line:
    """N tokens behind P kept ones, where the A answers are read, and how long posts and tails are, in their order."""

    ids: torch.Tensor  # [1, N]
    positions: torch.Tensor  # [3, 1, N]: time, height, width
    images: torch.Tensor  # [M]: where image tokens are
    answers: torch.Tensor  # [A]
    posts: list[int]
    asked: list[int]  # all tails of a post together
    tails: list[int]


def fill(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
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


def line_up(rows: Sequence[Row], start: int, image_token: int, merge: int) -> Line:
    """Lay out `rows`, not none, behind an opening of `start` tokens, whose last position is `start` - 1.

    `merge` patches of an image a side are a token.
    """
    posts = [post_positions(row.post, start, image_token, merge) for row in rows]  # [3, tokens] each
    behind = [int(positions.max()) + 1 if positions.numel() else start for positions in posts]
    tails = [(tail, place) for row, place in zip(rows, behind, strict=True) for tail in row.tails]
    of_tails = [torch.arange(place, place + len(tail)).expand(3, -1) for tail, place in tails]
    lengths = [len(tail) for tail, _ in tails]
    tokens = [*(row.post.ids for row in rows), *(tail for tail, _ in tails)]
    ids = torch.from_numpy(np.fromiter(chain.from_iterable(tokens), np.int64))  # torch reads lists ten times slower
    return Line(
        ids=ids[None],
        positions=torch.cat([*posts, *of_tails], dim=1)[:, None],
        images=(ids == image_token).nonzero()[:, 0],
        answers=len(ids) - sum(lengths) + torch.tensor(lengths).cumsum(0) - 1,
        posts=[len(row.post.ids) for row in rows],
        asked=[sum(map(len, row.tails)) for row in rows],
        tails=lengths,
    )
