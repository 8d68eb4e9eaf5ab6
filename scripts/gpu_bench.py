# ruff: noqa: INP001, T201 - a script, and no package; printing is its work
"""What scripts/gpu-bench.sh runs: first that a GPU answers as it should, then how fast, then what was hoped for."""

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
import transformers

from moderation_service.bench import engine
from moderation_service.bench.engine_case import LAYOUTS
from moderation_service.bench.engine_shape import (
    SMALL,
    TINY,
    Shape,
    make_checkpoint,
    make_questionnaire,
    make_requests,
    make_scorer,
)
from moderation_service.bench.machine import machine
from moderation_service.contracts.question import Questionnaire
from moderation_service.engine.base import LabelScore, ScoreRequest
from moderation_service.engine.checkpoint import Checkpoint
from moderation_service.engine.prompts import LayoutName
from moderation_service.engine.reference import reference_scores

EXACT = 1e-4
"""Of float32, which takes the plain way on a GPU."""

WORSE = 2
"""Times that bfloat16 in parts may be off, on average, of what a stock forward in bfloat16 is off."""

ALONE = 20
"""Posts asked one by one; three before them are not timed."""

GOALS = {
    "posts_per_second.post_first.8x60": 24,
    "posts_per_second.policies_first.8x300": 32,
    "roofline_share": 0.7,
    "prefill_per_policy": 5,
    "generate_per_policy": 50,
}
MOST_P50_MS = 180


class Trial(NamedTuple):
    """What is done: `shapes` are compared, `shape` is timed."""

    device: Literal["cpu", "cuda"]
    shapes: tuple[Shape, ...]
    shape: Literal["tiny", "9b"]
    posts: int
    rounds: int


def main() -> int:
    """Print JSON; 1 where a GPU's answers are not the ones that they should be."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--tiny", action="store_true", help="on the CPU, a tiny shape: tries the script, measures nothing"
    )
    parser.add_argument("--posts", type=int, default=16, help="a batch")
    chosen = parser.parse_args()
    if not chosen.tiny and not torch.cuda.is_available():
        print("gpu-bench: no GPU that torch can use; --tiny tries the script on the CPU", file=sys.stderr)
        return 2
    trial = Trial("cpu", (TINY,), "tiny", 2, 1) if chosen.tiny else Trial("cuda", (TINY, SMALL), "9b", chosen.posts, 3)
    answers = [_answers(shape, layout, trial.device) for shape in trial.shapes for layout in LAYOUTS]
    print(json.dumps({"answers": answers}), file=sys.stderr, flush=True)
    if not all(each["right"] for each in answers):
        return 1
    found = engine.run(shape=trial.shape, device=trial.device, posts=trial.posts, rounds=trial.rounds)
    p50 = _alone_ms(engine.SHAPES[trial.shape], trial.device)
    figures = {
        "goals": _goals(found, p50) if trial.shape == "9b" else None,
        "answers": answers,
        **found,
        "p50_ms_alone": p50,
        "machine": machine(),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "command": " ".join(["scripts/gpu-bench.sh", *sys.argv[1:]]),
    }
    print(json.dumps(figures, indent=1))
    return 0


@torch.inference_mode()
def _answers(shape: Shape, layout: LayoutName, device: str) -> dict[str, Any]:
    """The same weights in float32 and bfloat16, in parts and by a stock forward a policy, which is right."""
    exact = make_checkpoint(shape, device, torch.float32)
    requests = make_requests(_questionnaire(exact, 8, 60), 6, shape.side, seed=2)
    requests[1] = replace(requests[1], images=())
    requests[2] = replace(requests[2], text="")
    stock = _stock(exact, layout, requests)
    apart = {"float32_in_parts": _apart(_parts(exact, layout, requests), stock)}
    rounded = make_checkpoint(shape, device, torch.bfloat16)
    rounded.model.load_state_dict(exact.model.state_dict())  # .to(bfloat16) would round the angles of positions too
    apart["bfloat16_stock"] = _apart(_stock(rounded, layout, requests), stock)
    apart["bfloat16_in_parts"] = _apart(_parts(rounded, layout, requests), stock)
    mean = {way: statistics.mean(each) for way, each in apart.items()}
    return {
        "hidden": shape.hidden,
        "layout": layout,
        "mean_off": mean,
        "max_off": {way: max(each) for way, each in apart.items()},
        "right": max(apart["float32_in_parts"]) <= EXACT
        and mean["bfloat16_in_parts"] <= WORSE * mean["bfloat16_stock"],
    }


def _questionnaire(checkpoint: Checkpoint, policies: int, tokens: int) -> Questionnaire:
    return make_questionnaire(make_scorer(checkpoint, "post_first"), policies, tokens, random.Random(1))  # noqa: S311


def _parts(checkpoint: Checkpoint, layout: LayoutName, requests: Sequence[ScoreRequest]) -> list[float]:
    return _scores(scored.labels for scored in make_scorer(checkpoint, layout).score(requests))


def _stock(checkpoint: Checkpoint, layout: LayoutName, requests: Sequence[ScoreRequest]) -> list[float]:
    scorer = make_scorer(checkpoint, layout)
    return _scores(reference_scores(scorer, request) for request in requests)


def _scores(answers: Iterable[Sequence[LabelScore]]) -> list[float]:
    return [label.score for labels in answers for label in labels]


def _apart(one: list[float], other: list[float]) -> list[float]:
    return [abs(mine - theirs) for mine, theirs in zip(one, other, strict=True)]


def _alone_ms(shape: Shape, device: str) -> dict[str, float]:
    """The median of posts asked one by one, pixels to scores, by layout; eight policies of 60 tokens."""
    checkpoint = make_checkpoint(shape, device, torch.float32 if device == "cpu" else torch.bfloat16)
    questionnaire = _questionnaire(checkpoint, 8, 60)
    found = {}
    for layout in LAYOUTS:
        scorer = make_scorer(checkpoint, layout)
        taken = []
        for request in make_requests(questionnaire, ALONE + 3, shape.side, seed=3):
            begun = time.perf_counter()
            scorer.score([request])
            taken.append(1000 * (time.perf_counter() - begun))
        found[layout] = round(statistics.median(taken[3:]), 1)
    return found


def _goals(found: dict[str, Any], p50: dict[str, float]) -> dict[str, Any]:
    """What was hoped for of an H200 beside what was found."""
    cases = {name: case["posts_per_second"] for name, case in found["cases"].items()}
    reached = {
        "posts_per_second.post_first.8x60": cases["8x60"]["post_first"],
        "posts_per_second.policies_first.8x300": cases["8x300"]["policies_first"],
        "roofline_share": found["roofline_share"],
        **{name: found["ratio"][name] for name in ("prefill_per_policy", "generate_per_policy")},
    }
    least = {
        name: {"goal": f">= {GOALS[name]}", "found": value, "met": value >= GOALS[name]}
        for name, value in reached.items()
    }
    best = min(p50.values())
    return {**least, "p50_ms_alone": {"goal": f"< {MOST_P50_MS}", "found": best, "met": best < MOST_P50_MS}}


if __name__ == "__main__":
    sys.exit(main())
