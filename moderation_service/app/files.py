"""Commands on files of posts and policies: judge, run cases, publish, print verdicts."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from moderation_service.app.compose import open_judge
from moderation_service.app.progress import progress
from moderation_service.contracts.post import Post
from moderation_service.judging import cases
from moderation_service.judging.cases import CaseResult
from moderation_service.judging.file_run import Before, judge_into, judged_before
from moderation_service.judging.post_files import BadPost, read_posts, root_of, with_pictures
from moderation_service.kafka.io import Record, publish, read
from moderation_service.kafka.sizes import size_of
from moderation_service.media.files import FileReader
from moderation_service.policies.pack import load_pack, load_packs
from moderation_service.settings import KafkaSettings, Settings


async def judge_path(settings: Settings, path: Path, out: Path | None) -> int:
    """Judge a file or folder of posts to `out` (or standard output); how many rows have no verdict."""
    before = judged_before(out) if out else Before(frozenset(), frozenset())
    left_out: list[str] = []
    keys = {(post.post_id, post.revision) for post in distinct(path, left_out)}
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    left = keys - before.posts
    if before.posts:
        print(f"{len(keys) - len(left)} of {len(keys)} posts have their verdict already", file=sys.stderr)
    pack, shadow_pack = load_packs(settings.policies)
    if before.policy_sets - {pack.digest}:
        print(f"{out} holds verdicts by other policies than these; name another file to judge again", file=sys.stderr)
    unjudged: list[str] = []
    if left:
        with progress(len(left)) as advance, out.open("ab") if out else nullcontext(sys.stdout.buffer) as file:
            async with open_judge(with_files(settings, root_of(path)), pack, shadow_pack) as judge:
                posts = (post for post in distinct(path, []) if (post.post_id, post.revision) in left)
                unjudged = await judge_into(judge, posts, file, advance)
    for line in unjudged:
        print(f"not judged: {line}", file=sys.stderr)
    return len(left_out) + len(unjudged)


def distinct(path: Path, left_out: list[str]) -> Iterator[Post]:
    """The posts of a file or folder, the first of each id and revision; a line for a row that is none to `left_out`."""
    seen: set[tuple[str, int]] = set()
    for row in read_posts(path):
        if isinstance(row, BadPost):
            left_out.append(f"{row.where}: {row.why}")
        elif (key := (row.post_id, row.revision)) not in seen:
            seen.add(key)
            yield row


async def run_cases(settings: Settings, path: Path) -> list[CaseResult]:
    """Run the cases of the policies under `path`, with all views."""
    pack = load_pack(path)
    judging = settings.judging.model_copy(update={"views": "always", "explain": "never"})
    policies = settings.policies.model_copy(update={"path": path})
    settings = with_files(settings, root_of(path)).model_copy(update={"judging": judging, "policies": policies})
    async with open_judge(settings, pack) as judge:
        return await cases.run_cases(judge, pack)


async def publish_path(settings: Settings, path: Path) -> int:
    """Publish a file or folder of posts, pictures on disk carried in the record; how many rows were no posts."""
    bad = 0
    files = FileReader(root_of(path), settings.media.max_bytes)

    def records() -> Iterator[Record]:
        nonlocal bad
        for row in read_posts(path):
            post = with_pictures(row, files) if isinstance(row, Post) else row
            if isinstance(post, BadPost):
                bad += 1
                print(f"left out: {post.where}: {post.why}", file=sys.stderr)
                continue
            record = record_of(settings.kafka, post)
            size, limit = size_of(record.key, record.value, record.headers), settings.kafka.max_message_bytes
            if size > limit:
                bad += 1
                print(f"left out: {post.post_id}: {size} bytes, over kafka.max_message_bytes {limit}", file=sys.stderr)
            else:
                yield record

    print(f"published {await publish(settings.kafka, records())} posts", file=sys.stderr)
    return bad


def record_of(settings: KafkaSettings, post: Post) -> Record:
    """A post as a record of the input topic."""
    headers = [("content-type", b"application/json")]
    return Record(settings.input_topic, post.post_id.encode(), post.model_dump_json().encode(), headers)


async def print_verdicts(settings: Settings, *, follow: bool) -> None:
    """Print the output topic's verdicts as JSON lines; deleted posts are skipped."""
    async for record in read(settings.kafka, settings.kafka.output_topic, follow=follow):
        if record.value is not None:
            sys.stdout.buffer.write(record.value + b"\n")
            sys.stdout.buffer.flush()


def with_files(settings: Settings, root: Path) -> Settings:
    """The same settings, with pictures under `root` allowed as `file:` addresses."""
    schemes = settings.media.allowed_schemes | {"file"}
    media = settings.media.model_copy(update={"allowed_schemes": schemes, "file_root": root})
    return settings.model_copy(update={"media": media})
