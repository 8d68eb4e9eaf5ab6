"""One pack of policies put to one model in several ways: the same posts in each, with its rate, memory and answers."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import torch
from torch import nn
from transformers import PreTrainedModel

from moderation_service.bench.machine import peak_memory
from moderation_service.bench.random_model import make_questionnaire, make_requests, make_scorer
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.post_tokenizer import TokenizedPost
from moderation_service.engine.local.quantization import Quantization, quantize
from moderation_service.engine.local.scorer import Scorer
from moderation_service.settings import LayoutName

Answers = Sequence[Sequence[LabelScore]]
Way = Callable[[Sequence[ScoreRequest]], Answers | None]

POST_FIRST: LayoutName = "post_first"
POLICIES_FIRST: LayoutName = "policies_first"
LAYOUTS = (POST_FIRST, POLICIES_FIRST)

_CLEAR, _PEAK = Path("/proc/self/clear_refs"), "5"  # what Linux takes for: forget the peak so far


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
class Measured:
    """By way: posts a second, peak memory in bytes, and the answers of the last round."""

    rates: dict[str, float]
    peaks: dict[str, int | None]
    answers: dict[str, Answers]

    @property
    def better_layout(self) -> str:
        """The faster layout."""
        return max(LAYOUTS, key=self.rates.__getitem__)

    def over(self, one: str, *others: str) -> float | None:
        """How many times faster than the fastest of the others; None where none was asked."""
        rates = [self.rates[other] for other in others if other in self.rates]
        return round(self.rates[one] / max(rates), 3) if rates else None


class BenchCase:
    """A questionnaire, batches of posts that are new each round, and a scorer a layout; the pack is read before."""

    def __init__(self, checkpoint: Checkpoint, load: Load, max_batch_tokens: int = 2**20) -> None:
        """By default a batch holds whatever it is given."""
        self.checkpoint, self._max_batch_tokens = checkpoint, max_batch_tokens
        self.scorers = {layout: make_scorer(checkpoint, layout, max_batch_tokens) for layout in LAYOUTS}
        rng = random.Random(load.seed)  # noqa: S311 - repeatable, no secret
        self.questionnaire = make_questionnaire(self.scorers[POST_FIRST], load.policies, load.tokens, rng)
        self.batches = [
            make_requests(self.questionnaire, load.posts, load.side, load.seed + number)
            for number in range(load.rounds + 1)
        ]
        for scorer in self.scorers.values():
            scorer.prefix(self.questionnaire)

    def quantized(self, kind: Quantization) -> Scorer:
        """`post_first` by a copy of the model with quantized weights."""
        smaller = replace(self.checkpoint, model=deepcopy(self.checkpoint.model))
        quantize(smaller.model, kind, smaller.device)
        scorer = make_scorer(smaller, POST_FIRST, self._max_batch_tokens)
        scorer.prefix(self.questionnaire)
        return scorer

    def layout_ways(self) -> dict[str, Way]:
        """Both layouts, as the engine asks."""
        return {layout: engine_way(scorer) for layout, scorer in self.scorers.items()}

    def measure(self, ways: Mapping[str, Way]) -> Measured:
        """Each batch by each way; the first of a way is slower, and does not count."""
        device = self.checkpoint.device
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        peaks: dict[str, int | None] = {}
        answers: dict[str, Answers] = {}
        for number, batch in enumerate(self.batches):
            for name, way in ways.items():
                _reset_peak(device)
                begun = time.perf_counter()
                found = way(batch)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if number:
                    seconds[name].append(time.perf_counter() - begun)
                peaks[name] = _peak_bytes(device)
                if found is not None:
                    answers[name] = found
        return Measured({name: len(self.batches[0]) / median(taken) for name, taken in seconds.items()}, peaks, answers)

    def operations_per_post(self, layout: LayoutName) -> float:
        """What arithmetic asks of the last batch."""
        return self._arithmetic().packed(*self._lengths(layout)) / len(self.batches[-1])

    def operations_per_post_apart(self) -> float:
        """The same where each policy has a prompt of its own, in `post_first`'s order."""
        return self._arithmetic().apart(*self._lengths(POST_FIRST)) / len(self.batches[-1])

    def _arithmetic(self) -> "Arithmetic":
        return Arithmetic.of(self.checkpoint.model)

    def _lengths(self, layout: LayoutName) -> tuple[list[TokenizedPost], int, list[int]]:
        scorer = self.scorers[layout]
        prefix = scorer.prefix(self.questionnaire)
        posts = [
            scorer.post_tokenizer.tokenize(request.text, request.images, prefix.room) for request in self.batches[-1]
        ]
        return posts, len(prefix.ids), [len(suffix) for suffix in prefix.suffixes]


def engine_way(scorer: Scorer) -> Way:
    """As the engine asks."""
    return lambda requests: [scored.labels for scored in scorer.score(requests)]


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


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Floating-point operations that no way of asking can do without, a multiplication and an addition being two.

    Matrix products of words and patches, and logits and sums of the pairs of tokens of which one may see the other.
    """

    a_token: int
    a_pair: int
    an_answer: int
    a_patch: int
    a_patch_pair: int
    an_image_token: int

    @classmethod
    def of(cls, model: PreTrainedModel) -> "Arithmetic":
        """Counted off the model's own weights."""
        text_config, vision = model.config.text_config, model.config.vision_config
        tower = model.model.visual
        return cls(
            a_token=2 * _weights([model.model.language_model.layers]),
            a_pair=4 * text_config.hidden_size * text_config.num_hidden_layers,
            an_answer=2 * model.lm_head.weight.numel(),
            a_patch=2 * _weights([tower.patch_embed, tower.blocks]),
            a_patch_pair=4 * vision.hidden_size * vision.depth,
            an_image_token=2 * _weights([tower.downsample, tower.merger]),
        )

    def images(self, post: TokenizedPost) -> int:
        """The tower's, once an image."""
        patches = [int(image.grid.prod()) for image in post.images]
        return sum(n * (self.a_patch + n * self.a_patch_pair) + n // 4 * self.an_image_token for n in patches)

    def packed(self, posts: Sequence[TokenizedPost], prefix: int, suffixes: Sequence[int]) -> int:
        """All suffixes of each post behind a kept prefix."""
        return sum(
            self.images(post)
            + self._words(len(post.ids), prefix)
            + sum(self._words(suffix, prefix + len(post.ids)) + self.an_answer for suffix in suffixes)
            for post in posts
        )

    def apart(self, posts: Sequence[TokenizedPost], prefix: int, suffixes: Sequence[int]) -> int:
        """A prompt of its own for each suffix of each post, the image in it, and nothing kept."""
        return sum(
            self.images(post) + self._words(prefix + len(post.ids) + suffix, 0) + self.an_answer
            for post in posts
            for suffix in suffixes
        )

    def _words(self, count: int, before: int) -> int:
        return count * self.a_token + (count * before + count * (count + 1) // 2) * self.a_pair


def _weights(modules: Iterable[nn.Module]) -> int:
    """Of all matrix products, each used once a token."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return sum(part.weight.numel() for module in modules for part in module.modules() if isinstance(part, kinds))


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _CLEAR.exists():
        _CLEAR.write_text(_PEAK, encoding="utf-8")


def _peak_bytes(device: torch.device) -> int | None:
    """Since then: of tensors on a GPU; elsewhere of the whole process, where it can be told (on Linux)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return peak_memory() if _CLEAR.exists() else None
