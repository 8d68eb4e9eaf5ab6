"""The vision tower for training: many images in one attention, where the stock forward takes them one by one.

It uses the stock modules and gives the stock result; a test holds the two against each other.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional
from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from transformers.models.glm4v.modeling_glm4v import Glm4vVisionModel, apply_rotary_pos_emb_vision

from demo_model.image_bank import PATCH

if TYPE_CHECKING:
    from collections.abc import Iterable

Grid = tuple[int, int]


def patches(pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Images [N, H, W, 3] as normalised patches [N, H/14 · W/14, 3 · 14²], four of a merged square in a row."""
    count, height, width, _ = pixels.shape
    image = torch.from_numpy(pixels).float() / 255
    image = (image - torch.tensor(OPENAI_CLIP_MEAN)) / torch.tensor(OPENAI_CLIP_STD)
    down, across = height // (2 * PATCH), width // (2 * PATCH)
    cut = image.view(count, down, 2, PATCH, across, 2, PATCH, 3)
    return cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(count, down * across * 4, 3 * PATCH * PATCH)


def coordinates(grid: Grid) -> torch.Tensor:
    """Row and column of each patch [patches, 2], in the order of `patches`."""
    down, across = grid
    both = torch.stack(torch.meshgrid(torch.arange(down), torch.arange(across), indexing="ij"))
    return both.view(2, down // 2, 2, across // 2, 2).permute(1, 3, 2, 4, 0).reshape(-1, 2)


def see(visual: Glm4vVisionModel, seen: torch.Tensor, grids: list[Grid]) -> torch.Tensor:
    """Features [N, tokens, hidden size] of N images [N, patches, 3 · 14²], padded at the end to the largest grid."""
    count, length = seen.shape[:2]
    embedding = visual.patch_embed.proj
    # Both frames are the same image, so that the two halves of the kernel can be added up first.
    kernel = embedding.weight.sum(2).flatten(1)
    hidden = visual.post_conv_layernorm(functional.linear(seen, kernel, embedding.bias))

    kinds = sorted(set(grids))
    which = torch.tensor([kinds.index(grid) for grid in grids])
    places = [coordinates(grid) for grid in kinds]
    lengths = torch.tensor([len(place) for place in places])
    flat = torch.cat(places)
    shapes = torch.tensor([(1, *grid) for grid in kinds])
    blank = hidden.new_zeros(len(flat), hidden.shape[-1])
    learned = visual.embeddings(blank, lengths, shapes, flat[:, 0], flat[:, 1])
    cos, sin = visual.rotary_pos_emb(hidden, flat)

    def padded(rows: torch.Tensor) -> torch.Tensor:
        parts = torch.split(rows, lengths.tolist())
        return torch.stack([functional.pad(part, (0, 0, 0, length - len(part))) for part in parts])[which]

    hidden = hidden + padded(learned)
    turns = padded(cos), padded(sin)
    mask = None
    if len(kinds) > 1:
        mask = (torch.arange(length) < lengths[which, None])[:, None, None]  # [N, 1, 1, patches]
    for block in cast("Iterable[Any]", visual.blocks):
        hidden = hidden + _attend(block.attn, block.norm1(hidden), turns, mask)
        hidden = hidden + block.mlp(block.norm2(hidden))
    hidden = visual.post_layernorm(hidden)
    merge = visual.downsample
    # Four patches in a row are one square: its convolution is one product.
    squares = hidden.view(count, length // 4, 4, -1).transpose(2, 3).flatten(2)
    merged: torch.Tensor = visual.merger(functional.linear(squares, merge.weight.flatten(1), merge.bias))
    return merged


def _attend(
    attention: Any,  # noqa: ANN401 - the stock module, untyped
    hidden: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
    mask: torch.Tensor | None,
) -> torch.Tensor:
    count, length, width = hidden.shape
    heads = attention.num_heads
    query, key, value = attention.qkv(hidden).view(count, length, 3, heads, -1).unbind(2)
    query, key = apply_rotary_pos_emb_vision(query, key, *turns)
    mixed = functional.scaled_dot_product_attention(
        query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
    )
    projected: torch.Tensor = attention.proj(mixed.transpose(1, 2).reshape(count, length, width))
    return projected
