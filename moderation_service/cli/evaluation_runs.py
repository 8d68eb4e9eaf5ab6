"""Evaluation and calibration runs on labelled posts. Their libraries come with the extra `evaluation`."""

from typing import Any

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import print_lines, progress
from moderation_service.contracts.verdict import Thresholds
from moderation_service.demo.benchmark import benchmark, calibration_posts
from moderation_service.evaluation.calibrate import COLUMNS, Calibrated, calibrate
from moderation_service.evaluation.calibrators import from_judged
from moderation_service.evaluation.figures import figures_of
from moderation_service.evaluation.label_sources import (
    BundledPosts,
    LabelledPosts,
    LabelSource,
    RecordedScores,
    labelled_posts,
    recorded_scores,
)
from moderation_service.evaluation.report import render_report
from moderation_service.evaluation.run import Run, judge_all, with_all_passes
from moderation_service.evaluation.thresholds import Target
from moderation_service.media.loader import ImageLoader
from moderation_service.policies.pack import PolicyPack, load_pack
from moderation_service.settings import Settings

__all__ = ["COLUMNS", "LabelSource", "Target", "calibrate_labelled", "evaluate_labelled"]  # the commands'

_CALIBRATION_POSTS = 4000


async def evaluate_labelled(
    settings: Settings, named: LabelSource, *, seed: int, scale: float
) -> tuple[dict[str, Any], str]:
    """Judge labelled posts; the figures and the HTML report."""
    pack = load_pack(settings.policies.path, images=False)
    bundled = BundledPosts(f"seed {seed}, scale {scale:g}", benchmark(seed, scale))
    given = await labelled_posts(with_all_passes(settings), pack, named, bundled)
    run = await _judged(given, pack)
    figures = figures_of(run, source=given.source, left_out=len(given.left_out))
    async with ImageLoader(given.settings.media) as loader:
        titles = {one.id: one.title.in_language("en") for one in pack.policies}
        return figures, await render_report(run, figures, titles, loader.load)


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
    run = await _judged(given, pack)
    made = calibrate(from_judged(run.judged), own, data=given.source, target=target)
    return made, len(given.left_out) + len(run.unjudged)


async def _judged(given: LabelledPosts, pack: PolicyPack) -> Run:
    """Judge every post; what is left out, and why, is printed."""
    _print_rows(given)
    with progress(len(given.posts)) as advance:
        async with open_judge(given.settings.without_banks(), pack) as judge:
            run = await judge_all(judge, given.posts, on_done=advance)
    print_lines("not judged", run.unjudged)
    return run


def _print_rows(found: LabelledPosts | RecordedScores) -> None:
    print_lines("not read", found.unread)
    print_lines("left out", (f"{row.where}: {row.why}" for row in found.left_out))
