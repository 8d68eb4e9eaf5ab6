"""Judge posts into a file of verdicts, one JSON line each, going on where an earlier run stopped."""

import asyncio
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

import stamina
from pydantic import ValidationError

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured, Poison, Transient
from moderation_service.judging.judge import Judge

AT_ONCE = 16

Key = tuple[str, int]


def judged_before(out: Path) -> set[Key]:
    """Post ids and revisions with a verdict in `out`; a line cut off by an interruption is removed.

    Raises Misconfigured where the file holds anything but verdicts.
    """
    if not out.exists():
        return set()
    found: set[Key] = set()
    whole = 0
    with out.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            try:
                verdict = Verdict.model_validate_json(line)
            except ValidationError as error:
                msg = f"{out}:{number}: no verdict; name another file with -o, or remove this one"
                raise Misconfigured(msg) from error
            found.add((verdict.post_id, verdict.post_revision))
            whole += len(line)
    with out.open("rb+") as file:
        file.truncate(whole)
    return found


async def judge_into(
    judge: Judge, posts: Iterable[Post], out: IO[bytes], on_done: Callable[[Verdict], None] = lambda _: None
) -> list[str]:
    """Judge `posts`, AT_ONCE at a time; each verdict is written whole and flushed as it comes.

    Gives a line for each post that the engine can't judge. Raises Transient where tries did not help, and Fatal.
    """
    waiting = iter(posts)
    unjudged: list[str] = []

    async def work() -> None:
        for post in waiting:
            try:
                verdict = await _judge(judge, post)
            except Poison as poison:
                unjudged.append(f"{post.post_id}: {poison}")
                continue
            out.write(verdict.to_json() + b"\n")
            out.flush()
            on_done(verdict)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return unjudged


@stamina.retry(on=Transient, attempts=5)
async def _judge(judge: Judge, post: Post) -> Verdict:
    return (await judge.judge(post, trace_id=secrets.token_hex(16))).verdict
