"""Quantization of the linear layers, with a scale a row of the weight: `engine.quantization`.

| | weights | activations | the product |
|---|---|---|---|
| `int8` | eight bits | as they are | in the model's precision, of widened weights: saves memory and no time |
| `int8_dynamic` (W8A8) | eight bits | eight bits, a scale a token | of integers |
| `fp8` | float8 e4m3 | float8 e4m3, a scale a token | of float8, on compute capability 8.9 or newer |

The embedding and the head, whose rows are the answers' labels, stay as they are, and so do convolutions. The products
are those that torchao calls too. Its own layers need torch.compile to be fast: without it, torchao 0.18 prints each
activation of an integer product to a string, which waits for the device.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple

import structlog
import torch
from torch import nn
from torch.nn import functional

from moderation_service.errors import Misconfigured

Quantization = Literal["int8", "int8_dynamic", "fp8"]

SCALE_EPSILON = 1e-12
FP8_CAPABILITY = (8, 9)
ALIGNED = 16
"""What the sides of a quantized product are a multiple of; other layers stay as they are."""

LEAST_ROWS = 17
"""Of a product of integers on CUDA."""

log = structlog.get_logger(__name__)


def check_quantization(quantization: Quantization | None, dtype: torch.dtype, device: torch.device) -> None:
    """Raises Misconfigured for what the device can't compute."""
    if quantization != "fp8":
        return
    needs = "engine.quantization fp8: needs a GPU of compute capability 8.9 or newer (Ada, Hopper)"
    if device.type != "cuda":
        msg = f"{needs}, and engine.device is {device}; set it to int8_dynamic or int8"
        raise Misconfigured(msg)
    if (capability := torch.cuda.get_device_capability(device)) < FP8_CAPABILITY:
        msg = f"{needs}, and {device} has {'.'.join(map(str, capability))}; set it to int8_dynamic or int8"
        raise Misconfigured(msg)
    if dtype != torch.bfloat16:
        msg = "engine.quantization fp8: needs engine.dtype bfloat16"
        raise Misconfigured(msg)


def quantize(model: nn.Module, quantization: Quantization, device: torch.device) -> None:
    """Replace every linear layer but the head, in place; each is moved to `device` before."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name != "lm_head" and LAYERS[quantization].takes(child):
                setattr(parent, name, LAYERS[quantization](child.to(device)))


def quantize_rows(rows: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row [size] of [rows, size] in levels of its own scale; the scales [rows, 1] in float32."""
    wide = rows.float()
    scales = wide.abs().amax(-1, keepdim=True).clamp_min(SCALE_EPSILON) / largest(dtype)
    levels = wide / scales
    return (levels if dtype.is_floating_point else levels.round_()).to(dtype), scales


def rescale(
    products: torch.Tensor, row_scales: torch.Tensor, column_scales: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Integers [rows, columns] times their scales, [rows, 1] and [columns]."""
    return (products * row_scales * column_scales).to(dtype)


def largest(dtype: torch.dtype) -> float:
    """The level of a row's largest value."""
    return torch.finfo(dtype).max if dtype.is_floating_point else torch.iinfo(dtype).max


class Kernels(NamedTuple):
    """What is done to activations before and behind a product."""

    quantize_rows: Callable[[torch.Tensor, torch.dtype], tuple[torch.Tensor, torch.Tensor]]
    rescale: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.dtype], torch.Tensor]


PLAIN = Kernels(quantize_rows, rescale)


@cache
def kernels_for(device: torch.device, dtype: torch.dtype) -> Kernels:
    """The Triton kernels on CUDA, tried once; the plain ones elsewhere, and where Triton can't build any."""
    if device.type != "cuda":
        return PLAIN
    try:
        from moderation_service.engine.local import triton_kernels  # noqa: PLC0415 - Triton is not everywhere

        levels, scales = triton_kernels.quantize_rows(torch.ones(2, 2, device=device, dtype=torch.bfloat16), dtype)
        triton_kernels.rescale(levels.int(), scales, scales[:, 0], torch.bfloat16)
    except Exception as error:  # noqa: BLE001 - whatever a compiler raises, the model works without
        log.warning(
            "activations are quantized slowly: Triton built no kernel", error=f"{type(error).__name__}: {error}"
        )
        return PLAIN
    return Kernels(triton_kernels.quantize_rows, triton_kernels.rescale)


class QuantizedLinear(nn.Module):
    """A linear layer with its weight [out, in] as levels of a scale a row."""

    dtype = torch.int8
    levels: torch.Tensor
    scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        """`linear` is not changed."""
        super().__init__()
        levels, scales = quantize_rows(linear.weight.detach(), self.dtype)
        self.register_buffer("levels", levels)
        self.register_buffer("scale", scales[:, 0])
        self.bias = linear.bias

    @classmethod
    def takes(cls, linear: nn.Linear) -> bool:
        """Whether the product is one that the device's kernels compute."""
        return linear.in_features % ALIGNED == 0 and linear.out_features % ALIGNED == 0


class Int8Linear(QuantizedLinear):
    """Weight-only: widened for the one product that needs it."""

    def __init__(self, linear: nn.Linear) -> None:
        """As above; the scale is in the precision of the products."""
        super().__init__(linear)
        self.scale = self.scale.to(linear.weight.dtype)

    @classmethod
    def takes(cls, linear: nn.Linear) -> bool:  # noqa: ARG003
        """Any."""
        return True

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        products = functional.linear(states, self.levels.to(states.dtype)) * self.scale
        return products if self.bias is None else products + self.bias


class Int8DynamicLinear(QuantizedLinear):
    """W8A8: a product of integers, summed in 32 bits."""

    def __init__(self, linear: nn.Linear) -> None:
        """As above."""
        super().__init__(linear)
        self._kernels = kernels_for(self.levels.device, self.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out]."""
        rows = states.flatten(0, -2)
        levels, scales = self._kernels.quantize_rows(rows, self.dtype)
        if (lacking := LEAST_ROWS - len(rows)) > 0:
            levels = functional.pad(levels, (0, 0, 0, lacking))
        products = torch._int_mm(levels, self.levels.t())[: len(rows)]  # noqa: SLF001 - torch has none that is public
        found = self._kernels.rescale(products, scales, self.scale, states.dtype)
        return (found if self.bias is None else found + self.bias).view(*states.shape[:-1], -1)


class Fp8Linear(QuantizedLinear):
    """A product of float8."""

    dtype = torch.float8_e4m3fn

    def __init__(self, linear: nn.Linear) -> None:
        """As above."""
        super().__init__(linear)
        self._kernels = kernels_for(self.levels.device, self.dtype)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """[..., in] to [..., out], in bfloat16."""
        levels, scales = self._kernels.quantize_rows(states.flatten(0, -2), self.dtype)
        found: torch.Tensor = torch._scaled_mm(  # noqa: SLF001 - the public one is newer than the oldest torch that this works with
            levels,
            self.levels.t(),
            scale_a=scales,
            scale_b=self.scale[None],
            bias=self.bias,
            out_dtype=states.dtype,
            use_fast_accum=True,
        )
        return found.view(*states.shape[:-1], -1)


LAYERS: dict[Quantization, type[QuantizedLinear]] = {
    "int8": Int8Linear,
    "int8_dynamic": Int8DynamicLinear,
    "fp8": Fp8Linear,
}
