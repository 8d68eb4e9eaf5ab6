"""A post that kills the processes that judge it ends as one dead letter; nothing else makes a dead letter of a post."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moderation_service.contracts.dead_letter import DeadLetter
from moderation_service.contracts.post import Post
from moderation_service.errors import Transient
from moderation_service.settings import KafkaSettings
from tests.stream.processes import WorkerProcess, worker_processes
from tests.stream.support import (
    FakeJudge,
    Seen,
    eventually,
    everything,
    kafka_settings,
    make_topics,
    post_record,
    prepared,
    published,
    running,
    send,
)
from tests.stream.worker_process import DEADLY

FREEZING = "freezing"
pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def restarted(settings: KafkaSettings, logs: list[Path]) -> AsyncIterator[None]:
    """A worker process a log, each started again when it has died, as an orchestrator does."""

    async def supervise(processes: list[WorkerProcess]) -> None:
        while True:
            for index, process in enumerate(processes):
                if not process.running:
                    processes[index] = WorkerProcess(settings, process.log)
            await asyncio.sleep(0.1)

    with worker_processes() as processes:
        processes += [WorkerProcess(settings, log) for log in logs]
        supervisor = asyncio.create_task(supervise(processes))
        try:
            yield
        finally:
            supervisor.cancel()


async def with_posts(kafka: str, unique: str, posts: int, text: str, **fields: object) -> KafkaSettings:
    """Topics with so many posts around one that has this text."""
    settings = await prepared(kafka, unique, session_timeout_s=3.0, **fields)
    texts = ["hello"] * posts
    texts.insert(posts // 2, text)
    await send(settings, [post_record(settings.input_topic, f"p{number}", it) for number, it in enumerate(texts)])
    return settings


def assert_convicted(seen: Seen, post_id: str) -> None:
    (letter,) = seen.dead
    told = DeadLetter.from_headers(letter.headers)
    assert (letter.key.decode(), told.reason, told.attempts) == (post_id, "crashed_worker", 4)


async def test_a_post_that_kills_its_worker_is_tried_three_times_on_its_own_and_then_a_dead_letter(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    settings = await with_posts(kafka, unique, 1000, DEADLY)
    logs = [tmp_path / f"log{number}" for number in range(2)]
    async with restarted(settings, logs):
        seen = await published(settings, 1001, patience_s=120)
    assert seen.judged == sorted(f"p{number}" for number in range(1001) if number != 500)
    assert_convicted(seen, "p500")
    assert sum(log.read_text().count("judging a deadly post") for log in logs) == 4  # the first time with others


async def test_the_same_with_at_least_once(kafka: str, unique: str, tmp_path: Path) -> None:
    settings = await with_posts(kafka, unique, 40, DEADLY, delivery="at_least_once")
    async with restarted(settings, [tmp_path / "log"]):

        async def dead() -> bool:
            return bool((await everything(settings)).dead)

        await eventually(dead, "it is a dead letter", 120)
        await eventually_judged(settings, 40)
    assert_convicted(await everything(settings), "p20")


async def test_a_loop_that_stood_still_for_a_session_counts_as_a_death(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique, session_timeout_s=3.0)
    await make_topics(settings, 1)

    async def freeze(post: Post) -> None:
        if post.text == FREEZING:
            time.sleep(3.5)  # noqa: ASYNC251 - that is the fault

    async with running(settings, FakeJudge(before=freeze)) as work:

        def owners() -> set[str]:
            manager = work.worker._manager
            return (
                {processor.guard.owner for processor in manager.processors.values()} if manager is not None else set()
            )

        await send(settings, [post_record(settings.input_topic, "p0")])
        await published(settings, 1)
        before = owners()
        await send(settings, [post_record(settings.input_topic, "p1", FREEZING)])
        await published(settings, 2)
        await eventually(lambda: bool(owners() - before), "what opens the partition now is another owner")


async def eventually_judged(settings: KafkaSettings, posts: int) -> None:
    async def all_of_them() -> bool:
        return len(set((await everything(settings)).judged)) == posts

    await eventually(all_of_them, "the others are judged")


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_restarts_and_rebalances_while_the_engine_is_away_make_no_dead_letter(
    kafka: str, unique: str, delivery: str
) -> None:
    settings = await with_posts(kafka, unique, 30, "hello", delivery=delivery, drain_timeout_s=0.5)
    away = True

    async def answer(_: Post) -> None:
        if away:
            reason = "engine_error"
            raise Transient(reason, "the engine is away")

    judge = FakeJudge(before=answer)
    for _ in range(4):
        async with running(settings, judge) as first:
            await eventually(lambda: judge.now > 0 or bool(judge.seen), "posts are in flight")
            judge.seen.clear()
            async with running(settings, judge) as second:
                await eventually(lambda: second.health.joined, "it has joined")
                await eventually(lambda: bool(judge.seen), "posts are in flight again")
            judge.seen.clear()
            await eventually(lambda: bool(judge.seen), "the first has them all")
            assert first.health.joined
    away = False
    async with running(settings, judge):
        seen = await published(settings, 31)
    assert not seen.dead
    assert seen.judged == sorted(f"p{number}" for number in range(31))
