"""`moderation evaluate` and `moderation calibrate`, on labelled posts."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from moderation_service.cli.common import PROBLEMS, SettingsFile, extra, load, show, writable

LabelFormat = Annotated[
    Literal["posts", "sheet", "hateful_memes", "harmeme", "multioff", "mmhs150k", "unsafebench", "vlsu"] | None,
    Parameter(name=("--format", "--layout-of")),
]


def evaluate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    report: Path | None = None,
    seed: int = 7001,
    scale: float = 1.0,
    policy: str | None = None,
    form: LabelFormat = None,
    posts: Path | None = None,
    layout: Literal["post_first", "policies_first", "both"] | None = None,
    settings: SettingsFile = None,
) -> int:
    """Judge labelled posts and print the figures as JSON; `bundled` is the benchmark made here, by seed and scale.

    Labels are read from JSONL or CSV posts, a folder with a labelled sheet, or a public set as its makers lay it out
    (`--layout-of vlsu`). One label column that names no policy is of `--policy`. With `--posts` the labels are reviews
    of these; `reviews` stands for the review topic. `--layout` tells how far policies move one another's scores in a
    layout, or in both.
    Exits 1 where rows were left out or could not be judged.

    Example: `moderation evaluate bundled --report report.html | jq .combined.f1`
    """
    runs = extra("cli.evaluation_runs", "evaluation")
    report = writable(report, "--report") if report else None
    named = runs.LabelSource(labelled, policy, form, posts)
    made, page = asyncio.run(runs.evaluate_labelled(load(settings), named, seed=seed, scale=scale, layout=layout))
    print(json.dumps(made.figures, ensure_ascii=False, indent=1))
    if report:
        report.write_text(page, encoding="utf-8")
    data = made.figures["data"]
    return PROBLEMS if data["left_out"] or data["not_judged"] else 0


def calibrate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o")],
    recall: float | None = None,
    precision: float | None = None,
    cost: float | None = None,
    policy: str | None = None,
    form: LabelFormat = None,
    posts: Path | None = None,
    verdicts: Path | None = None,
    seed: int = 7002,
    scale: float = 1.0,
    settings: SettingsFile = None,
) -> int:
    """Fit each policy's calibration to labelled posts, and its review threshold to a target, if one is given.

    Labels are read as by `evaluate`. With `--verdicts` they are reviews of these, and nothing is judged: the recorded
    scores are taken, as they are for `reviews`, the review topic. Exits 1 where rows were left out, and writes nothing
    where no policy has the labels for it.

    Example: `moderation calibrate reviewed.jsonl -o calibration.json --recall 0.9`
    """
    runs = extra("cli.evaluation_runs", "evaluation")
    out = writable(out, "--out")
    target = runs.Target.of(recall=recall, precision=precision, cost=cost)
    named = runs.LabelSource(labelled, policy, form, posts, verdicts)
    made, problems = asyncio.run(runs.calibrate_labelled(load(settings), named, seed=seed, scale=scale, target=target))
    table = Table(*runs.COLUMNS, title="calibration")
    for line in made.lines:
        table.add_row(*line.cells())
    show(table, *(f"refused: {line.policy}: {line.refused}" for line in made.lines if line.refused), stderr=True)
    if not made.file.policies:
        return PROBLEMS
    made.write(out)
    return PROBLEMS if problems else 0
