"""Sequence packing: many posts and all that is asked of them in one row of tokens, without padding.

    post 1 │ post 2 │ … │ suffixes of post 1 │ suffixes of post 2 │ …

Every suffix starts at the position behind its post, as if it stood there alone, so each answer is the one a prompt of
its own would get. Positions counted along the row, or left to the model, which keeps those of the batch before, would
be silently wrong.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch

from moderation_service.engine.local.post_tokenizer import TokenizedPost


@dataclass(frozen=True, slots=True)
class PostRow:
    """A post and the suffixes of the questions asked of it."""

    post: TokenizedPost
    suffixes: tuple[list[int], ...]

    @property
    def length(self) -> int:
        """Tokens behind the prefix."""
        return len(self.post.ids) + sum(map(len, self.suffixes))

    def within(self, most: int) -> Iterator["PostRow"]:
        """The row in as many as it takes for each to have at most `most` tokens, or one suffix; none without suffixes.

        Each has the whole post, and a suffix sees no other, so the answers are the same.
        """
        left = 0
        parts: list[list[list[int]]] = []
        for suffix in self.suffixes:
            if not parts or len(suffix) > left:
                parts.append([])
                left = most - len(self.post.ids)
            parts[-1].append(suffix)
            left -= len(suffix)
        return (PostRow(self.post, tuple(part)) for part in parts)


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


def post_positions(post: TokenizedPost, start: int, image_token: int, merge: int) -> torch.Tensor:
    """The post's M-RoPE positions [3, tokens]: those the model gives it alone, behind `start` earlier ones.

    The model's `get_rope_index` takes a step of Python for each token; this is the same, for all tokens at once.
    """
    of_images = np.flatnonzero(np.asarray(post.ids, np.int64) == image_token)
    # Words go on by one. An image's tokens stand still, and what comes behind its last goes on by its longer side.
    steps = np.ones(len(post.ids), np.int64)
    steps[of_images] = 0
    cells = np.zeros((3, len(of_images)), np.int64)  # time, row and column of each token in its image
    end = 0
    for image in post.images:
        down, across = (side // merge for side in image.grid[0, 1:].tolist())
        begin, end = end, end + down * across
        cells[1:, begin:end] = np.divmod(np.arange(down * across), across)
        steps[of_images[end - 1]] = max(down, across)
    positions = np.tile(start + np.cumsum(steps) - steps, (3, 1))
    positions[:, of_images] += cells
    return torch.from_numpy(positions)
