"""Evaluation and calibration runs on labelled posts. Their libraries come with the extra `evaluation`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import print_lines, progress
from moderation_service.contracts.verdict import Thresholds
from moderation_service.demo.benchmark import benchmark, calibration_posts
from moderation_service.evaluation.calibrate import COLUMNS, Calibrated, calibrate
from moderation_service.evaluation.evaluate import Evaluation, evaluate
from moderation_service.evaluation.examples import from_judged
from moderation_service.evaluation.label_sources import (
    BundledPosts,
    LabelledPosts,
    LabelSource,
    RecordedScores,
    labelled_posts,
    recorded_scores,
)
from moderation_service.evaluation.layouts import sensitivity, side_by_side
from moderation_service.evaluation.metric_block import Bootstrap
from moderation_service.evaluation.run import judge_all, with_all_views
from moderation_service.evaluation.thresholds import Target
from moderation_service.judging.judge import Judge
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import load_pack
from moderation_service.settings import Settings

__all__ = ["COLUMNS", "LabelSource", "Target", "calibrate_labelled", "evaluate_labelled"]  # the commands'

_CALIBRATION_POSTS = 4000

Layout = Literal["post_first", "policies_first", "both"]


async def evaluate_labelled(
    settings: Settings, named: LabelSource, *, seed: int, scale: float, layout: Layout | None
) -> tuple[Evaluation, str]:
    """Judge labelled posts; the figures and the HTML report.

    With a `layout` the figures tell too how far policies move one another in it; with `both` this stands side by side,
    and all other figures are of the settings' own layout.
    """
    pack = load_pack(settings.policies.path, images=False)
    bundled = BundledPosts(f"seed {seed}, scale {scale:g}", benchmark(seed, scale))
    given = await labelled_posts(with_all_views(settings), pack, named, bundled)
    _print_rows(given)
    made: list[Evaluation] = []
    compared: dict[str, Any] = {}
    for chosen in _laid_out(given.settings, layout):
        async with open_judge(chosen, pack) as judge:
            one = await _evaluate(judge, given)
            if layout:
                moved = await sensitivity(judge, one.run.judged, Bootstrap())
                compared[chosen.engine.layout] = {**side_by_side(one.figures), **moved}
        made.append(one)
    first = replace(made[0], figures={**made[0].figures, "layouts": compared or None})
    async with ImageLoader(given.settings.media) as loader:
        report = await first.report(loader, {one.id: one.title.en for one in pack.policies})
    return first, report


async def calibrate_labelled(
    settings: Settings, named: LabelSource, *, seed: int, scale: float, target: Target | None
) -> tuple[Calibrated, int]:
    """Fit every policy that has the labels for it, on posts judged now or on recorded scores; and the rows left out."""
    pack = load_pack(settings.policies.path, images=False)
    own = {one.id: Thresholds(**one.thresholds.model_dump()) for one in pack.policies}
    if found := await recorded_scores(settings, named):
        _print_rows(found)
        return calibrate(found.scores, own, data=found.source, target=target), len(found.left_out)
    count = round(_CALIBRATION_POSTS * scale)
    bundled = BundledPosts(f"{count} calibration posts, seed {seed}", calibration_posts(count, seed))
    judging = settings.judging.model_copy(update={"attribution": "never", "explain": "never", "calibration": "none"})
    given = await labelled_posts(settings.model_copy(update={"judging": judging}), pack, named, bundled)
    _print_rows(given)
    async with open_judge(given.settings, pack) as judge:
        with progress(len(given.posts)) as advance, _devnull() as devnull:
            run = await judge_all(judge, given.posts, devnull, advance)
    print_lines("not judged", run.unjudged)
    made = calibrate(from_judged(run.judged), own, data=given.source, target=target)
    return made, len(given.left_out) + len(run.unjudged)


def _laid_out(settings: Settings, layout: Layout | None) -> Iterator[Settings]:
    """The settings for each layout that is asked for, their own first."""
    own = settings.engine.layout
    if layout != "both":
        yield _with_layout(settings, layout or own)
        return
    yield settings
    judging = settings.judging
    if isinstance(judging.calibration, Path):  # it is of the own layout's scores
        judging = judging.model_copy(update={"calibration": "none"})
    other = "policies_first" if own == "post_first" else "post_first"
    yield _with_layout(settings.model_copy(update={"judging": judging}), other)


def _with_layout(settings: Settings, layout: str) -> Settings:
    return settings.model_copy(update={"engine": settings.engine.model_copy(update={"layout": layout})})


async def _evaluate(judge: Judge, given: LabelledPosts) -> Evaluation:
    with progress(len(given.posts)) as advance, _devnull() as devnull:
        made = await evaluate(
            judge, given.posts, devnull, source=given.source, left_out=len(given.left_out), on_done=advance
        )
    print_lines("not judged", made.run.unjudged)
    return made


def _print_rows(found: LabelledPosts | RecordedScores) -> None:
    print_lines("not read", found.unread)
    print_lines("left out", (f"{row.where}: {row.why}" for row in found.left_out))


@contextmanager
def _devnull() -> Iterator[IO[bytes]]:
    """For verdicts of which only the figures are wanted."""
    with Path(os.devnull).open("wb") as file:
        yield file
