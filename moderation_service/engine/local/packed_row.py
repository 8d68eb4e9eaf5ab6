"""Sequence packing: many posts and all that is asked of them in one row of tokens behind a kept prefix, no padding.

    prefix (kept) │ post 1 │ post 2 │ … │ suffixes of post 1 │ suffixes of post 2 │ …

Every suffix starts at the position behind its post, as if it stood there alone, so each answer is the one a prompt of
its own would get. Positions counted along the row, or left to the model, which keeps those of the batch before, would
be silently wrong.

What a token sees falls into parts: the prefix; for a suffix, its post; and its own post or suffix up to itself. So no
masked pair is computed, and no prefix copied.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from moderation_service.engine.local.attention import CuSeqlens, PartialAttention, Qkv, attend_spans, merge, sdpa
from moderation_service.engine.local.post_tokenizer import TokenizedPost
from moderation_service.engine.prompts import PACKED_ATTENTION


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
    suffixes_by_post: list[int]  # all of a post together
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
        suffixes_by_post=[sum(map(len, row.suffixes)) for row in rows],
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


@dataclass(frozen=True, slots=True)
class AttentionMetadata:
    """One row behind its prefix: where posts and suffixes lie.

    `key_values` are the prefix's keys and values, [key heads, P, head size] each, a pair a layer.
    """

    key_values: Sequence[tuple[torch.Tensor, torch.Tensor]]
    posts: CuSeqlens
    suffixes_by_post: CuSeqlens
    suffixes: CuSeqlens
    prefix: CuSeqlens
    whole: CuSeqlens


def attend(  # noqa: PLR0913 - as transformers calls it
    module: Any,  # noqa: ANN401 - a layer of any member of the family
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    row: AttentionMetadata | None = None,
    **kwargs: Any,  # noqa: ANN401 - transformers' own
) -> tuple[torch.Tensor, None]:
    """Attention for transformers, whose own sdpa it is without `row`.

    `query` [1, heads, N, head size] to [1, N, heads, head size].
    """
    if row is None:
        return sdpa(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    whole, cut = Qkv(query[0], key[0], value[0]), row.posts.total
    posts, suffixes = Qkv(*(each[:, :cut] for each in whole)), Qkv(*(each[:, cut:] for each in whole))
    of_posts = attend_spans(posts, row.posts, row.posts, scaling, causal=True)
    of_suffixes = merge(
        attend_spans(suffixes, row.suffixes, row.suffixes, scaling, causal=True),
        attend_spans(Qkv(suffixes.query, posts.key, posts.value), row.suffixes_by_post, row.posts, scaling),
    )
    own = PartialAttention(*(torch.cat(pair, dim=1) for pair in zip(of_posts, of_suffixes, strict=True)))
    prefix = attend_spans(Qkv(whole.query, *row.key_values[module.layer_idx]), row.whole, row.prefix, scaling)
    return merge(own, prefix).values.transpose(0, 1)[None], None


AttentionInterface.register(PACKED_ATTENTION, attend)
AttentionMaskInterface.register(PACKED_ATTENTION, sdpa_mask)
