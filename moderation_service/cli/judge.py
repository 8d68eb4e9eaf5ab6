"""`moderation judge`: a file or folder of posts to verdicts, without Kafka."""

import asyncio
import errno
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Annotated

from cyclopts import Parameter

from moderation_service.app.compose import open_judge
from moderation_service.cli.common import PROBLEMS, SettingsFile, load, print_lines, progress, writable
from moderation_service.contracts.enums import Decision
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Fatal
from moderation_service.evaluation.batch_judge import NOTHING_BEFORE, judge_into, judged_before
from moderation_service.policies.pack import load_packs
from moderation_service.readers.input_file import root_of
from moderation_service.readers.post_files import distinct, unread
from moderation_service.settings import Settings

_STDOUT = "/dev/stdout"
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def judge(
    path: Path,
    /,
    *,
    out: Annotated[Path | None, Parameter(alias="-o", help="Write verdicts here, and resume here.")] = None,
    settings: SettingsFile = None,
) -> int:
    """Judge a JSONL or CSV file of posts, `-` for standard input, or a folder of images with texts, without Kafka.

    With `-o` the verdicts go to that file, and running the command again resumes where it stopped. Exits 1 if rows or
    files were left out; each is named on standard error.

    Example: `moderation judge photos/ -o verdicts.jsonl`
    """
    out = writable(out, "--out") if out else None
    return PROBLEMS if asyncio.run(judge_path(load(settings), path, out)) else 0


async def judge_path(settings: Settings, path: Path, out: Path | None) -> int:
    """Judge a file or folder of posts to `out` (or standard output); returns how many rows have no verdict.

    Raises Fatal if the verdicts can't be written.
    """
    out = None if str(out) == _STDOUT else out
    before = judged_before(out) if out and (out.is_file() or not out.exists()) else NOTHING_BEFORE
    print_lines("not read", unread(path))
    left_out: list[str] = []
    keys = set[tuple[str, int]]()
    for post in distinct(path, left_out):
        if before.is_of_other_words(post):
            left_out.append(f"post_id {post.post_id}: its verdict is on other words; name another file with -o")
        else:
            keys.add((post.post_id, post.revision))
    print_lines("left out", left_out)
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
        decisions = Counter[str]()

        def done(verdict: Verdict) -> None:
            advance(verdict)
            decisions[verdict.decision] += 1

        with progress(len(left)) as advance, _open(out) as file:
            async with open_judge(settings.with_file_root(root_of(path)), pack, shadow_pack) as judge:
                posts = (post for post in distinct(path, []) if (post.post_id, post.revision) in left)
                unjudged = await judge_into(judge, posts, file, done)
        counts = ", ".join(f"{decisions[one]} {one}" for one in Decision if decisions[one])
        print(f"{decisions.total()} judged{counts and ': '}{counts}", file=sys.stderr)
    print_lines("not judged", unjudged)
    return len(left_out) + len(unjudged)


@contextmanager
def _open(out: Path | None) -> Iterator[IO[bytes]]:
    """Where verdicts go. Raises Fatal if the disk takes no more."""
    try:
        with out.open("ab") if out else nullcontext(sys.stdout.buffer) as file:
            yield file
    except OSError as error:
        if error.errno not in _DISK:
            raise
        msg = f"{out or 'standard output'}: a verdict could not be written ({error.strerror})"
        raise Fatal(msg) from error
