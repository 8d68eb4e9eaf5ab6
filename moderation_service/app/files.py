"""Commands on files of posts and policies: judge, run cases, publish, print verdicts."""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from moderation_service.app.compose import open_judge
from moderation_service.app.progress import progress
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal
from moderation_service.evaluation.batch_judge import NOTHING_BEFORE, Before, judge_into, judged_before
from moderation_service.judging import policy_cases as cases
from moderation_service.judging.policy_cases import CaseResult
from moderation_service.kafka.sizes import size_of
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.media.storage import FileReader
from moderation_service.policies.pack import load_pack, load_packs
from moderation_service.readers.input_file import root_of
from moderation_service.readers.post_files import located_posts, read_posts, unread, with_images
from moderation_service.readers.rows import BadPost
from moderation_service.settings import KafkaSettings, Settings

_STDOUT = "/dev/stdout"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


async def judge_path(settings: Settings, path: Path, out: Path | None) -> int:
    """Judge a file or folder of posts to `out` (or standard output); how many rows have no verdict.

    Raises Fatal where the verdicts can't be written.
    """
    out = None if str(out) == _STDOUT else out
    before = judged_before(out) if out and (out.is_file() or not out.exists()) else NOTHING_BEFORE
    tell_unread(path)
    left_out: list[str] = []
    keys = {(post.post_id, post.revision) for post in _not_changed(distinct(path, left_out), before, left_out)}
    for line in left_out:
        print(f"left out: {line}", file=sys.stderr)
    left = keys - before.posts
    if before.posts:
        print(f"{len(keys) - len(left)} of {len(keys)} posts have their verdict already", file=sys.stderr)
    elif not keys:
        print(f"{path}: holds no posts", file=sys.stderr)
    pack, shadow_pack = load_packs(settings.policies)
    if before.policy_sets - {pack.digest}:
        print(f"{out} holds verdicts by other policies than these; name another file to judge again", file=sys.stderr)
    unjudged: list[str] = []
    if left:
        with progress(len(left)) as advance, _open(out) as file:
            async with open_judge(with_files(settings, root_of(path)), pack, shadow_pack) as judge:
                posts = (post for post in distinct(path, []) if (post.post_id, post.revision) in left)
                unjudged = await judge_into(judge, posts, file, advance)
    for line in unjudged:
        print(f"not judged: {line}", file=sys.stderr)
    return len(left_out) + len(unjudged)


def _not_changed(posts: Iterable[Post], before: Before, left_out: list[str]) -> Iterator[Post]:
    """Posts whose words are still those of their verdict, if they have one; a line for each other one to `left_out`."""
    for post in posts:
        if before.is_of_other_words(post):
            left_out.append(f"post_id {post.post_id}: its verdict is on other words; name another file with -o")
        else:
            yield post


@contextmanager
def _open(out: Path | None) -> Iterator[IO[bytes]]:
    """Where verdicts go. Raises Fatal where the disk takes no more."""
    try:
        with out.open("ab") if out else nullcontext(sys.stdout.buffer) as file:
            yield file
    except OSError as error:
        if error.errno not in _DISK:
            raise
        msg = f"{out or 'standard output'}: a verdict could not be written ({error.strerror})"
        raise Fatal(msg) from error


def distinct(path: Path, left_out: list[str]) -> Iterator[Post]:
    """The posts of a file or folder, each id and revision once.

    A line goes to `left_out` for a row that is no post, and for one that says something else under the same id.
    """
    seen: dict[tuple[str, int], tuple[str, int]] = {}
    for where, row in located_posts(path):
        if isinstance(row, BadPost):
            left_out.append(f"{row.where}: {row.why}")
            continue
        content = hash((row.text, row.images, row.language, row.surface))
        first, other = seen.setdefault((row.post_id, row.revision), (where, content))
        if first == where:
            yield row
        elif other != content:
            why = f"{first} has this id and revision with other content; give it an id or a revision of its own"
            left_out.append(f"{where}: post_id {row.post_id}: {why}")


def tell_unread(path: Path) -> None:
    """Name on standard error what of a sheet or folder is no part of a post. Raises as `read_posts`."""
    for line in unread(path):
        print(f"not read: {line}", file=sys.stderr)


async def run_cases(settings: Settings, path: Path) -> list[CaseResult]:
    """Run the cases of the policies under `path`, with all views."""
    pack = load_pack(path)
    judging = settings.judging.model_copy(update={"attribution": "always", "explain": "never"})
    policies = settings.policies.model_copy(update={"path": path})
    settings = with_files(settings, root_of(path)).model_copy(update={"judging": judging, "policies": policies})
    async with open_judge(settings, pack) as judge:
        return await cases.run_cases(judge, pack)


async def publish_path(settings: Settings, path: Path) -> int:
    """Publish a file or folder of posts, images on disk carried in the record; how many rows were no posts."""
    bad = 0
    tell_unread(path)
    files = FileReader(root_of(path), settings.media.max_bytes)

    def records() -> Iterator[Record]:
        nonlocal bad
        for row in read_posts(path):
            post = with_images(row, files) if isinstance(row, Post) else row
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
    """The same settings, with images under `root` allowed as `file:` addresses."""
    schemes = settings.media.allowed_schemes | {"file"}
    media = settings.media.model_copy(update={"allowed_schemes": schemes, "file_root": root})
    return settings.model_copy(update={"media": media})
