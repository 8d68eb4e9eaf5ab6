"""Judge posts into a file of verdicts, one JSON line each, going on where an earlier run stopped."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from moderation_service.backoff import Backoff
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured, Poison, Transient
from moderation_service.judging.content import text_digest
from moderation_service.judging.judge import Judge

T = TypeVar("T")
ATTEMPTS = 5
_BACKOFF = Backoff(first_s=0.4, longest_s=5.0)
AT_ONCE = 16
BEGINNING = b'{"schema_version":"1","verdict_id"'


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier run left: post ids and revisions with a verdict, and the policy sets that these were made by."""

    posts: frozenset[tuple[str, int]]
    policy_sets: frozenset[str]
    words: frozenset[tuple[str, int, str | None]] = frozenset()
    """Post ids and revisions with the digests of their words."""

    def is_of_other_words(self, post: Post) -> bool:
        """Whether the post has a verdict, and that is on other words."""
        named = (post.post_id, post.revision)
        return named in self.posts and (*named, text_digest(post.text)) not in self.words


NOTHING_BEFORE = Before(frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Unjudged:
    """A post that the engine can't judge, and why."""

    post: Post
    why: str

    def __str__(self) -> str:
        """One line of it."""
        return f"{self.post.post_id}: {self.why}"


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
        frozenset((verdict.post_id, verdict.post_revision, verdict.content.text_sha256) for verdict in found),
    )


async def judge_into(
    judge: Judge, posts: Iterable[Post], out: IO[bytes] | None, on_done: Callable[[Verdict], None] = lambda _: None
) -> list[str]:
    """Judge `posts`, AT_ONCE at a time; where there is `out`, each verdict is written whole and flushed as it comes.

    Gives a line for each post that the engine can't judge. Raises Transient where tries did not help, and Fatal.
    """

    async def work(post: Post) -> None:
        verdict = (await judge.judge(post, trace_id=secrets.token_hex(16))).verdict
        if out is not None:
            out.write(verdict.to_json() + b"\n")
            out.flush()
        on_done(verdict)

    return list(map(str, await for_each(posts, work)))


async def for_each(posts: Iterable[Post], work: Callable[[Post], Awaitable[None]]) -> list[Unjudged]:
    """Run `work` on each of `posts`, AT_ONCE at a time, again where it raises Transient.

    Gives the posts on which it raised Poison. Raises Transient where tries did not help, and Fatal.
    """
    waiting = iter(posts)
    unjudged: list[Unjudged] = []

    async def take() -> None:
        for post in waiting:
            try:
                await retry(partial(work, post))
            except Poison as poison:
                unjudged.append(Unjudged(post, str(poison)))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(take())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors
    return unjudged


async def retry(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, again with backoff while it raises Transient. Raises the last."""
    for failures in range(1, ATTEMPTS):
        try:
            return await work()
        except Transient:
            await _BACKOFF.wait(failures)
    return await work()
