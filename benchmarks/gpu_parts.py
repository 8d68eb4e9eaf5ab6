"""The parts of `benchmarks.gpu`: whether a device answers as it should, and what is timed of one model on it."""

import random
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from benchmarks.engine_ways import Prefill
from benchmarks.full_forward import full_forward_scores
from moderation_service.bench.engine import layout_figures, matmul_rate, reached
from moderation_service.bench.engine_case import (
    POST_FIRST,
    BenchCase,
    Load,
    Way,
    engine_way,
    quantization_effect,
    score_differences,
)
from moderation_service.bench.random_model import (
    DTYPES,
    SHAPES,
    Shape,
    describe,
    make_checkpoint,
    make_questionnaire,
    make_requests,
    make_scorer,
)
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.quantization import LAYERS, Quantization, check_quantization
from moderation_service.errors import Fatal
from moderation_service.settings import EngineSettings, LayoutName

EXACT = 1e-4
"""Of float32, which takes the plain way on a GPU."""

WORSE = 2
"""Times that bfloat16 in parts may be off, on average, of what a stock forward in bfloat16 is off."""


ALONE = 20
"""Posts asked one by one; three before them are not timed."""

MOST_ERROR = 0.1
"""Of a quantized product; eight bits make 0.01 to 0.06."""

BATCH_TOKENS = EngineSettings().max_batch_tokens


@torch.inference_mode()
def answers(shape: Shape, layout: LayoutName, device: str) -> dict[str, Any]:
    """Scores of the same weights by each way, against a stock forward in float32; products in TF32 are switched off."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    exact = make_checkpoint(shape, device, torch.float32, fused=False)
    requests = _requests(exact, shape.side)
    stock = _stock(exact, layout, requests)

    def same(dtype: torch.dtype, *, fused: bool) -> Checkpoint:
        checkpoint = make_checkpoint(shape, device, dtype, fused=fused)
        checkpoint.model.load_state_dict(exact.model.state_dict())  # .to(dtype) would round the angles of positions too
        return checkpoint

    apart = {
        "float32_in_parts": _apart(_parts(same(torch.float32, fused=True), layout, requests), stock),
        "bfloat16_stock": _apart(_stock(same(torch.bfloat16, fused=False), layout, requests), stock),
        "bfloat16_in_parts": _apart(_parts(same(torch.bfloat16, fused=True), layout, requests), stock),
    }
    mean = {way: statistics.mean(each) for way, each in apart.items()}
    return {
        "right": max(apart["float32_in_parts"]) <= EXACT
        and mean["bfloat16_in_parts"] <= WORSE * mean["bfloat16_stock"],
        "mean_off": mean,
        "max_off": {way: max(each) for way, each in apart.items()},
    }


def _requests(checkpoint: Checkpoint, side: int) -> list[ScoreRequest]:
    """Six posts, one without an image and one without words."""
    questionnaire = make_questionnaire(make_scorer(checkpoint, "post_first"), 8, 60, random.Random(1))  # noqa: S311
    requests = make_requests(questionnaire, 6, side, seed=2)
    requests[1] = replace(requests[1], images=())
    requests[2] = replace(requests[2], text="")
    return requests


def _parts(checkpoint: Checkpoint, layout: LayoutName, requests: Sequence[ScoreRequest]) -> list[float]:
    return _scores(scored.labels for scored in make_scorer(checkpoint, layout).score(requests))


def _stock(checkpoint: Checkpoint, layout: LayoutName, requests: Sequence[ScoreRequest]) -> list[float]:
    scorer = make_scorer(checkpoint, layout)
    return _scores(full_forward_scores(scorer, request) for request in requests)


def _scores(found: Iterable[Sequence[LabelScore]]) -> list[float]:
    return [label.score for labels in found for label in labels]


def _apart(one: list[float], other: list[float]) -> list[float]:
    return [abs(mine - theirs) for mine, theirs in zip(one, other, strict=True)]


class GpuBench:
    """One model of random weights on `device`; batches of `posts`, `rounds` of them timed and one before not."""

    def __init__(self, shape: Literal["tiny", "9b"], device: Literal["cpu", "cuda"], posts: int, rounds: int) -> None:
        self._shape, self._device = SHAPES[shape], device
        self._posts, self._rounds = posts, rounds

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Made by the first part that asks for it."""
        return make_checkpoint(self._shape, self._device, DTYPES[self._device], seed=1)

    @cached_property
    def _matmul(self) -> float:
        return matmul_rate(self.checkpoint)

    def model(self) -> dict[str, Any]:
        """Make the model, and measure the roofline: the rate of a large matrix product in its precision."""
        return {
            **describe(self._shape, self.checkpoint.model),
            "dtype": str(self.checkpoint.dtype).removeprefix("torch."),
            "matmul_tflop_per_second": round(self._matmul / 1e12, 3),
        }

    def layouts(self, policies: int, tokens: int) -> dict[str, Any]:
        """Posts a second of both layouts, and the share of the roofline that each reaches."""
        case = self._case(policies, tokens, self._rounds)
        return layout_figures(case, case.measure(case.layout_ways()), self._matmul)

    def alone(self) -> dict[str, Any]:
        """The median (p50) of posts asked one by one, pixels to scores, by layout; eight policies of 60 tokens."""
        case = self._case(8, 60, rounds=0)
        found: dict[str, Any] = {}
        for layout, scorer in case.scorers.items():
            taken = []
            for request in make_requests(case.questionnaire, ALONE + 3, self._shape.side, seed=3):
                begun = time.perf_counter()
                scorer.score([request])
                taken.append(1000 * (time.perf_counter() - begun))
            found[layout] = {"p50_ms": round(statistics.median(taken[3:]), 1)}
        return found

    def prefill(self) -> dict[str, Any]:
        """One prompt a policy; and how far its scores are from those of `post_first`, which asks the same."""
        case = self._case(8, 60, rounds=1)
        scorer = case.scorers[POST_FIRST]
        measured = case.measure({"prefill": Prefill(scorer).score})
        apart = score_differences(measured.answers["prefill"], engine_way(scorer)(case.batches[-1]) or [])
        return {
            **reached(measured.rates["prefill"], case.operations_per_post_apart(), self._matmul),
            "mean_abs_score_difference": statistics.mean(apart),
            "max_abs_score_difference": max(apart),
        }

    def generate(self) -> dict[str, Any]:
        """One `generate` a policy."""
        case = self._case(8, 60, rounds=1)
        ways: dict[str, Way] = {"generate": Prefill(case.scorers[POST_FIRST]).generate}
        return {"posts_per_second": round(case.measure(ways).rates["generate"], 3)}

    def quantized(self, quantization: Quantization) -> dict[str, Any]:
        """`post_first` with quantized weights beside the same without: posts a second, scores, memory.

        Raises Misconfigured where the device can't, Fatal where its products are wrong.
        """
        check_quantization(quantization, self.checkpoint.dtype, self.checkpoint.device)
        if (error := self._product_error(quantization)) > MOST_ERROR:
            msg = f"products of {quantization} are {error:.2g} of their largest value off; {MOST_ERROR} is allowed"
            raise Fatal(msg)
        case = self._case(8, 60, self._rounds)
        smaller = case.quantized(quantization)
        measured = case.measure({"quantized": engine_way(smaller), "plain": engine_way(case.scorers[POST_FIRST])})
        answers = measured.answers
        return {
            "posts_per_second": round(measured.rates["quantized"], 3),
            "over_unquantized": measured.over("quantized", "plain"),
            **quantization_effect(
                answers["quantized"], answers["plain"], smaller.checkpoint.model, self.checkpoint.model
            ),
        }

    @torch.inference_mode()
    def _product_error(self, quantization: Quantization) -> float:
        """The largest error of a layer's products, as a share of their largest value; of few rows and of many."""
        linear = nn.Linear(256, 512, device=self.checkpoint.device, dtype=self.checkpoint.dtype)
        quantized = LAYERS[quantization](linear)
        errors = []
        for rows in (1, 16, 300):
            states = torch.randn(1, rows, 256, device=self.checkpoint.device, dtype=self.checkpoint.dtype)
            wanted = linear(states)
            errors.append(float((quantized(states) - wanted).abs().max() / wanted.abs().max()))
        return max(errors)

    def _case(self, policies: int, tokens: int, rounds: int) -> BenchCase:
        load = Load(policies, tokens, self._posts, self._shape.side, rounds, seed=1)
        return BenchCase(self.checkpoint, load, BATCH_TOKENS)
