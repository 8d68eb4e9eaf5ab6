"""`moderation replay`: judge recorded posts again, and compare each verdict with the recorded one."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.table import Column, Table

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, progress, show
from moderation_service.evaluation.replay import Replayed, Summary, attribution_of
from moderation_service.evaluation.replay import replay as replay_posts
from moderation_service.evaluation.verdict_file import read_record
from moderation_service.policies.pack import load_packs
from moderation_service.readers.input_file import root_of
from moderation_service.readers.post_files import distinct, unread
from moderation_service.settings import Settings

_SHOWN = 24  # characters of a value in the table


def replay(
    verdicts: Path,
    /,
    *,
    posts: Annotated[Path, Parameter(help="The posts of the verdicts.")],
    settings: SettingsFile = None,
) -> int:
    """Judge recorded posts again, and print for each verdict that it is the same, or what differs.

    A JSON line a verdict goes to standard output, a summary to standard error. Exits 1 if any differs, or could not be
    judged again.

    Example: `moderation replay verdicts.jsonl --posts posts.jsonl | jq 'select(.result != "same")'`
    """

    def print_row(one: Replayed) -> None:
        print(json.dumps(one.row(), ensure_ascii=False), flush=True)

    made = asyncio.run(replay_verdicts(load(settings), verdicts, posts, print_row))
    print_lines("left out", made.left_out)
    show(*([_table(made)] if made.differences else []), made.line(), stderr=True)
    return 0 if made.clean else PROBLEMS


async def replay_verdicts(
    settings: Settings, verdicts: Path, posts: Path, on_done: Callable[[Replayed], None]
) -> Summary:
    """Judge the recorded posts again; `on_done` is called with each verdict as it comes."""
    record = read_record(verdicts)
    print_lines("not read", unread(posts))
    judging = settings.judging.model_copy(update={"explain": "never", "attribution": attribution_of(record)})
    chosen = settings.with_file_root(root_of(posts)).model_copy(update={"judging": judging})
    left_out = [*record.left_out]
    with progress(sum(map(len, record.verdicts.values()))) as advance:

        def done(one: Replayed) -> None:
            advance(one)
            on_done(one)

        async with open_judge(chosen, *load_packs(settings.policies)) as judge:
            summary = await replay_posts(judge, record, distinct(posts, left_out), done)
    summary.left_out += left_out
    return summary


def _table(summary: Summary) -> Table:
    """What differs, in how many verdicts, and an example."""
    table = Table(Column("what differs", no_wrap=True), "verdicts", "first in", "was", "now")
    for what, count in summary.differences.most_common():
        post_id, difference = summary.first[what]
        was, now = (json.dumps(value, ensure_ascii=False)[:_SHOWN] for value in (difference.was, difference.now))
        table.add_row(what, str(count), post_id, was, now)
    return table
