"""Triton kernels: the gated SiLU of a layer, and what a quantized product needs before and behind it.

Each reads activations once or twice and writes them once. The plain forms are in `quantization` and in the model's own
modules; in torch alone those of `quantization` move as many bytes as eight bits save.
"""

import torch
import triton
import triton.language as tl

SCALE_EPSILON = tl.constexpr(1e-12)
BLOCK = 1024


def quantize_rows(rows: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row [size] of [rows, size] in levels of its own scale; the scales [rows, 1] in float32."""
    rows = rows.contiguous()
    whole = not dtype.is_floating_point
    top = torch.iinfo(dtype).max if whole else torch.finfo(dtype).max
    levels = torch.empty(rows.shape, device=rows.device, dtype=dtype)
    scales = torch.empty(len(rows), 1, device=rows.device, dtype=torch.float32)
    with torch.cuda.device_of(rows):  # type: ignore[no-untyped-call] # Triton asks no tensor where it lies
        _quantize[(len(rows),)](rows, levels, scales, rows.shape[1], float(top), whole, BLOCK)
    return levels, scales


def rescale(
    products: torch.Tensor, row_scales: torch.Tensor, column_scales: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """Integers [rows, columns] times their scales, [rows, 1] and [columns]."""
    products = products.contiguous()
    found = torch.empty(products.shape, device=products.device, dtype=dtype)
    size = products.shape[1]
    with torch.cuda.device_of(products):  # type: ignore[no-untyped-call]
        _rescale[(len(products), triton.cdiv(size, BLOCK))](products, row_scales, column_scales, found, size, BLOCK)
    return found


@triton.jit
def _larger(one, other):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    # A NaN has to reach the scale: as a level it would be 0, and pass for a value.
    return tl.maximum(one, other, propagate_nan=tl.PropagateNan.ALL)


@triton.jit  # type: ignore[untyped-decorator]
def _quantize(rows, levels, scales, size, top, whole: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0913, PLR0917
    row = tl.program_id(0).to(tl.int64)
    peaks = tl.full([block], 0, tl.float32)
    for begin in range(0, size, block):
        at = begin + tl.arange(0, block)
        read = tl.load(rows + row * size + at, mask=at < size, other=0)
        peaks = _larger(peaks, tl.abs(read.to(tl.float32)))
    scale = _larger(tl.reduce(peaks, 0, _larger), SCALE_EPSILON) / top
    tl.store(scales + row, scale)
    for begin in range(0, size, block):
        at = begin + tl.arange(0, block)
        level = tl.load(rows + row * size + at, mask=at < size, other=0).to(tl.float32) / scale
        if whole:
            level = tl.floor(level + 0.5)
        tl.store(levels + row * size + at, level.to(levels.dtype.element_ty), mask=at < size)


@triton.jit  # type: ignore[untyped-decorator]
def _rescale(products, row_scales, column_scales, found, size, block: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < size
    product = tl.load(products + row * size + at, mask=inside).to(tl.float32)
    scale = tl.load(row_scales + row) * tl.load(column_scales + at, mask=inside)
    tl.store(found + row * size + at, (product * scale).to(found.dtype.element_ty), mask=inside)


def silu_mul(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) · up, [..., size] each, computed in float32 and rounded once; both may be halves of one tensor."""
    size = gate.shape[-1]
    gates, ups = gate.reshape(-1, size), up.reshape(-1, size)  # views: of a half too
    found = torch.empty(gates.shape, device=gate.device, dtype=gate.dtype)
    grid = (len(gates), triton.cdiv(size, BLOCK))
    with torch.cuda.device_of(gate):  # type: ignore[no-untyped-call] # Triton asks no tensor where it lies
        _silu_mul[grid](gates, ups, found, size, gates.stride(0), ups.stride(0), BLOCK)
    return found.view(gate.shape)


@triton.jit  # type: ignore[untyped-decorator]
def _silu_mul(gates, ups, found, size, gate_stride, up_stride, block: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202, PLR0913, PLR0917
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * block + tl.arange(0, block)
    inside = at < size
    gate = tl.load(gates + row * gate_stride + at, mask=inside).to(tl.float32)
    up = tl.load(ups + row * up_stride + at, mask=inside).to(tl.float32)
    tl.store(found + row * size + at, (gate / (1 + tl.exp(-gate)) * up).to(found.dtype.element_ty), mask=inside)
