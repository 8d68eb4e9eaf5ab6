"""What `moderation train` makes of 400 posts of a policy new to the bundled model, and of its weakest slice.

`python -m benchmarks.train [--part ninth|weakest|shuffled]`. The command runs as an owner runs it, on
two threads; then other posts are judged with the adapter and without, and compared pairwise.
"""

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory
from typing import Any, Literal

from benchmarks import forged_documents
from benchmarks.command_line import main
from moderation_service.app.compose import open_judge
from moderation_service.demo.benchmark import SLICES, benchmark
from moderation_service.demo.post_factory import PostFactory
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.paired_comparison import Comparison, compare
from moderation_service.evaluation.run import JudgedPost, judge_all, with_all_passes
from moderation_service.policies.pack import load_pack
from moderation_service.settings import JudgingSettings, Settings, shipped_policies

POSTS, REVIEWED = 400, 200
TRAIN_SEED, OTHER_SEED, BUNDLED_SEED = 1, 2, 7101
BUNDLED_SCALE = 0.15
WEAKEST = "text_in_picture"
THREADS = "2"
RATE = ("--learning-rate", "0.0018")  # twice the default: the bundled model is small
_SHOWN = ("ranking", "attribution", "F1 all", "F1 combined")


Part = Literal["ninth", "weakest", "shuffled"]


def run(*, part: Part = "ninth") -> dict[str, Any]:
    """`ninth`: a new policy; `weakest`: the slice with the lowest F1; `shuffled`: labels that teach nothing."""
    with TemporaryDirectory() as folder:
        return {"part": part, **PARTS[part](Path(folder))}


def ninth(folder: Path) -> dict[str, Any]:
    """A ninth policy: 400 labelled posts of it, rehearsed with half as many bundled ones."""
    policies = _nine_policies(folder)
    posts = list(forged_documents.posts(POSTS, TRAIN_SEED))
    run, adapter = _train(folder, policies, posts, "--rehearsal", "bundled")
    if not adapter.exists():
        return run
    own = asyncio.run(_compare(policies, list(forged_documents.posts(POSTS, OTHER_SEED)), adapter))
    old = asyncio.run(_compare(policies, list(benchmark(BUNDLED_SEED, BUNDLED_SCALE)), adapter))
    return {**run, "others": _changes(own), "bundled": _changes(old)}


def weakest(folder: Path) -> dict[str, Any]:
    """200 labelled posts of the slice with the lowest F1, and 400 others of it."""
    policies = shipped_policies()
    run, adapter = _train(folder, policies, _of_slice(REVIEWED, TRAIN_SEED), "--rehearsal", "bundled")
    if not adapter.exists():
        return run
    own = asyncio.run(_compare(policies, _of_slice(POSTS, OTHER_SEED), adapter))
    old = asyncio.run(_compare(policies, list(benchmark(BUNDLED_SEED, BUNDLED_SCALE)), adapter))
    return {**run, "others": _changes(own), "bundled": _changes(old)}


def shuffled(folder: Path) -> dict[str, Any]:
    """The ninth policy's posts, each with the labels of another: there is nothing to learn."""
    posts = list(forged_documents.posts(POSTS, TRAIN_SEED))
    others = random.Random(TRAIN_SEED).sample(posts, len(posts))  # noqa: S311 - repeatable
    mixed = [
        replace(one, labels=other.labels, attribution=other.attribution)
        for one, other in zip(posts, others, strict=True)
    ]
    run, adapter = _train(folder, _nine_policies(folder), mixed)
    return {**run, "written": adapter.exists()}


PARTS: dict[Part, Callable[[Path], dict[str, Any]]] = {"ninth": ninth, "weakest": weakest, "shuffled": shuffled}


def _train(folder: Path, policies: Path, posts: Sequence[Labelled], *options: str) -> tuple[dict[str, Any], Path]:
    """Run the command; how it ended, what it took, its own figures, and where the adapter is if it was written."""
    labelled, adapter = folder / "labelled.jsonl", folder / "adapter"
    labelled.write_text("".join(json.dumps(_row(one)) + "\n" for one in posts), encoding="utf-8")
    environment = {
        **os.environ,
        "MODERATION_POLICIES__PATH": str(policies),
        "OMP_NUM_THREADS": THREADS,
        "OMP_WAIT_POLICY": "passive",  # threads that spin for work slow a busy machine down
    }
    command = [sys.executable, "-m", "moderation_service", "train", str(labelled), "-o", str(adapter), *RATE, *options]
    begun, used = time.monotonic(), _cpu_seconds()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
    seconds, cpu = time.monotonic() - begun, _cpu_seconds() - used
    card = json.loads(done.stdout)
    return {
        "exit_code": done.returncode,
        "seconds": round(seconds),
        "cpu_seconds": round(cpu),
        "data": card["data"],
        "epochs": len(card["epochs"]),
        "held_out": {name: each for name, each in card["comparison"]["changes"].items() if name in _SHOWN},
        "is_improved": card["comparison"]["is_improved"],
    }, adapter


def _cpu_seconds() -> float:
    used = getrusage(RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _row(one: Labelled) -> dict[str, Any]:
    post = one.post.model_dump(mode="json", exclude_none=True)
    return {**post, "labels": one.labels, "attribution": one.attribution, "slices": one.slices, "twin_of": one.twin_of}


def _nine_policies(folder: Path) -> Path:
    """The shipped policies and the new one."""
    policies = folder / "policies"
    shutil.copytree(shipped_policies(), policies)
    shutil.copy(forged_documents.FOLDER / f"{forged_documents.POLICY}.yaml", policies)
    return policies


def _of_slice(count: int, seed: int) -> list[Labelled]:
    made = SLICES[WEAKEST].make
    tag = list(SLICES).index(WEAKEST) + 1
    return [one for number in range(count) for one in made(PostFactory(seed, number, tag, WEAKEST))]


async def _compare(policies: Path, posts: Sequence[Labelled], adapter: Path) -> Comparison:
    """Judge posts without the adapter and with it, and compare."""
    settings = with_all_passes(Settings(judging=JudgingSettings(calibration="none")))
    before = await _judge(settings, policies, posts)
    engine = settings.engine.model_copy(update={"adapter": adapter})
    return compare(before, await _judge(settings.model_copy(update={"engine": engine}), policies, posts))


async def _judge(settings: Settings, policies: Path, posts: Sequence[Labelled]) -> Sequence[JudgedPost]:
    async with open_judge(settings, load_pack(policies, images=False)) as judge:
        core = [one for one in posts if not one.apart]
        return (await judge_all(judge, core)).judged


def _changes(found: Comparison) -> dict[str, Any]:
    shown = (*_SHOWN, *(name for name in found.changes if name.startswith("F1 policy")))
    changes = found.as_json()["changes"]
    return {"posts": found.posts, **{name: changes[name] for name in shown}, "worse": list(found.worse)}


if __name__ == "__main__":
    main(run)
