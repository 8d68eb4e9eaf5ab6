"""`moderation train`: an adapter from labelled posts."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from moderation_service.cli.common import PROBLEMS, SettingsFile, load, show
from moderation_service.cli.evaluation import LabelFormat


def train(  # noqa: PLR0913 - options of a command
    labelled: str,
    /,
    *,
    out: Annotated[Path, Parameter(alias="-o", help="The adapter's folder, which must not exist.")],
    rehearsal: Annotated[
        str | None,
        Parameter(help="Further labelled posts, of what the model knows already; `bundled` are the demo's."),
    ] = None,
    rank: Annotated[int, Parameter(help="Of the LoRA matrices.")] = 16,
    learning_rate: Annotated[
        float | None, Parameter(help="By default 0.0128 over the root of the hidden size.")
    ] = None,
    epochs: Annotated[int, Parameter(help="At most; it stops when the validation loss falls no more.")] = 12,
    vision: Annotated[bool, Parameter(help="Let the vision tower learn too. vLLM serves adapters without.")] = True,
    seed: Annotated[int, Parameter(help="Of the adapter's first weights and the order of the posts.")] = 0,
    policy: Annotated[str | None, Parameter(help="The policy of a single label column.")] = None,
    form: LabelFormat = None,
    posts: Annotated[Path | None, Parameter(help="The posts that the reviews are of.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Train a LoRA adapter on labelled posts, and print its card with the figures before and after as JSON.

    Reads labels as `evaluate` does. A quarter of the posts, the latest, is held out. Exits 1 and writes nothing if the
    adapter does not rank them significantly better. Set `engine.adapter` to the folder to use it.

    Example: `moderation train reviewed.jsonl -o adapter/ --rehearsal bundled`
    """
    from moderation_service.cli import training_runs as runs  # noqa: PLC0415 - takes seconds to import

    chosen = runs.TrainingSettings(rank=rank, learning_rate=learning_rate, epochs=epochs, vision=vision, seed=seed)
    named = runs.LabelSource(labelled, policy, form, posts)
    trained = asyncio.run(runs.train_adapter(load(settings), named, rehearsal, chosen, out))
    print(json.dumps(trained.card, ensure_ascii=False, indent=1))
    table = Table("figure", "before", "after", "difference", "95% interval", title=f"{trained.comparison.posts} posts")
    for name, change in trained.comparison.changes.items():
        if change.interval:
            numbers = f"{change.before:.3f}", f"{change.after:.3f}", f"{change.difference:+.3f}"
            table.add_row(name, *numbers, "{:+.3f} to {:+.3f}".format(*change.interval))
    worse = ", ".join(trained.comparison.worse)
    show(table, f"significantly worse: {worse or 'nothing'}", stderr=True)
    if not trained.comparison.is_improved:
        show(
            "learnt nothing: the held-out posts are not ranked significantly better; no adapter is written", stderr=True
        )
        return PROBLEMS
    show(
        f"{out}: set engine.adapter to it; then calibrate, for scores of another model need another calibration",
        stderr=True,
    )
    return 0
