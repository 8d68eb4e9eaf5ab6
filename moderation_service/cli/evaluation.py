"""`moderation evaluate` and `moderation calibrate`, on labelled posts."""

import asyncio
import json
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.table import Table

from moderation_service.cli.common import PROBLEMS, SettingsFile, load, show, writable

LabelFormat = Annotated[
    Literal["posts", "sheet", "hateful_memes", "harmeme", "multioff", "mmhs150k", "unsafebench", "vlsu"] | None,
    Parameter(name=("--format", "--layout-of"), help="How the labels are laid out; detected where it is not given."),
]


def evaluate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    report: Annotated[Path | None, Parameter(help="Write an HTML report here.")] = None,
    seed: Annotated[int, Parameter(help="Of the bundled benchmark.")] = 7001,
    scale: Annotated[float, Parameter(help="Size of the bundled set; 1 is the whole.")] = 1.0,
    policy: Annotated[str | None, Parameter(help="The policy of a single label column.")] = None,
    form: LabelFormat = None,
    posts: Annotated[Path | None, Parameter(help="The posts that the reviews are of.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Judge labelled posts and print the figures as JSON; `bundled` is the bundled benchmark, by seed and scale.

    Labels are JSONL or CSV posts, a folder with a labelled sheet, a public set (`--layout-of vlsu`), reviews with their
    `--posts`, or `reviews`, the review topic. Exits 1 if rows were left out or could not be judged.

    Example: `moderation evaluate bundled --report report.html | jq .combined.f1`
    """
    from moderation_service.cli import evaluation_runs as runs  # noqa: PLC0415 - of the extra `evaluation`

    report = writable(report, "--report") if report else None
    named = runs.LabelSource(labelled, policy, form, posts)
    figures, page = asyncio.run(runs.evaluate_labelled(load(settings), named, seed=seed, scale=scale))
    print(json.dumps(figures, ensure_ascii=False, indent=1))
    if report:
        report.write_text(page, encoding="utf-8")
    data = figures["data"]
    return PROBLEMS if data["left_out"] or data["not_judged"] else 0


def calibrate(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o", help="The calibration file.")],
    recall: Annotated[float | None, Parameter(help="Target of the review thresholds.")] = None,
    precision: Annotated[float | None, Parameter(help="Target of the review thresholds.")] = None,
    cost: Annotated[float | None, Parameter(help="Of a missed violation, in false alarms.")] = None,
    policy: Annotated[str | None, Parameter(help="The policy of a single label column.")] = None,
    form: LabelFormat = None,
    posts: Annotated[Path | None, Parameter(help="The posts that the reviews are of.")] = None,
    verdicts: Annotated[Path | None, Parameter(help="Take the recorded scores of these.")] = None,
    seed: Annotated[int, Parameter(help="Of the bundled posts.")] = 7002,
    scale: Annotated[float, Parameter(help="Size of the bundled set; 1 is the whole.")] = 1.0,
    settings: SettingsFile = None,
) -> int:
    """Fit each policy's calibration to labelled posts, and its review threshold to a target, if one is given.

    Reads labels as `evaluate` does. With `--verdicts`, and for `reviews`, it judges nothing and takes the recorded
    scores. Exits 1 if rows were left out, and writes nothing if no policy has enough labels.

    Example: `moderation calibrate reviewed.jsonl -o calibration.json --recall 0.9`
    """
    from moderation_service.cli import evaluation_runs as runs  # noqa: PLC0415 - of the extra `evaluation`

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
