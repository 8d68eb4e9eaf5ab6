"""Commands on labelled posts: evaluate and calibrate. Their libraries come with the extra `evaluation`."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from moderation_service.app.compose import open_judge
from moderation_service.app.files import with_files
from moderation_service.app.progress import progress
from moderation_service.contracts.verdict import Thresholds
from moderation_service.demo.benchmark import benchmark, calibration_posts
from moderation_service.evaluation.calibrate import COLUMNS, Calibrated, calibrate
from moderation_service.evaluation.evaluate import Evaluation, evaluate
from moderation_service.evaluation.examples import from_judged
from moderation_service.evaluation.labelled import Labelled
from moderation_service.evaluation.loaders import Layout, load
from moderation_service.evaluation.run import judge_all, with_all_views
from moderation_service.evaluation.thresholds import Target
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings

__all__ = ["COLUMNS", "Target", "calibrate_labelled", "evaluate_labelled"]

BUNDLED = "bundled"
BUNDLED_CALIBRATION_POSTS = 4000


@dataclass(frozen=True, slots=True)
class Given:
    """Labelled posts, where they are from, how many rows were none, and settings that reach their pictures."""

    posts: Sequence[Labelled]
    source: str
    left_out: int
    settings: Settings


async def evaluate_labelled(
    settings: Settings, given: str, *, seed: int, scale: float, policy: str | None, layout: Layout | None
) -> tuple[Evaluation, str]:
    """Judge labelled posts (a path, or `bundled`); the figures and the HTML report."""
    pack = load_pack(settings.policies.path, pictures=False)
    if given == BUNDLED:
        chosen = Given(list(benchmark(seed, scale)), f"{BUNDLED}, seed {seed}, scale {scale:g}", 0, settings)
    else:
        chosen = _from_path(settings, Path(given), pack, policy, layout)
    judged_with = with_all_views(chosen.settings)
    async with open_judge(judged_with, pack) as judge:
        made = await _evaluate(judge, chosen)
    async with ImageLoader(judged_with.media) as loader:
        report = await made.report(loader, {one.id: one.title.en for one in pack.policies})
    return made, report


async def calibrate_labelled(
    settings: Settings, given: str, *, target: Target | None, policy: str | None, layout: Layout | None
) -> Calibrated:
    """Fit every policy that has the labels for it, on a path's posts or on `bundled` ones."""
    pack = load_pack(settings.policies.path, pictures=False)
    if given == BUNDLED:
        posts = list(calibration_posts(BUNDLED_CALIBRATION_POSTS))
        chosen = Given(posts, f"{BUNDLED}, {len(posts)} posts", 0, settings)
    else:
        chosen = _from_path(settings, Path(given), pack, policy, layout)
    judging = chosen.settings.judging.model_copy(update={"views": "never", "explain": "never", "calibration": None})
    async with open_judge(chosen.settings.model_copy(update={"judging": judging}), pack) as judge:
        with progress(len(chosen.posts)) as advance, _nowhere() as nowhere:
            run = await judge_all(judge, chosen.posts, nowhere, advance)
    own = {one.id: Thresholds(**one.thresholds.model_dump()) for one in pack.policies}
    return calibrate(from_judged(run.judged), own, data=chosen.source, target=target)


async def _evaluate(judge: Judge, given: Given) -> Evaluation:
    with progress(len(given.posts)) as advance, _nowhere() as nowhere:
        made = await evaluate(
            judge, given.posts, nowhere, source=given.source, left_out=given.left_out, on_done=advance
        )
    for line in made.run.unjudged:
        print(f"not judged: {line}", file=sys.stderr)
    return made


def _from_path(settings: Settings, path: Path, pack: PolicyPack, policy: str | None, layout: Layout | None) -> Given:
    loaded = load(path, [one.id for one in pack.policies], policy=policy, layout=layout)
    for row in loaded.left_out:
        print(f"left out: {row.where}: {row.why}", file=sys.stderr)
    return Given(loaded.posts, str(path), len(loaded.left_out), with_files(settings, loaded.root))


@contextmanager
def _nowhere() -> Iterator[IO[bytes]]:
    """For verdicts of which only the figures are wanted."""
    with Path(os.devnull).open("wb") as file:
        yield file
