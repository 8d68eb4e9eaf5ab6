"""Whether a device answers as it should: in parts by the engine's modules, and by a stock forward a policy."""

import random
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch

from moderation_service.bench.engine_shape import Shape, make_checkpoint, make_questionnaire, make_requests, make_scorer
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.local.checkpoint import Checkpoint
from moderation_service.engine.local.full_forward import full_forward_scores
from moderation_service.settings import LayoutName

EXACT = 1e-4
"""Of float32, which takes the plain way on a GPU."""

WORSE = 2
"""Times that bfloat16 in parts may be off, on average, of what a stock forward in bfloat16 is off."""


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
