"""Judge posts into a file of verdicts, one JSON line each, going on where an earlier run stopped."""

import asyncio
import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

import stamina
from pydantic import ValidationError

from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured, Poison, Transient
from moderation_service.judging.judge import Judge

AT_ONCE = 16
BEGINNING = b'{"schema_version":"1","verdict_id"'


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier run left: post ids and revisions with a verdict, and the policy sets that these were made by."""

    posts: frozenset[tuple[str, int]]
    policy_sets: frozenset[str]


def judged_before(out: Path) -> Before:
    """Read the verdicts in `out`; one cut off by an interruption is removed.

    Raises Misconfigured where the file holds anything but verdicts; it is left as it is then.
    """
    found: list[Verdict] = []
    whole = 0
    with out.open("rb") if out.exists() else BytesIO() as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and (BEGINNING.startswith(line) or line.startswith(BEGINNING)):
                break  # a verdict that was cut off
            try:
                found.append(Verdict.model_validate_json(line))
            except ValidationError as error:
                msg = f"{out}:{number}: no verdict; name another file with -o, or remove this one"
                raise Misconfigured(msg) from error
            whole += len(line)
    if out.exists() and out.stat().st_size > whole:
        os.truncate(out, whole)
    return Before(
        frozenset((verdict.post_id, verdict.post_revision) for verdict in found),
        frozenset(verdict.policy_set_digest for verdict in found),
    )


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
