"""One pack of policies put to one model by every way, the same posts at each."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from copy import deepcopy
from dataclasses import dataclass, replace
from statistics import mean, median
from typing import Any

import torch
from torch import nn

from moderation_service.bench.engine_shape import (
    Arithmetic,
    make_processor,
    make_questionnaire,
    make_requests,
    make_scorer,
)
from moderation_service.bench.engine_ways import BenchServer, DecisionPipeline, Masked, Prefill
from moderation_service.bench.memory import peak_bytes, reset_peak
from moderation_service.contracts.engine_input import Questionnaire
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.full_forward import full_forward_scores
from moderation_service.engine.local.quantization import quantize
from moderation_service.engine.local.scorer import Scorer
from moderation_service.settings import LayoutName

MASK_BOUND = 2400
"""Tokens of all policies: a mask over more takes minutes, and loses by more."""

Answers = Sequence[Sequence[LabelScore]]
Way = Callable[[Sequence[ScoreRequest]], Answers | None]

POST_FIRST: LayoutName = "post_first"
POLICIES_FIRST: LayoutName = "policies_first"
LAYOUTS = (POST_FIRST, POLICIES_FIRST)
MASKED, INT8 = "post_first_masked", "post_first_int8"
PREFILL, GENERATE, PIPELINE, VLLM = "prefill_per_policy", "generate_per_policy", "decision_pipeline", "vllm"


@dataclass(frozen=True, slots=True)
class Load:
    """`policies` of `tokens` each, of `posts` a batch with images of `side` squared; `rounds` are timed."""

    policies: int
    tokens: int
    posts: int
    side: int
    rounds: int
    seed: int


@dataclass(frozen=True, slots=True)
class BenchCase:
    """Posts a second, peak memory and answers of the last round, by way; operations a post that arithmetic asks for."""

    rates: Mapping[str, float]
    peaks: Mapping[str, int | None]
    answers: Mapping[str, Answers]
    operations: Mapping[str, float]
    differences: Mapping[str, float]
    int8: Mapping[str, float] | None

    @property
    def better(self) -> str:
        """The faster layout."""
        return max(LAYOUTS, key=self.rates.__getitem__)

    def over(self, one: str, *others: str) -> float | None:
        """How many times faster than the fastest of the others; None where none was asked."""
        rates = [self.rates[other] for other in others if other in self.rates]
        return round(self.rates[one] / max(rates), 3) if rates else None

    def said(self) -> dict[str, Any]:
        """For the figures."""
        return {
            "posts_per_second": {way: round(rate, 3) for way, rate in self.rates.items()},
            "peak_memory_bytes": dict(self.peaks),
            "gflop_a_post": {way: round(each / 1e9, 2) for way, each in self.operations.items()},
            "max_abs_score_difference": dict(self.differences),
            "int8": self.int8,
        }


def measure(
    checkpoint: Checkpoint, load: Load, *, all_ways: bool = False, server: tuple[str, str] | None = None
) -> BenchCase:
    """Ask by both layouts; with `all_ways` as others do too, and a `server` by its address and its model's name."""
    rng = random.Random(load.seed)  # noqa: S311 - repeatable, no secret
    scorers = {layout: make_scorer(checkpoint, layout) for layout in LAYOUTS}
    scorers_of_all = list(scorers.values())
    questionnaire = make_questionnaire(scorers[POST_FIRST], load.policies, load.tokens, rng)
    batches = [make_requests(questionnaire, load.posts, load.side, load.seed + n) for n in range(load.rounds + 1)]
    ways: dict[str, Way] = {layout: engine_way(scorer) for layout, scorer in scorers.items()}
    smaller: Checkpoint | None = None
    if load.policies * load.tokens <= MASK_BOUND:
        ways[MASKED] = Masked(scorers[POST_FIRST]).score
    with ExitStack() as stack:
        if all_ways:
            prefill = Prefill(scorers[POST_FIRST])
            smaller = replace(checkpoint, model=deepcopy(checkpoint.model))
            quantize(smaller.model, "int8", smaller.device)
            scorers_of_all.append(make_scorer(smaller, POST_FIRST))
            ways |= {PREFILL: prefill.score, GENERATE: prefill.generate, INT8: engine_way(scorers_of_all[-1])}
            if not DecisionPipeline.missing():
                ways[PIPELINE] = DecisionPipeline(checkpoint.model, make_processor(load.side)).score
        if server:
            address, name = server
            for layout in LAYOUTS:
                asked = stack.enter_context(closing(BenchServer(address, name, layout)))
                asked.prepare(questionnaire)
                ways[f"{VLLM}_{layout}"] = asked.score
        for scorer in scorers_of_all:
            scorer.prefix(questionnaire)
        rates, peaks, answers = in_turn(ways, batches, checkpoint.device)
    exact = {POST_FIRST: answers.get(PREFILL), MASKED: answers[POST_FIRST]}
    exact |= {f"{VLLM}_{layout}": answers[layout] for layout in LAYOUTS}
    differences = {way: _apart(answers[way], wanted) for way, wanted in exact.items() if wanted and way in answers}
    if all_ways:  # a stock forward a policy, the whole pack before the post in each: too slow for all posts
        stock = full_forward_scores(scorers[POLICIES_FIRST], batches[-1][0])
        differences[POLICIES_FIRST] = _apart(answers[POLICIES_FIRST][:1], [stock])
    int8 = quantization_effect(answers[INT8], answers[POST_FIRST], smaller.model, checkpoint.model) if smaller else None
    return BenchCase(rates, peaks, answers, operations_per_post(scorers, questionnaire, batches[-1]), differences, int8)


def engine_way(scorer: Scorer) -> Way:
    """As the engine asks."""
    return lambda requests: [scored.labels for scored in scorer.score(requests)]


def in_turn(
    ways: Mapping[str, Way], batches: Sequence[Sequence[ScoreRequest]], device: torch.device
) -> tuple[dict[str, float], dict[str, int | None], dict[str, Answers]]:
    """Each batch by each way; the first of a batch and a way is slower, and does not count."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    peaks: dict[str, int | None] = {}
    answers: dict[str, Answers] = {}
    for number, batch in enumerate(batches):
        for name, way in ways.items():
            reset_peak(device)
            begun = time.perf_counter()
            found = way(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if number:
                seconds[name].append(time.perf_counter() - begun)
            peaks[name] = peak_bytes(device)
            if found is not None:
                answers[name] = found
    return {name: len(batches[0]) / median(taken) for name, taken in seconds.items()}, peaks, answers


def _apart(one: Answers, other: Answers) -> float:
    """The largest difference between two answers' scores."""
    return max(score_differences(one, other))


def score_differences(one: Answers, other: Answers) -> list[float]:
    """How far each score is from the other's of the same question."""
    return [
        abs(mine.score - theirs.score)
        for ours, wanted in zip(one, other, strict=True)
        for mine, theirs in zip(ours, wanted, strict=True)
    ]


def quantization_effect(small: Answers, plain: Answers, quantized: nn.Module, model: nn.Module) -> dict[str, float]:
    """What weights in eight bits do to scores and memory."""
    apart = score_differences(small, plain)
    held = [sum(each.nbytes for each in (*one.parameters(), *one.buffers())) for one in (quantized, model)]
    return {
        "max_abs_score_difference": max(apart),
        "mean_abs_score_difference": mean(apart),
        "weight_bytes": held[0],
        "weight_bytes_before": held[1],
    }


def operations_per_post(
    scorers: Mapping[LayoutName, Scorer], questionnaire: Questionnaire, requests: Sequence[ScoreRequest]
) -> dict[str, float]:
    """By layout, and with `post_first` of one prefill a policy too."""
    needed: dict[str, float] = {}
    for layout, scorer in scorers.items():
        arithmetic, prefix = Arithmetic.of(scorer.checkpoint.model), scorer.prefix(questionnaire)
        posts = [scorer.reader.read(request.text, request.images, prefix.room) for request in requests]
        lengths = len(prefix.ids), [len(suffix) for suffix in prefix.suffixes]
        needed[layout] = arithmetic.packed(posts, *lengths) / len(posts)
        if layout == POST_FIRST:
            needed[PREFILL] = arithmetic.apart(posts, *lengths) / len(posts)
    return needed
