"""Attention in parts is the attention of the whole, on every way that a device takes it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from moderation_service.engine.local import attention
from moderation_service.engine.local.attention import CuSeqlens, attend_images
from moderation_service.engine.local.packed_row import AttentionMetadata, attend
from moderation_service.training.masked_batch import POST, block_mask

PREFIX, POSTS, TAILS = 6, [5, 0, 3], [[2, 4], [3], [1, 2, 3]]
IMAGES = [4, 8, 1]
KEY_HEADS, GROUP, SIZE = 2, 3, 8
CPU = torch.device("cpu")


def row(
    device: torch.device = CPU, dtype: torch.dtype = torch.float32, posts: Sequence[int] = POSTS
) -> tuple[AttentionMetadata, list[torch.Tensor]]:
    """A row of three posts, the second without tokens, and random queries, keys and values of its tokens."""
    torch.manual_seed(0)
    flat = [suffix for suffixes in TAILS for suffix in suffixes]
    total = sum(posts) + sum(flat)

    def states(heads: int, tokens: int) -> torch.Tensor:
        return torch.randn(1, tokens, heads, SIZE, device=device, dtype=dtype).transpose(1, 2)  # as a model has them

    kept = [(states(KEY_HEADS, PREFIX)[0], states(KEY_HEADS, PREFIX)[0]) for _ in range(2)]
    spans = (CuSeqlens(each, device) for each in (posts, list(map(sum, TAILS)), flat, [PREFIX], [total]))
    return AttentionMetadata(kept, *spans), [
        states(heads, total) for heads in (KEY_HEADS * GROUP, KEY_HEADS, KEY_HEADS)
    ]


def in_parts(behind: AttentionMetadata, states: list[torch.Tensor]) -> torch.Tensor:
    return attend(SimpleNamespace(layer_idx=1), *states, None, scaling=0.4, row=behind)[0]


def as_a_whole(behind: AttentionMetadata, states: list[torch.Tensor]) -> torch.Tensor:
    """Plain softmax, a post and its suffixes at a time, under the mask of the demo model's training."""
    query, key, value = states
    whole = torch.zeros(1, query.shape[2], KEY_HEADS * GROUP, SIZE)
    suffix_at = sum(POSTS)
    for number, suffixes in enumerate(TAILS):
        at = sum(POSTS[:number])
        tokens = [*range(at, at + POSTS[number]), *range(suffix_at, suffix_at + sum(suffixes))]
        suffix_at += sum(suffixes)
        segments = [POST] * POSTS[number] + [which + 1 for which, length in enumerate(suffixes) for _ in range(length)]
        keys, values = (
            torch.cat([kept[None], own[:, :, tokens]], dim=2).repeat_interleave(GROUP, dim=1)
            for kept, own in zip(behind.key_values[1], (key, value), strict=True)
        )
        logits = query[:, :, tokens] @ keys.transpose(2, 3) * 0.4
        logits.masked_fill_(~block_mask(torch.tensor([segments]), PREFIX), -torch.inf)
        whole[0, tokens] = (logits.softmax(-1) @ values)[0].transpose(0, 1)
    return whole


@pytest.mark.parametrize(
    ("way", "at_once"),
    [("_flash_on_cpu", 0), ("_attend_plainly", 1000), ("_attend_plainly", 2), ("_attend_plainly", 1)],
)
def test_parts_merged_are_the_whole(monkeypatch: pytest.MonkeyPatch, way: str, at_once: int) -> None:
    monkeypatch.setattr(attention, "_flash_on_cpu", getattr(attention, way))
    monkeypatch.setattr(attention, "_at_once", lambda *_: at_once)
    behind, states = row()
    assert (in_parts(behind, states) - as_a_whole(behind, states)).abs().max() < 1e-6


@pytest.mark.parametrize("masked", [False, True])
def test_what_the_model_attends_by_itself_is_the_same_some_queries_at_a_time(
    monkeypatch: pytest.MonkeyPatch, *, masked: bool
) -> None:
    """As an explanation's prompt, padded or not, on a card for which there is no kernel."""
    _, states = row()
    queries = states[0].shape[2]
    mask = torch.ones(1, 1, queries, queries, dtype=torch.bool).tril() if masked else None
    if mask is not None:
        mask[..., :2] = torch.eye(queries, 2, dtype=torch.bool)  # the first two are padding
    module = SimpleNamespace(is_causal=True, num_key_value_groups=GROUP)
    whole, _ = attend(module, *states, mask, scaling=0.4)
    monkeypatch.setattr(attention, "is_plain", lambda *_: True)
    assert torch.equal(attend(module, *states, mask, scaling=0.4)[0], whole)  # one step holds all
    monkeypatch.setattr(attention, "_at_once", lambda *_: 3)
    assert (attend(module, *states, mask, scaling=0.4)[0] - whole).abs().max() < 1e-6


def test_the_logits_of_a_step_fit_in_their_bytes() -> None:
    for heads, keys in ((32, 2738), (32, 16384), (12, 5476)):
        queries = attention._at_once(heads, keys)
        assert 0.95 < attention.LOGIT_BYTES * heads * keys * queries / attention.MATRIX_BYTES <= 1
    assert attention._at_once(10**6, 10**6) == 1


def test_bfloat16_is_as_near_as_it_can_be() -> None:
    behind, states = row(dtype=torch.bfloat16)
    exact = replace(behind, key_values=[(keys.float(), values.float()) for keys, values in behind.key_values])
    difference = in_parts(behind, states).float() - as_a_whole(exact, [each.float() for each in states])
    assert difference.abs().max() < 0.03


@pytest.fixture(params=[(7, 5), (8, 0)])
def card(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of this compute capability, without the driver that would fetch from pinned memory."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: request.param)

    def upload(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=device)

    monkeypatch.setattr(attention, "to_device", upload)


@pytest.mark.parametrize("posts", [POSTS, [0, 0, 0]])
@pytest.mark.usefixtures("card")
def test_the_kernel_for_gpus_takes_what_it_is_given(posts: list[int]) -> None:
    """Shapes alone, without a GPU: what it answers is compared by scripts/gpu-bench.sh."""
    with FakeTensorMode():
        behind, states = row(torch.device("cuda"), torch.bfloat16, posts)
        found = in_parts(behind, states)
    assert (found.shape, found.dtype) == ((1, sum(posts) + 15, KEY_HEADS * GROUP, SIZE), torch.bfloat16)


def patches(device: torch.device = CPU, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    """Queries, keys and values of three images in a row."""
    torch.manual_seed(0)
    shape = (1, sum(IMAGES), KEY_HEADS, SIZE)
    return [torch.randn(shape, device=device, dtype=dtype).transpose(1, 2) for _ in range(3)]


@pytest.mark.parametrize("way", ["_flash_on_cpu", "_attend_plainly"])
def test_an_images_patches_see_each_other_and_none_of_another_image(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    monkeypatch.setattr(attention, "_flash_on_cpu", getattr(attention, way))
    states, bounds = patches(), CuSeqlens(IMAGES, CPU)
    found, _ = attend_images(None, *states, None, scaling=0.4, images=bounds)
    for begin, end in pairwise(bounds.bounds):
        query, key, value = (each[0, :, begin:end] for each in states)
        wanted = (query @ key.transpose(1, 2) * 0.4).softmax(-1) @ value
        assert (found[0, begin:end] - wanted.transpose(0, 1)).abs().max() < 1e-6


@pytest.mark.usefixtures("card")
def test_all_images_of_a_gpu_are_attended_at_once() -> None:
    with FakeTensorMode():
        states, bounds = patches(torch.device("cuda"), torch.bfloat16), CuSeqlens(IMAGES, torch.device("cuda"))
        found, _ = attend_images(None, *states, None, scaling=0.4, images=bounds)
    assert (found.shape, found.dtype) == ((1, sum(IMAGES), KEY_HEADS, SIZE), torch.bfloat16)
