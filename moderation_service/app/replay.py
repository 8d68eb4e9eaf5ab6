"""`moderation replay`: recorded posts judged again, and each verdict held against the recorded one."""

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Column, Table

from moderation_service.app.compose import open_judge
from moderation_service.app.files import distinct, tell_unread, with_files
from moderation_service.app.progress import progress
from moderation_service.contracts.post import Post
from moderation_service.evaluation.batch_judge import for_each
from moderation_service.evaluation.recorded import PostKey, Recorded, RecordedVerdict, read_record
from moderation_service.evaluation.replay import Difference, Replayed, replayed
from moderation_service.policies.pack import load_packs
from moderation_service.readers.post_files import root_of
from moderation_service.settings import Settings

SHOWN = 24  # characters of a value in the table


@dataclass(slots=True)
class Summary:
    """What a replay says at its end."""

    results: Counter[str] = field(default_factory=Counter)
    differences: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[str, Difference]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    deleted: int = 0
    unrecorded: int = 0

    @property
    def clean(self) -> bool:
        """Whether every row was read, and every verdict is the same."""
        return not self.left_out and self.results.keys() <= {"same"}

    def add(self, one: Replayed) -> None:
        """Count one verdict."""
        self.results[one.result] += 1
        for difference in one.differences:
            self.differences[difference.what] += 1
            self.first.setdefault(difference.what, (one.recorded.verdict.post_id, difference))

    def table(self) -> Table:
        """What differs, in how many verdicts, and an example."""
        table = Table(Column("what differs", no_wrap=True), "verdicts", "first in", "was", "now")
        for what, count in self.differences.most_common():
            post_id, difference = self.first[what]
            was, now = (json.dumps(value, ensure_ascii=False)[:SHOWN] for value in (difference.was, difference.now))
            table.add_row(what, str(count), post_id, was, now)
        return table

    def line(self) -> str:
        """How many of what, in one line."""
        told = {
            "the same": self.results["same"],
            "differ": self.results["differs"],
            "without their post": self.results["no_post"],
            "not judged": self.results["not_judged"],
            "posts without a verdict": self.unrecorded,
            "deleted": self.deleted,
            "rows left out": len(self.left_out),
        }
        some = (f"{count} {what}" for what, count in told.items() if count or what == "the same")
        return f"{self.results.total()} verdicts: {', '.join(some)}"


async def replay(settings: Settings, verdicts: Path, posts: Path, on_done: Callable[[Replayed], None]) -> Summary:
    """Judge the recorded posts again; `on_done` hears of each verdict as it comes."""
    record = read_record(verdicts)
    tell_unread(posts)
    summary = Summary(deleted=record.deleted, left_out=list(record.left_out))
    judging = settings.judging.model_copy(update={"explain": "never", "attribution": _attribution(record)})
    chosen = with_files(settings, root_of(posts)).model_copy(update={"judging": judging})
    pack, shadow_pack = load_packs(settings.policies)
    missing = dict(record.verdicts)
    revisions: dict[str, set[int]] = {}

    def wanted() -> Iterator[Post]:
        for post in distinct(posts, summary.left_out):
            revisions.setdefault(post.post_id, set()).add(post.revision)
            if missing.pop((post.post_id, post.revision), None):
                yield post
            else:
                summary.unrecorded += 1

    def tell(one: Replayed) -> None:
        summary.add(one)
        on_done(one)

    with progress(len(record.verdicts)) as advance:
        async with open_judge(chosen, pack, shadow_pack) as judge:

            async def work(post: Post) -> None:
                now = (await judge.judge(post, trace_id=secrets.token_hex(16))).verdict
                for recorded in record.verdicts[post.post_id, post.revision]:
                    tell(replayed(recorded, now, judge.calibration))
                advance(post)

            unjudged = await for_each(wanted(), work)
    for one in unjudged:
        for recorded in record.verdicts[one.post.post_id, one.post.revision]:
            tell(Replayed(recorded, "not_judged", why=one.why))
    for recorded in _each(missing):
        tell(Replayed(recorded, "no_post", why=_why_missing(recorded, revisions)))
    return summary


def _attribution(record: RecordedVerdict) -> str:
    """Which modality passes a replay runs: all where a recorded verdict measured any, whatever the settings were."""
    measured = (
        part.attribution and recorded.verdict.content.text_sha256 and recorded.verdict.content.images
        for recorded in _each(record.verdicts)
        for part in (*recorded.verdict.policies, *recorded.verdict.shadow)
    )
    return "always" if any(measured) else "never"


def _each(verdicts: dict[PostKey, list[Recorded]]) -> Iterator[Recorded]:
    return (recorded for of_post in verdicts.values() for recorded in of_post)


def _why_missing(recorded: Recorded, revisions: dict[str, set[int]]) -> str:
    there = ", ".join(map(str, sorted(revisions.get(recorded.verdict.post_id, ()))))
    return f"the posts hold revision {there} of it alone" if there else "the posts do not hold it"
