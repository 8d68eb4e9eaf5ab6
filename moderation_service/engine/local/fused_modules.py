"""Faster forms of a model's own modules, with the same weights under the same names.

On every device the patch embedding is one matrix product, and the vision tower takes its images' lengths from the host.
On CUDA alone RMSNorm and the gated SiLU are one kernel each. Unfused they move most of what a layer moves, in float32.
A CPU keeps the model's own: the fused norm rounds otherwise in the last bits, and recorded verdicts are replayed there.
"""

from collections.abc import Callable
from copy import copy
from typing import Any

import structlog
import torch
from torch import nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.vision_utils import get_vision_position_ids

from moderation_service.engine.local import attention

TEXT_MLP = {"gate_up_proj", "down_proj", "activation_fn"}
GATED_MLP = {"gate_proj", "up_proj", "down_proj", "act_fn"}
"""The parts of an MLP: a module with others beside them computes something else."""

SiluMul = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
log = structlog.get_logger(__name__)


def optimize(model: PreTrainedModel, *, trainable: bool = False) -> None:
    """Put the faster forms in place, for the device on which the model lies; if `trainable`, those with gradients."""
    set_image_attention(model)
    swap_patch_embedding(model)
    if model.device.type == "cuda":
        swap_norms(model)
        if not trainable and (silu_mul := fused_silu_mul(model.device)):
            swap_mlps(model, silu_mul)


def set_image_attention(model: nn.Module) -> None:
    """Let the vision tower's layers attend by `attention.attend_images`, and tell the tower its images' lengths.

    In a configuration of theirs alone: transformers makes no model of one with this name.
    """
    for module in model.modules():
        if type(module).__name__.endswith("VisionModel"):
            module.register_forward_pre_hook(_tell_lengths, with_kwargs=True)
        if type(module).__name__.endswith("VisionAttention"):
            own: Any = copy(module.config)
            own._attn_implementation = attention.IMAGE_ATTENTION  # noqa: SLF001 - as transformers sets it
            module.config = own


def _tell_lengths(tower: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:  # noqa: ANN401
    """Positions and lengths of all images, counted on the host: each layer would ask the device for them.

    `grid_thw` may be the host's, and else is waited for once.
    """
    grids = kwargs["grid_thw"].cpu()
    device = tower.device
    images = attention.CuSeqlens(grids.prod(-1).tolist(), device)
    return args, kwargs | {
        "grid_thw": attention.to_device(grids, device),
        "position_ids": attention.to_device(get_vision_position_ids(grids, tower.spatial_merge_size), device),
        "cu_seqlens": images.on_device,
        "max_seqlen": images.longest,
        "images": images,
    }


def swap_patch_embedding(model: nn.Module) -> None:
    """Let a matrix product embed patches: in bfloat16 a GPU may take seconds for the Conv3d.

    https://github.com/pytorch/pytorch/issues/166643; this can go with the first release of torch that mends it.
    """
    _swap(model, LinearPatchEmbedding, lambda module: type(module).__name__.endswith("PatchEmbed"))


def swap_norms(model: nn.Module) -> None:
    """Let each RMSNorm be one kernel."""
    _swap(model, FusedRMSNorm, lambda module: type(module).__name__.endswith("RMSNorm"))


def swap_mlps(model: nn.Module, silu_mul: SiluMul) -> None:
    """Let `silu_mul` compute what the gate of each MLP lets through."""

    def is_gated(module: nn.Module) -> bool:
        parts = dict(module.named_children())
        activation = parts.get("activation_fn") or parts.get("act_fn")
        return parts.keys() in (TEXT_MLP, GATED_MLP) and "silu" in type(activation).__name__.lower()

    _swap(model, lambda module: GatedMlp(module, silu_mul), is_gated)


def fused_silu_mul(device: torch.device) -> SiluMul | None:
    """The Triton kernel, tried once; None where it can't be built, for example without a C compiler."""
    try:
        from moderation_service.engine.local.triton_kernels import silu_mul  # noqa: PLC0415 - Triton is not everywhere

        sample = torch.ones(2, 2, device=device)
        silu_mul(sample, sample)
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises, the model works without
        log.warning("SiLU is not fused: its Triton kernel can't be built", error=f"{type(error).__name__}: {error}")
        return None
    return silu_mul


def _swap(
    model: nn.Module, replacement: Callable[[nn.Module], nn.Module], applies: Callable[[nn.Module], bool]
) -> None:
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if applies(child):
                setattr(parent, name, replacement(child))


class LinearPatchEmbedding(nn.Module):
    """A convolution whose windows do not overlap, as the matrix product that it is."""

    def __init__(self, embedding: Any) -> None:  # noqa: ANN401 - of any member of the family
        """`embedding` has the weights, in a Conv3d."""
        super().__init__()
        self.proj = embedding.proj

    def forward(self, patches: torch.Tensor) -> torch.Tensor:
        """[patches, channels · frames · side²] to [patches, hidden size]."""
        weight = self.proj.weight
        return functional.linear(patches.to(weight.dtype), weight.flatten(1), self.proj.bias)


class FusedRMSNorm(nn.Module):
    """RMSNorm in one kernel: in between it holds float32 and rounds once."""

    def __init__(self, norm: Any) -> None:  # noqa: ANN401 - of any member of the family
        """`norm` has the weights."""
        super().__init__()
        self.weight, self.epsilon = norm.weight, norm.variance_epsilon

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., size] to the same."""
        return functional.rms_norm(states, self.weight.shape, self.weight, self.epsilon)


class GatedMlp(nn.Module):
    """An MLP with a SiLU gate, whose gate and values come of one product or of two."""

    gate_up_proj: nn.Module
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def __init__(self, mlp: nn.Module, silu_mul: SiluMul) -> None:
        """`mlp` has the weights."""
        super().__init__()
        for name, part in mlp.named_children():
            setattr(self, name, part)
        self._silu_mul = silu_mul
        self._in_one = hasattr(self, "gate_up_proj")

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., hidden size] to the same."""
        if self._in_one:
            gate, up = self.gate_up_proj(states).chunk(2, dim=-1)
        else:
            gate, up = self.gate_proj(states), self.up_proj(states)
        found: torch.Tensor = self.down_proj(self._silu_mul(gate, up))
        return found
