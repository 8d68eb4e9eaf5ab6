"""Padded rows under a mask, through which gradients pass: for training, and to compare the engine's rows with.

A post, and behind it all the questions asked of it, none of which sees another.

    kept prefix │ post …………… │ suffix 1 │ suffix 2 │ suffix 3 │ padding
        P       │            Q, the same for all rows of a batch

A token sees the whole prefix, its row's post, and of the suffixes only its own, up to itself. The masks and positions
that make this exact were measured against one full forward a policy. The engine itself has `packed_row`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers.cache_utils import DynamicLayer

from moderation_service.engine.local.packed_row import PostRow, post_positions

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
class MaskedBatch:
    """The inputs of one forward (B rows of Q tokens behind P kept ones) and where its A answers are read."""

    ids: torch.Tensor  # [B, Q]
    mask: torch.Tensor  # [B, 1, Q, P + Q], True: may be seen
    positions: torch.Tensor  # [3, B, Q]: time, height, width
    answer_rows: torch.Tensor  # [A]
    answer_columns: torch.Tensor  # [A]

    def to(self, device: torch.device) -> "MaskedBatch":
        """The same on another device."""
        return MaskedBatch(
            self.ids.to(device),
            self.mask.to(device),
            self.positions.to(device),
            self.answer_rows.to(device),
            self.answer_columns.to(device),
        )


def pack(rows: Sequence[PostRow], start: int, image_token: int, pad: int, merge: int) -> MaskedBatch:
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
    return MaskedBatch(
        ids=ids,
        mask=block_mask(segments, start),
        positions=positions,
        answer_rows=where[:, 0],
        answer_columns=where[:, 1],
    )


def block_mask(segments: torch.Tensor, start: int) -> torch.Tensor:
    """From each token's segment [B, Q] what it may see [B, 1, Q, start + Q].

    Padding sees the prefix like all others, so that no token sees nothing, which would make it NaN.
    """
    batch, length = segments.shape
    earlier = torch.ones(length, length, dtype=torch.bool).tril()  # [Q, Q]
    same = segments[:, :, None] == segments[:, None, :]  # [B, Q, Q]
    inside = (same | (segments == POST)[:, None, :]) & earlier
    return torch.cat([torch.ones(batch, length, start, dtype=torch.bool), inside], dim=-1)[:, None]
