"""What scripts/gpu-bench.sh times of one model on one card. Each method is a part, and gives its figures."""

import random
import statistics
import time
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import nn

from moderation_service.bench.engine import SHAPES, matmul_rate
from moderation_service.bench.engine_case import (
    LAYOUTS,
    POST_FIRST,
    PREFILL,
    Way,
    engine_way,
    in_turn,
    operations_per_post,
    quantization_effect,
    score_differences,
)
from moderation_service.bench.engine_shape import (
    described,
    make_checkpoint,
    make_questionnaire,
    make_requests,
    make_scorer,
)
from moderation_service.bench.engine_ways import Prefill
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.quantization import LAYERS, Quantization, check_quantization, quantize
from moderation_service.engine.local.scorer import Scorer
from moderation_service.errors import Fatal
from moderation_service.settings import EngineSettings

ALONE = 20
"""Posts asked one by one; three before them are not timed."""

MOST_ERROR = 0.1
"""Of a quantized product; eight bits make 0.01 to 0.06."""

BATCH_TOKENS = EngineSettings().max_batch_tokens


class GpuBench:
    """One model of random weights on `device`; batches of `posts`, `rounds` of them timed and one before not."""

    def __init__(self, shape: Literal["tiny", "9b"], device: Literal["cpu", "cuda"], posts: int, rounds: int) -> None:
        self._shape, self._device = SHAPES[shape], device
        self._posts, self._rounds = posts, rounds

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """Made by the first part that asks for it."""
        return make_checkpoint(
            self._shape, self._device, torch.float32 if self._device == "cpu" else torch.bfloat16, seed=1
        )

    @cached_property
    def _matmul(self) -> float:
        return matmul_rate(self.checkpoint)

    def model(self) -> dict[str, Any]:
        """Make the model, and measure the roofline: the rate of a large matrix product in its precision."""
        return {
            **described(self._shape, self.checkpoint.model),
            "dtype": str(self.checkpoint.dtype).removeprefix("torch."),
            "matmul_tflop_per_second": round(self._matmul / 1e12, 3),
        }

    def layouts(self, policies: int, tokens: int) -> dict[str, Any]:
        """Posts a second of both layouts, and the share of the roofline that each reaches."""
        scorers = {layout: make_scorer(self.checkpoint, layout, BATCH_TOKENS) for layout in LAYOUTS}
        questionnaire = self._questionnaire(policies, tokens)
        for scorer in scorers.values():
            scorer.prefix(questionnaire)
        batches = self._batches(questionnaire, self._rounds)
        ways: dict[str, Way] = {layout: engine_way(scorer) for layout, scorer in scorers.items()}
        rates, peaks, _ = in_turn(ways, batches, self.checkpoint.device)
        needed = operations_per_post(scorers, questionnaire, batches[-1])
        return {
            layout: {**self._reached(rates[layout], needed[layout]), "peak_memory_bytes": peaks[layout]}
            for layout in LAYOUTS
        }

    def alone(self) -> dict[str, Any]:
        """The median (p50) of posts asked one by one, pixels to scores, by layout; eight policies of 60 tokens."""
        questionnaire = self._questionnaire(8, 60)
        found: dict[str, Any] = {}
        for layout in LAYOUTS:
            scorer = make_scorer(self.checkpoint, layout, BATCH_TOKENS)
            taken = []
            for request in make_requests(questionnaire, ALONE + 3, self._shape.side, seed=3):
                begun = time.perf_counter()
                scorer.score([request])
                taken.append(1000 * (time.perf_counter() - begun))
            found[layout] = {"p50_ms": round(statistics.median(taken[3:]), 1)}
        return found

    def prefill(self) -> dict[str, Any]:
        """One prompt a policy; and how far its scores are from those of `post_first`, which asks the same."""
        scorer, batches = self._main_case(rounds=1)
        rates, _, answers = in_turn({PREFILL: Prefill(scorer).score}, batches, self.checkpoint.device)
        needed = operations_per_post({POST_FIRST: scorer}, batches[-1][0].questionnaire, batches[-1])
        apart = score_differences(answers[PREFILL], engine_way(scorer)(batches[-1]) or [])
        return {
            **self._reached(rates[PREFILL], needed[PREFILL]),
            "mean_abs_score_difference": statistics.mean(apart),
            "max_abs_score_difference": max(apart),
        }

    def generate(self) -> dict[str, Any]:
        """One `generate` a policy."""
        scorer, batches = self._main_case(rounds=1)
        ways: dict[str, Way] = {"generate": Prefill(scorer).generate}
        rates, _, _ = in_turn(ways, batches, self.checkpoint.device)
        return {"posts_per_second": round(rates["generate"], 3)}

    def quantized(self, quantization: Quantization) -> dict[str, Any]:
        """`post_first` with quantized weights beside the same without: posts a second, scores, memory.

        Raises Misconfigured where the device can't, Fatal where its products are wrong.
        """
        check_quantization(quantization, self.checkpoint.dtype, self.checkpoint.device)
        if (error := self._product_error(quantization)) > MOST_ERROR:
            msg = f"products of {quantization} are {error:.2g} of their largest value off; {MOST_ERROR} is allowed"
            raise Fatal(msg)
        plain, batches = self._main_case(self._rounds)
        smaller = replace(self.checkpoint, model=deepcopy(self.checkpoint.model))
        quantize(smaller.model, quantization, smaller.device)
        ways = {
            "quantized": engine_way(make_scorer(smaller, POST_FIRST, BATCH_TOKENS)),
            "plain": engine_way(plain),
        }
        rates, _, answers = in_turn(ways, batches, self.checkpoint.device)
        return {
            "posts_per_second": round(rates["quantized"], 3),
            "over_unquantized": round(rates["quantized"] / rates["plain"], 3),
            **quantization_effect(answers["quantized"], answers["plain"], smaller.model, self.checkpoint.model),
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

    def _main_case(self, rounds: int) -> tuple[Scorer, list[list[ScoreRequest]]]:
        """Eight policies of 60 tokens, post first."""
        scorer, questionnaire = make_scorer(self.checkpoint, POST_FIRST, BATCH_TOKENS), self._questionnaire(8, 60)
        return scorer, self._batches(questionnaire, rounds)

    def _questionnaire(self, policies: int, tokens: int) -> Questionnaire:
        return make_questionnaire(make_scorer(self.checkpoint, POST_FIRST), policies, tokens, random.Random(1))  # noqa: S311

    def _batches(self, questionnaire: Questionnaire, rounds: int) -> list[list[ScoreRequest]]:
        return [make_requests(questionnaire, self._posts, self._shape.side, 1 + number) for number in range(rounds + 1)]

    def _reached(self, rate: float, operations: float) -> dict[str, float]:
        return {
            "posts_per_second": round(rate, 3),
            "gflop_a_post": round(operations / 1e9, 2),
            "roofline_share": round(rate * operations / self._matmul, 3),
        }
