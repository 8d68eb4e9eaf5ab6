"""`moderation bench engine`: posts a second of both layouts, and of other ways to ask the same model, in one run."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import torch

from moderation_service.bench.engine_case import (
    GENERATE,
    INT8,
    LAYOUTS,
    MASKED,
    PIPELINE,
    POLICIES_FIRST,
    POST_FIRST,
    PREFILL,
    VLLM,
    BenchCase,
    Load,
    measure,
)
from moderation_service.bench.engine_shape import NINE_B, SMALL, TINY, described, make_checkpoint
from moderation_service.bench.engine_ways import DecisionPipeline
from moderation_service.engine.local.checkpoint import Checkpoint, load_checkpoint
from moderation_service.settings import DEMO_MODEL, EngineSettings

SHAPES = {"small": SMALL, "tiny": TINY, "9b": NINE_B}
CASES = ((8, 60), (32, 60), (8, 300), (32, 300))
"""Policies, and tokens of each; the first is asked in all ways."""

MAIN = "8x60"
BUNDLED_SIDE = 112
MATMUL = {"cpu": 2048, "cuda": 8192}


def run(  # noqa: PLR0913 - each is an option of the command
    *,
    rounds: int = 3,
    posts: int = 4,
    shape: Literal["small", "tiny", "9b"] = "small",
    device: Literal["cpu", "cuda"] = "cpu",
    vllm: str | None = None,
    vllm_model: str = DEMO_MODEL.name,
    seed: int = 1,
) -> dict[str, Any]:
    """Ask a model of random weights, and the bundled one, by both layouts and by other ways; new posts each round.

    What is kept of a pack is there before the clock starts; tokenizing and cutting images is timed with each way.

    Args:
        rounds: Timed; one before them is not. The medians count.
        posts: A batch, and a round.
        shape: Hidden 384, 8 layers and 24 M parameters; a tiny one to try the bench; GLM-4.6V-Flash's.
        device: Of both models; float32 on the CPU, bfloat16 on a GPU.
        vllm: The address, ending in /v1, of a server with the bundled model.
        vllm_model: The bundled model's name there.
        seed: Of weights, policies and posts.
    """
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    chosen = SHAPES[shape]
    checkpoint = make_checkpoint(chosen, device, dtype, seed)
    cases = {
        f"{policies}x{tokens}": measure(
            checkpoint,
            Load(policies, tokens, posts, chosen.side, rounds, seed),
            all_ways=(policies, tokens) == CASES[0],
        )
        for policies, tokens in CASES
    }
    bundled = measure(
        load_checkpoint(EngineSettings(device=device)),
        Load(*CASES[0], posts, BUNDLED_SIDE, rounds, seed),
        all_ways=True,
        server=(vllm, vllm_model) if vllm else None,
    )
    return {
        **_summary(cases, bundled, matmul_rate(checkpoint)),
        "shape": described(chosen, checkpoint.model),
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "posts": posts,
        "rounds": rounds,
        "cases": {name: case.said() for name, case in cases.items()},
        "bundled": bundled.said(),
        "not_asked": _not_asked(vllm),
        "seed": seed,
    }


def _summary(cases: Mapping[str, BenchCase], bundled: BenchCase, matmul: float) -> dict[str, Any]:
    """Of the first case by its better layout, but for the layouts' own ratio; vLLM's is of the bundled model."""
    case = cases[MAIN]
    better = case.better
    allowed = case.operations[PREFILL] / case.operations[better]
    others = {way: case.over(better, way) for way in (PREFILL, GENERATE, PIPELINE)}
    return {
        "ratio": {
            "policies_first_over_post_first": {
                name: each.over(POLICIES_FIRST, POST_FIRST, MASKED) for name, each in cases.items()
            },
            **others,
            VLLM: bundled.over(bundled.better, *(f"{VLLM}_{layout}" for layout in LAYOUTS)),
        },
        "better_layout": better,
        "flop_bound_ratio": round(allowed, 3),
        "flop_bound_share": round(case.rates[better] / case.rates[PREFILL] / allowed, 3),
        "max_abs_score_difference": max(case.differences.values()),
        "roofline_share": round(case.rates[better] * case.operations[better] / matmul, 3),
        "peak_memory_bytes": case.peaks[better],
        "int8": {**(case.int8 or {}), "over_unquantized": case.over(INT8, POST_FIRST)},
        "matmul_gflop_per_second": round(matmul / 1e9, 1),
    }


def _not_asked(vllm: str | None) -> dict[str, str]:
    """Ways without a figure, and why."""
    reasons = {PIPELINE: DecisionPipeline.missing(), VLLM: None if vllm else "no address given (--vllm)"}
    return {way: reason for way, reason in reasons.items() if reason}


def matmul_rate(checkpoint: Checkpoint) -> float:
    """Operations a second of the best of several products of large matrices, in the model's precision."""
    device = checkpoint.device
    side = MATMUL[device.type]
    one, other = (torch.randn(side, side, device=device, dtype=checkpoint.dtype) for _ in range(2))
    taken = []
    for _ in range(10):
        begun = time.perf_counter()
        _ = one @ other
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begun)
    return 2 * side**3 / min(taken)
