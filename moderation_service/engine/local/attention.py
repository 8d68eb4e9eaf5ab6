"""Partial attention over spans of a row, with the log-sum-exp by which parts are merged exactly; the kernels for it.

A softmax over all keys is the softmaxes over parts of them, weighed by their shares of the sum (as FlashAttention does
block by block). So a part that a fused kernel takes whole needs no mask.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

IMAGE_ATTENTION = "flash_by_image"
"""Of the vision tower's attention. transformers hands all images over at once where the name has *flash* in it, and
else cuts them apart in each layer, by lengths that it waits for the device to tell."""

FLASH_CAPABILITY = (8, 0)  # Ampere

MATRIX_BYTES = 256_000_000
"""Of the matrix of logits, where there is no kernel that does without: as many queries at a time as fit in it."""

LOGIT_BYTES = 10
"""Of a logit in it: in float32, its softmax, and that in the model's precision."""


class Qkv(NamedTuple):
    """Of one layer: [heads, tokens, head size] each; a group of query heads shares a head of keys and values."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor


class PartialAttention(NamedTuple):
    """What queries get from some of their keys: [heads, queries, head size], and [heads, queries] in float32."""

    values: torch.Tensor
    lse: torch.Tensor


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy without waiting for what the device still has to do: from pinned memory a GPU fetches it in its turn."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class CuSeqlens:
    """Sequences laid end to end: their bounds, as numbers and on the device, and the longest."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.bounds = [0, *accumulate(lengths)]
        self.on_device = to_device(torch.tensor(self.bounds, dtype=torch.int32), device)
        self.longest = max(lengths, default=0)

    @property
    def total(self) -> int:
        """Tokens of all."""
        return self.bounds[-1]


def attend_images(  # noqa: PLR0913 - as transformers calls it
    module: Any,  # noqa: ANN401, ARG001 - a layer of any member of the family
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001
    *,
    scaling: float,
    images: CuSeqlens,
    **_: Any,  # noqa: ANN401 - transformers' own
) -> tuple[torch.Tensor, None]:
    """Each image's patches over themselves, for transformers: [1, heads, N, head size] to [1, N, heads, head size]."""
    states = Qkv(query[0], key[0], value[0])
    return attend_spans(states, images, images, scaling).values.transpose(0, 1)[None], None


AttentionInterface.register(IMAGE_ATTENTION, attend_images)


def has_flash(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the kernel for GPUs takes it; older cards and float32 go the plain way."""
    if device.type != "cuda" or dtype == torch.float32:
        return False
    return torch.cuda.get_device_capability(device) >= FLASH_CAPABILITY


def is_plain(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether logits are a matrix there, as no kernel takes them."""
    return device.type != "cpu" and not has_flash(device, dtype)


def _at_once(heads: int, keys: int) -> int:
    """Queries whose logits fit in MATRIX_BYTES."""
    return max(MATRIX_BYTES // (LOGIT_BYTES * heads * keys), 1)


def sdpa(
    module: Any,  # noqa: ANN401
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,  # noqa: ANN401
) -> tuple[torch.Tensor, None]:
    """Transformers' own; where it would compute a whole matrix, some queries at a time."""
    (rows, heads, queries, _), keys = query.shape, key.shape[2]
    step = _at_once(rows * heads, keys)
    if not is_plain(query.device, query.dtype) or queries <= step:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return whole
    parts = []
    for first, some in zip(range(0, queries, step), torch.split(query, step, dim=2), strict=True):
        if attention_mask is None:  # each sees the keys up to its own
            seen = torch.ones(1, 1, some.shape[2], keys, dtype=torch.bool, device=query.device).tril(first)
        else:
            seen = attention_mask[:, :, first : first + step]
        parts.append(sdpa_attention_forward(module, some, key, value, seen, **kwargs)[0])
    return torch.cat(parts, dim=1), None


def merge(one: PartialAttention, other: PartialAttention) -> PartialAttention:
    """What queries get from both parts together."""
    weight = torch.sigmoid(other.lse - one.lse).to(one.values.dtype)
    return PartialAttention(
        torch.lerp(one.values, other.values, weight[..., None]), torch.logaddexp(one.lse, other.lse)
    )


def attend_spans(
    states: Qkv, queries: CuSeqlens, keys: CuSeqlens, scaling: float, *, causal: bool = False
) -> PartialAttention:
    """Each span of queries over the span of keys in its place; one without keys weighs nothing."""
    query = states.query
    if has_flash(query.device, query.dtype) and queries.total and keys.total:
        return _flash_on_gpu(states, queries, keys, scaling, causal=causal)
    heads, total, size = query.shape
    values = query.new_zeros(total, heads, size).transpose(0, 1)
    lse = query.new_full((heads, total), -torch.inf, dtype=torch.float32)
    # A query head reads its group's keys where they lie: [key heads, heads a key head, tokens, head size].
    group = (len(states.key), heads // len(states.key))
    asking, values_of, lse_of = (each.view(*group, *each.shape[1:]) for each in (query, values, lse))
    key, value = (each[:, None].expand(*group, -1, -1) for each in (states.key, states.value))
    over = _flash_on_cpu if query.device.type == "cpu" else _attend_plainly
    for (q, q_end), (k, k_end) in zip(pairwise(queries.bounds), pairwise(keys.bounds), strict=True):
        if q < q_end and k < k_end:
            near = Qkv(asking[:, :, q:q_end], key[:, :, k:k_end], value[:, :, k:k_end])
            values_of[:, :, q:q_end], lse_of[:, :, q:q_end] = over(near, scaling, causal=causal)
    return PartialAttention(values, lse)


def _flash_on_gpu(
    states: Qkv, queries: CuSeqlens, keys: CuSeqlens, scaling: float, *, causal: bool
) -> PartialAttention:
    """All spans in one launch; what `torch.nn.attention.varlen` calls, whose own arguments change between releases."""
    values, lse, *_ = torch.ops.aten._flash_attention_forward(  # noqa: SLF001 - none that is public gives the sum
        *(each.transpose(0, 1) for each in states),
        queries.on_device,
        keys.on_device,
        queries.longest,
        keys.longest,
        0.0,
        causal,
        False,
        scale=scaling,
    )
    # The kernel says +inf of a query without keys.
    return PartialAttention(values.transpose(0, 1), lse.masked_fill_(lse.isposinf(), -torch.inf))


def _flash_on_cpu(states: Qkv, scaling: float, *, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # noqa: SLF001 - as above
    found: tuple[torch.Tensor, torch.Tensor] = kernel(*states, is_causal=causal, scale=scaling)
    return found


def _attend_plainly(states: Qkv, scaling: float, *, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """For devices and precisions without a kernel: some queries at a time, so that their logits fit in MATRIX_BYTES."""
    step = _at_once(states.query.shape[:2].numel(), states.key.shape[2])
    found = [
        _softmax(Qkv(query, states.key, states.value), scaling, number * step if causal else None)
        for number, query in enumerate(torch.split(states.query, step, dim=2))
    ]
    return torch.cat([values for values, _ in found], dim=2), torch.cat([lse for _, lse in found], dim=2)


def _softmax(states: Qkv, scaling: float, first: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """`first` is the place of the first query where each sees the keys up to its own."""
    # A group's queries are one matrix: expanded for each of them, its keys and values would be copied.
    key, value, group = states.key[:, 0], states.value[:, 0], states.query.shape[:2]
    logits = (states.query.flatten(1, 2) @ key.transpose(1, 2)).float().mul_(scaling).view(*group, -1, key.shape[1])
    if first is not None:
        later = torch.ones(logits.shape[2:], dtype=torch.bool, device=logits.device).triu(first + 1)
        logits.masked_fill_(later, -torch.inf)
    weights = logits.softmax(-1).to(value.dtype)
    return (weights.flatten(1, 2) @ value).view(states.query.shape), logits.logsumexp(-1)
