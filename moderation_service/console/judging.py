"""Judging for callers: bounded in number and in time, so that a crowd is told to come again before memory grows."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from moderation_service.console.context import ConsoleContext
from moderation_service.contracts.post import Post
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Poison, Transient
from moderation_service.judging.escalation import seize
from moderation_service.judging.judge import Judge
from moderation_service.media.storage import is_file_url


class JudgingOff(Exception):  # noqa: N818 - a fate, not a fault
    """This console judges nothing."""

    def __init__(self) -> None:
        super().__init__("this console judges nothing: console.judging_backend is off")


class Full(Exception):  # noqa: N818 - a fate, not a fault
    """As many posts as may be are being judged."""

    def __init__(self) -> None:
        super().__init__("the concurrency limit is reached")


@dataclass(frozen=True, slots=True)
class JudgingSlot:
    """The right to have one post judged at a time, by the policies that were active when it was taken."""

    context: ConsoleContext
    judge: Judge

    async def judged(self, post: Post, *, trace_id: str, published: bool) -> Verdict:
        """Judge once. What is not to be `published` leaves no trace in the verdicts of others.

        A post with a route is in the legal hold before anybody has its verdict. Raises Poison where the post can't be
        judged, Transient where it can't be now, or not be held, TimeoutError.
        """
        _check_addresses(post)
        timeout_s = self.context.settings.console.judge_timeout_s
        async with asyncio.timeout(timeout_s), self.judge.load_evidence(post) as evidence:
            judging = self.judge.judge(post, trace_id=trace_id, published=published, evidence=evidence)
            verdict = (await judging).verdict
            origin = {"source": "console", "trace_id": trace_id, "received_at": datetime.now(UTC).isoformat()}
            record = post.model_dump_json().encode() if verdict.route else b""
            await seize(self.context.legal_hold, verdict, evidence, record=record, origin=origin)
            return verdict

    async def each_judged(self, posts: Sequence[Post], *, trace_id: str) -> list[Verdict]:
        """Judge several, none to be published; side by side as far as other seats are free. Raises as `judged`."""
        verdicts = dict[int, Verdict]()
        left = iter(enumerate(posts))

        async def work() -> None:
            for number, post in left:
                verdicts[number] = await self.judged(post, trace_id=trace_id, published=False)

        with self.context.slots.take(len(posts) - 1) as more:
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(1 + more):
                        group.create_task(work())
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        return [verdicts[number] for number in range(len(posts))]


def check_free(context: ConsoleContext) -> None:
    """Raise JudgingOff and Full, at once, where there would be no seat."""
    with seat(context):
        pass


@contextmanager
def seat(context: ConsoleContext) -> Iterator[JudgingSlot]:
    """A seat until the block is left. Raises JudgingOff and Full, at once; Transient while the model loads."""
    if not context.judges:
        raise JudgingOff
    if context.judge is None:
        raise Transient("not_loaded", "the model is not loaded yet")
    with context.slots.take() as taken:
        if not taken:
            raise Full
        yield JudgingSlot(context, context.judge)


async def judged(context: ConsoleContext, post: Post, *, trace_id: str) -> Verdict:
    """Judge a post that is not kept and not published. Raises as `seat` and `Seat.judged`."""
    with seat(context) as taken:
        return await taken.judged(post, trace_id=trace_id, published=False)


def _check_addresses(post: Post) -> None:
    """A judge that is shared with others may read files for them; never for callers."""
    for number, image in enumerate(post.images):
        if is_file_url(image.url or ""):
            msg = f"images.{number}.url: file: addresses are not read for callers"
            raise Poison("wrong_address", msg)
