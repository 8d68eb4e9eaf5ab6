"""Transactions of few posts keep their distance: by the clock, on a processor of its own, and on a real Kafka."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_processor import ENOUGH_POSTS, Linger, PartitionProcessor
from moderation_service.stream.processing_result import Output
from moderation_service.stream.resume_offset import ResumeOffset
from tests.stream.records import result
from tests.stream.support import (
    FakeJudge,
    Resumes,
    eventually,
    kafka_settings,
    make_topics,
    open_processor,
    post_record,
    processor_of,
    published,
    running,
    send,
)

NEVER_MS = 3_600_000


def test_the_first_transaction_goes_at_once_and_the_next_one_a_linger_later() -> None:
    now = 100.0
    linger = Linger(0.2, clock=lambda: now)
    assert linger.remaining_s == 0
    linger.began(1)
    assert linger.remaining_s == pytest.approx(0.2)
    now = 100.15
    assert linger.remaining_s == pytest.approx(0.05)
    now = 100.3
    assert linger.remaining_s == 0


def test_after_a_transaction_of_enough_posts_none_waits() -> None:
    linger = Linger(0.2, clock=lambda: 100.0)
    linger.began(1)
    linger.began(ENOUGH_POSTS)
    assert linger.remaining_s == 0


def test_posts_at_a_steady_rate_make_at_most_one_transaction_a_linger() -> None:
    now, began = 0.0, list[float]()
    linger = Linger(0.2, clock=lambda: now)
    for step in range(8 * 60):  # eight a second for a minute, each looked at when it comes and when it is due
        now = max(now, step / 8)
        now += linger.remaining_s
        linger.began(1)
        began.append(now)
    assert min(later - earlier for earlier, later in pairwise(began)) >= 0.2 - 1e-9


@dataclass
class Transactions:
    """A publisher that remembers the posts of each transaction."""

    sizes: list[int] = field(default_factory=list)

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def publish(self, outputs: Sequence[Output], *_: object, **__: object) -> None:
        self.sizes.append(len(outputs))


@asynccontextmanager
async def opened(publisher: Transactions, **fields: object) -> AsyncIterator[PartitionProcessor]:
    settings = KafkaSettings.model_validate({"linger_ms": NEVER_MS, **fields})
    processor = processor_of(settings, publisher, Resumes(lambda: ResumeOffset(0)))
    async with open_processor(processor):
        yield processor


def finish(processor: PartitionProcessor, *offsets: int, size: int = 1) -> None:
    for offset in offsets:
        processor.tracker.take(offset, 10)
        processor.finish(offset, result(Output("verdicts", b"p", b"x" * size, [])))


async def quiet() -> None:
    """Let all tasks that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def one_and_five_that_linger(processor: PartitionProcessor, publisher: Transactions) -> None:
    finish(processor, 0)
    await eventually(lambda: publisher.sizes == [1], "the first post goes at once")
    finish(processor, *range(1, 6))
    await quiet()
    assert publisher.sizes == [1], "the next ones wait for others"


async def test_a_draining_partition_publishes_at_once_what_lingers() -> None:
    publisher = Transactions()
    async with opened(publisher) as processor:
        await one_and_five_that_linger(processor, publisher)
        processor.drain()
        await eventually(lambda: publisher.sizes == [1, 5], "what lingers goes together")
        finish(processor, 6)
        await eventually(lambda: publisher.sizes == [1, 5, 1], "and what finishes later at once")


async def test_a_batch_of_enough_posts_goes_at_once() -> None:
    publisher = Transactions()
    async with opened(publisher) as processor:
        await one_and_five_that_linger(processor, publisher)
        finish(processor, *range(6, 1 + ENOUGH_POSTS))
        await eventually(lambda: publisher.sizes == [1, ENOUGH_POSTS], "it goes together")


async def test_a_batch_of_as_many_posts_or_bytes_as_a_transaction_takes_goes_at_once() -> None:
    publisher = Transactions()
    async with opened(publisher, max_batch_posts=7, max_message_bytes=64 * 1024) as processor:
        await one_and_five_that_linger(processor, publisher)
        finish(processor, 6, 7)
        await eventually(lambda: publisher.sizes == [1, 7], "seven posts are a whole transaction")
        finish(processor, 8)
        await quiet()
        assert publisher.sizes == [1, 7]
        finish(processor, 9, size=64 * 1024)
        await eventually(lambda: publisher.sizes == [1, 7, 1, 1], "so are 64 KiB")


async def test_what_keeps_other_posts_from_beginning_does_not_linger() -> None:
    publisher = Transactions()
    async with opened(publisher) as processor:
        await one_and_five_that_linger(processor, publisher)
        processor.waiting.append(SimpleNamespace(size=10))  # type: ignore[arg-type]
        processor.tracker.take(6, 10)
        processor.finish(6, result(Output("verdicts", b"p", b"x", [])))
        await eventually(lambda: publisher.sizes == [1, 6], "no post is in work that could join")


async def test_a_linger_that_passes_publishes() -> None:
    publisher = Transactions()
    async with opened(publisher, linger_ms=1) as processor:
        for offset in range(5):
            finish(processor, offset)
            await eventually(lambda: sum(publisher.sizes) == offset + 1, "each is published")  # noqa: B023 - awaited


@pytest.mark.timeout(60)
@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_posts_that_come_singly_share_a_commit_and_a_worker_that_stops_publishes_them(
    kafka: str, unique: str, delivery: str
) -> None:
    def commits() -> float:
        return REGISTRY.get_sample_value("moderation_commits_total", {"outcome": "done"}) or 0.0

    settings = kafka_settings(kafka, unique, delivery=delivery, linger_ms=NEVER_MS)
    await make_topics(settings, 1)
    judge, before = FakeJudge(), commits()
    async with running(settings, judge):
        await send(settings, [post_record(settings.input_topic, "p0")])
        await eventually(lambda: commits() == before + 2, "an owner's note, and the first post at once")
        for number in range(1, 6):
            await send(settings, [post_record(settings.input_topic, f"p{number}")])
            await eventually(lambda: len(judge.seen) == number + 1, "the next one is judged")  # noqa: B023 - awaited
        assert commits() == before + 2
    seen = await published(settings, 6)
    assert seen.judged == [f"p{number}" for number in range(6)]
    assert commits() == before + 3
