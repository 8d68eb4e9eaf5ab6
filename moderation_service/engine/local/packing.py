"""Rows of a batch under a mask, as the demo model is trained: here gradients pass; the engine has `rows`.

A post, and behind it all the questions asked of it, none of which sees another.

    kept prefix │ post …………… │ suffix 1 │ suffix 2 │ suffix 3 │ padding
        P        │            Q, the same for all rows of a batch

A token sees the whole prefix, its row's post, and of the suffixes only its own, up to itself. Every suffix starts
at the same position, the one behind its post, as if it stood there alone. In one row the prefix is kept from
one batch to the next, the post is computed once, and each answer is the one a prompt of its own would get.

The masks and positions that make this exact were measured against one full forward a policy; so were those
that are silently wrong: positions counted along the row, or left to the model, which keeps those of the
batch before.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import DynamicLayer

from moderation_service.engine.local.post_tokenizer import TokenizedPost

POST = 0
PADDING = -1


class KeptPrefixLayer(DynamicLayer):  # type: ignore[misc]  # transformers' caches are untyped
    """One layer's keys and values of a prefix, handed to every row and never grown.

    transformers' own layer would keep each batch's tokens, and a copy of the prefix for every row of all layers.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """`keys` and `values`: [1, heads, P, head size]."""
        super().__init__()
        self.keys, self.values = keys, values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        *_: Any,  # noqa: ANN401 - as in the class above
        **__: Any,  # noqa: ANN401
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The prefix's and the row's, [B, heads, P + Q, head size] each, for this forward alone."""
        rows = (len(key_states), -1, -1, -1)
        keys = torch.cat([self.keys.expand(rows), key_states], dim=-2)
        return keys, torch.cat([self.values.expand(rows), value_states], dim=-2)


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
class Batch:
    """The inputs of one forward (B rows of Q tokens behind P kept ones) and where its A answers are read."""

    ids: torch.Tensor  # [B, Q]
    mask: torch.Tensor  # [B, 1, Q, P + Q], True: may be seen
    positions: torch.Tensor  # [3, B, Q]: time, height, width
    answer_rows: torch.Tensor  # [A]
    answer_columns: torch.Tensor  # [A]

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(
            self.ids.to(device),
            self.mask.to(device),
            self.positions.to(device),
            self.answer_rows.to(device),
            self.answer_columns.to(device),
        )


def plan_padded_batches(lengths: Sequence[int], max_batch_tokens: int) -> list[list[int]]:
    """Which rows go together: alike in length, so that little is padded, and `max_batch_tokens` with padding.

    A row is never split; one that is longer by itself is a batch of its own.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        # Sorted: the row that comes last is the longest so far.
        if batches and (len(batches[-1]) + 1) * lengths[index] <= max_batch_tokens:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pack(rows: Sequence[PostRow], start: int, image_token: int, pad: int, merge: int) -> Batch:
    """Make one batch of `rows` behind a prefix of `start` tokens, whose last position is `start` - 1.

    `merge` patches of an image a side are a token.
    """
    longest = max(row.length for row in rows)
    ids = torch.full((len(rows), longest), pad)
    segments = torch.full((len(rows), longest), PADDING)
    positions = torch.zeros((3, len(rows), longest), dtype=torch.long)
    answers: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        at = len(row.post.ids)
        ids[number, :at] = torch.tensor(row.post.ids, dtype=torch.long)
        segments[number, :at] = POST
        positions[:, number, :at] = post_positions(row.post, start, image_token, merge)
        behind = int(positions[:, number, :at].max()) + 1 if at else start
        for suffix_number, suffix in enumerate(row.suffixes, start=POST + 1):
            end = at + len(suffix)
            ids[number, at:end] = torch.tensor(suffix)
            segments[number, at:end] = suffix_number
            positions[:, number, at:end] = torch.arange(behind, behind + len(suffix))
            answers.append((number, end - 1))
            at = end
    where = torch.tensor(answers)  # [A, 2]
    return Batch(
        ids=ids,
        mask=block_mask(segments, start),
        positions=positions,
        answer_rows=where[:, 0],
        answer_columns=where[:, 1],
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


def block_mask(segments: torch.Tensor, start: int) -> torch.Tensor:
    """From each token's segment [B, Q] what it may see [B, 1, Q, start + Q].

    Padding sees the prefix like all others, so that no token sees nothing, which would make it NaN.
    """
    batch, length = segments.shape
    earlier = torch.ones(length, length, dtype=torch.bool).tril()  # [Q, Q]
    same = segments[:, :, None] == segments[:, None, :]  # [B, Q, Q]
    inside = (same | (segments == POST)[:, None, :]) & earlier
    return torch.cat([torch.ones(batch, length, start, dtype=torch.bool), inside], dim=-1)[:, None]
