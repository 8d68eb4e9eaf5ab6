"""The engine's two layouts against other ways to ask the same model the same questions, in one run."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any, Literal

import torch

from benchmarks.command_line import main
from benchmarks.engine_ways import BenchServer, DecisionPipeline, Prefill
from benchmarks.full_forward import full_forward_scores
from moderation_service.bench.engine import CASES, INT8, MAIN, int8_figures, matmul_rate
from moderation_service.bench.engine_case import (
    LAYOUTS,
    POLICIES_FIRST,
    POST_FIRST,
    BenchCase,
    Load,
    Measured,
    engine_way,
    score_differences,
)
from moderation_service.bench.random_model import DTYPES, SHAPES, describe, make_checkpoint, make_processor
from moderation_service.engine.local.checkpoint import Checkpoint, load_checkpoint
from moderation_service.settings import DEMO_MODEL, EngineSettings

PREFILL, GENERATE, PIPELINE, VLLM = "prefill_per_policy", "generate_per_policy", "decision_pipeline", "vllm"
BUNDLED_SIDE = 112


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
    chosen = SHAPES[shape]
    checkpoint = make_checkpoint(chosen, device, DTYPES[device], seed)
    cases = {
        f"{policies}x{tokens}": compare(
            checkpoint,
            Load(policies, tokens, posts, chosen.side, rounds, seed),
            all_ways=(policies, tokens) == CASES[0],
        )
        for policies, tokens in CASES
    }
    bundled = compare(
        load_checkpoint(EngineSettings(device=device)),
        Load(*CASES[0], posts, BUNDLED_SIDE, rounds, seed),
        all_ways=True,
        server=(vllm, vllm_model) if vllm else None,
    )
    reasons = {PIPELINE: DecisionPipeline.missing(), VLLM: None if vllm else "no address given (--vllm)"}
    return {
        **_summary(cases, bundled, matmul_rate(checkpoint)),
        "shape": describe(chosen, checkpoint.model),
        "dtype": str(checkpoint.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "posts": posts,
        "rounds": rounds,
        "cases": {name: case.figures() for name, case in cases.items()},
        "bundled": bundled.figures(),
        "not_asked": {way: reason for way, reason in reasons.items() if reason},
        "seed": seed,
    }


@dataclass(frozen=True, slots=True)
class Comparison:
    """One case by all ways: what was measured, operations a post, and how far scores are from exact ones, by way."""

    measured: Measured
    operations: Mapping[str, float]
    differences: Mapping[str, float]
    int8: Mapping[str, Any] | None

    def figures(self) -> dict[str, Any]:
        """As they are printed."""
        return {
            "posts_per_second": {way: round(rate, 3) for way, rate in self.measured.rates.items()},
            "peak_memory_bytes": self.measured.peaks,
            "gflop_a_post": {way: round(each / 1e9, 2) for way, each in self.operations.items()},
            "max_abs_score_difference": self.differences,
            "int8": self.int8,
        }


def compare(
    checkpoint: Checkpoint, load: Load, *, all_ways: bool = False, server: tuple[str, str] | None = None
) -> Comparison:
    """Ask by both layouts; with `all_ways` as others do too, and a `server` by its address and its model's name."""
    case = BenchCase(checkpoint, load)
    ways = case.layout_ways()
    quantized = case.quantized("int8") if all_ways else None
    with ExitStack() as stack:
        if quantized:
            prefill = Prefill(case.scorers[POST_FIRST])
            ways |= {PREFILL: prefill.score, GENERATE: prefill.generate, INT8: engine_way(quantized)}
            if not DecisionPipeline.missing():
                ways[PIPELINE] = DecisionPipeline(checkpoint.model, make_processor(load.side)).score
        if server:
            for layout in LAYOUTS:
                asked = stack.enter_context(closing(BenchServer(*server, layout)))
                asked.prepare(case.questionnaire)
                ways[f"{VLLM}_{layout}"] = asked.score
        measured = case.measure(ways)
    answers = measured.answers
    exact = {POST_FIRST: answers.get(PREFILL), **{f"{VLLM}_{layout}": answers[layout] for layout in LAYOUTS}}
    pairs = {way: (answers[way], wanted) for way, wanted in exact.items() if wanted and way in answers}
    if all_ways:  # a stock forward a policy, the whole pack before the post in each: too slow for all posts
        stock = full_forward_scores(case.scorers[POLICIES_FIRST], case.batches[-1][0])
        pairs[POLICIES_FIRST] = answers[POLICIES_FIRST][:1], [stock]
    return Comparison(
        measured,
        {**{layout: case.operations_per_post(layout) for layout in LAYOUTS}, PREFILL: case.operations_per_post_apart()},
        {way: max(score_differences(*pair)) for way, pair in pairs.items()},
        int8_figures(quantized, case, measured) if quantized else None,
    )


def _summary(cases: Mapping[str, Comparison], bundled: Comparison, matmul: float) -> dict[str, Any]:
    """Of the first case by its better layout, but for the layouts' own ratio; vLLM's is of the bundled model."""
    case, measured = cases[MAIN], cases[MAIN].measured
    better = measured.better_layout
    allowed = case.operations[PREFILL] / case.operations[better]
    layouts = {name: each.measured.over(POLICIES_FIRST, POST_FIRST) for name, each in cases.items()}
    served = [f"{VLLM}_{layout}" for layout in LAYOUTS]
    return {
        "ratio": {
            "policies_first_over_post_first": layouts,
            **{way: measured.over(better, way) for way in (PREFILL, GENERATE, PIPELINE)},
            VLLM: bundled.measured.over(bundled.measured.better_layout, *served),
        },
        "better_layout": better,
        "flop_bound_ratio": round(allowed, 3),
        "flop_bound_share": round(measured.rates[better] / measured.rates[PREFILL] / allowed, 3),
        "max_abs_score_difference": max(case.differences.values()),
        "roofline_share": round(measured.rates[better] * case.operations[better] / matmul, 3),
        "peak_memory_bytes": measured.peaks[better],
        "int8": case.int8,
        "matmul_gflop_per_second": round(matmul / 1e9, 1),
    }


if __name__ == "__main__":
    main(run)
