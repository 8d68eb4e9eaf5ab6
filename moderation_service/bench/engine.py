"""`moderation bench engine`: posts a second of both layouts, and of int8 weights, on this machine's CPU or GPU."""

import time
from typing import Any, Literal

import torch

from moderation_service.bench.engine_case import (
    LAYOUTS,
    POLICIES_FIRST,
    POST_FIRST,
    BenchCase,
    Load,
    Measured,
    engine_way,
    quantization_effect,
)
from moderation_service.bench.random_model import DTYPES, SHAPES, describe, make_checkpoint
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.scorer import Scorer

CASES = ((8, 60), (32, 60), (8, 300), (32, 300))
"""Policies, and tokens of each; int8 is measured with the first."""

MAIN = "8x60"
INT8 = "post_first_int8"
_MATMUL_SIDE = {"cpu": 2048, "cuda": 8192}


def run(
    *,
    rounds: int = 3,
    posts: int = 4,
    shape: Literal["small", "tiny", "9b"] = "small",
    device: Literal["cpu", "cuda"] = "cpu",
    seed: int = 1,
) -> dict[str, Any]:
    """Ask a model of random weights, new posts each round; from pixels to scores, with the pack read before.

    Args:
        rounds: Timed; one before them is not. The medians count.
        posts: A batch, and a round.
        shape: Hidden 384, 8 layers and 24 M parameters; a tiny one to try the bench; GLM-4.6V-Flash's.
        device: float32 on the CPU, bfloat16 on a GPU.
        seed: Of weights, policies and posts.
    """
    chosen = SHAPES[shape]
    checkpoint = make_checkpoint(chosen, device, DTYPES[device], seed)
    matmul = matmul_rate(checkpoint)
    cases: dict[str, Any] = {}
    ratios: dict[str, float | None] = {}
    for policies, tokens in CASES:
        name = f"{policies}x{tokens}"
        case = BenchCase(checkpoint, Load(policies, tokens, posts, chosen.side, rounds, seed))
        ways = case.layout_ways()
        if name == MAIN:
            quantized = case.quantized("int8")
            measured = case.measure({**ways, INT8: engine_way(quantized)})
            int8 = int8_figures(quantized, case, measured)
        else:
            measured = case.measure(ways)
        cases[name] = layout_figures(case, measured, matmul)
        ratios[name] = measured.over(POLICIES_FIRST, POST_FIRST)
    return {
        "ratio": {"policies_first_over_post_first": ratios, "int8": int8["over_unquantized"]},
        "cases": cases,
        "int8": int8,
        "matmul_gflop_per_second": round(matmul / 1e9, 1),
        "shape": describe(chosen, checkpoint.model),
        "dtype": str(checkpoint.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "posts": posts,
        "rounds": rounds,
        "seed": seed,
    }


def layout_figures(case: BenchCase, measured: Measured, matmul: float) -> dict[str, Any]:
    """By layout: the rate, its share of the roofline (`matmul`, operations a second), and memory."""
    return {
        layout: {
            **reached(measured.rates[layout], case.operations_per_post(layout), matmul),
            "peak_memory_bytes": measured.peaks[layout],
        }
        for layout in LAYOUTS
    }


def reached(rate: float, operations: float, matmul: float) -> dict[str, float]:
    """A rate with the arithmetic of a post, and the share of the roofline."""
    return {
        "posts_per_second": round(rate, 3),
        "gflop_a_post": round(operations / 1e9, 2),
        "roofline_share": round(rate * operations / matmul, 3),
    }


def int8_figures(quantized: Scorer, case: BenchCase, measured: Measured) -> dict[str, Any]:
    """What int8 does to speed, scores and memory."""
    small, plain = measured.answers[INT8], measured.answers[POST_FIRST]
    return {
        "over_unquantized": measured.over(INT8, POST_FIRST),
        **quantization_effect(small, plain, quantized.checkpoint.model, case.checkpoint.model),
    }


def matmul_rate(checkpoint: Checkpoint) -> float:
    """Operations a second of the best of several products of large matrices, in the model's precision: the roofline."""
    device = checkpoint.device
    side = _MATMUL_SIDE[device.type]
    one, other = (torch.randn(side, side, device=device, dtype=checkpoint.dtype) for _ in range(2))
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        _ = one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
    return 2 * side**3 / min(taken)
