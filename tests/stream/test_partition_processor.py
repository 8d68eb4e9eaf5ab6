"""Processors against a real Kafka: fencing, and outcomes that are not known."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from moderation_service.kafka import clients
from moderation_service.settings import KafkaSettings
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.processing_result import Output
from moderation_service.stream.publisher import AtLeastOnce, ExactlyOnce, ProducerFenced, Publisher
from moderation_service.stream.resume_offset import ResumeOffsetFinder
from tests.stream.records import result
from tests.stream.support import (
    eventually,
    everything,
    kafka_settings,
    make_topics,
    post_record,
    processor_of,
    send,
    serve,
)

pytestmark = pytest.mark.timeout(60)
Fault = Callable[["Faulty", Sequence[Output], int], Awaitable[None]]


class Faulty:
    """A real publisher, whose next publications go as `faults` say."""

    def __init__(self, real: Publisher, *faults: Fault) -> None:
        self.real = real
        self.faults = list(faults)
        self.starts = 0

    async def start(self) -> None:
        self.starts += 1
        await self.real.start()

    async def publish(
        self, outputs: Sequence[Output], next_offset: int, *, metadata: str = "", await_each_send: bool = False
    ) -> None:
        if self.faults and outputs:
            await self.faults.pop(0)(self, outputs, next_offset)
        else:
            await self.real.publish(outputs, next_offset, metadata=metadata, await_each_send=await_each_send)

    async def close(self) -> None:
        await self.real.close()


async def through_but_unknown(self: Faulty, outputs: Sequence[Output], next_offset: int) -> None:
    await self.real.publish(outputs, next_offset)
    raise TimeoutError


async def cut_before_commit(self: Faulty, outputs: Sequence[Output], next_offset: int) -> None:
    del next_offset
    producer = self.real._started  # type: ignore[attr-defined]
    await producer.begin_transaction()
    for output in outputs:
        await producer.send_and_wait(output.topic, output.value, output.key)
    raise ConnectionError


@asynccontextmanager
async def member(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = clients.consumer(settings, group=settings.group)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


class Bench:
    """Processors of partition 0, and what they settled."""

    def __init__(self, settings: KafkaSettings, consumer: AIOKafkaConsumer) -> None:
        self.settings = settings
        self.consumer = consumer
        self.partition = TopicPartition(settings.input_topic, 0)
        self.settled: list[int] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def processor(self, *faults: Fault) -> tuple[PartitionProcessor, Faulty]:
        publisher = Faulty(ExactlyOnce(self.settings, self.partition), *faults)
        finder = ResumeOffsetFinder(self.settings, self.consumer, self.partition)
        processor = processor_of(self.settings, publisher, finder, self.partition, first_s=0.1)
        self.tasks.append(asyncio.create_task(serve(processor, self.settled)))
        await eventually(lambda: processor.is_open, "the processor is open", 20)
        return processor, publisher

    async def committed(self) -> int | None:
        found: int | None = await self.consumer.committed(self.partition)
        return found

    async def until_committed(self, offset: int) -> None:
        """A transaction's offset is seen a little after its commit is acknowledged."""

        async def it_is() -> bool:
            return await self.committed() == offset

        await eventually(it_is, f"offset {offset} committed")


def finish(settings: KafkaSettings, processor: PartitionProcessor, *offsets: int) -> None:
    for offset in offsets:
        processor.finish(offset, result(Output(settings.output_topic, b"p%d" % offset, b"{}", [])))


def take(processor: PartitionProcessor, *offsets: int) -> None:
    for offset in offsets:
        processor.tracker.take(offset, 10)


@asynccontextmanager
async def bench(kafka: str, unique: str, **fields: object) -> AsyncIterator[Bench]:
    settings = kafka_settings(kafka, unique, **fields)
    await make_topics(settings, 1)
    await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(100)])
    async with member(settings) as consumer:
        made = Bench(settings, consumer)
        try:
            yield made
        finally:
            for task in made.tasks:
                task.cancel()
            await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_finished_posts_leave_in_offset_order_with_gaps(kafka: str, unique: str) -> None:
    async with bench(kafka, unique) as its:
        processor, _ = await its.processor()
        take(processor, 2, 5, 9, 40)
        finish(its.settings, processor, 9, 5)
        finish(its.settings, processor, 2)
        await eventually(lambda: its.settled == [2, 5, 9], "the first three are settled")
        await its.until_committed(10)
        assert processor.tracker.posts == 1
        seen = await everything(its.settings)
    assert [record.key for record in seen.verdicts] == [b"p2", b"p5", b"p9"]


async def test_a_zombie_is_fenced_and_publishes_nothing(kafka: str, unique: str) -> None:
    async with bench(kafka, unique) as its:
        zombie, _ = await its.processor()
        take(zombie, 0, 1)
        owner, _ = await its.processor()
        finish(its.settings, zombie, 0, 1)
        with pytest.raises(ProducerFenced):
            await asyncio.wait_for(its.tasks[0], 20)
        assert not its.settled
        await its.until_committed(0)  # what the first processor pinned when it opened
        take(owner, 0)
        finish(its.settings, owner, 0)
        await eventually(lambda: its.settled == [0], "the owner publishes")
        seen = await everything(its.settings)
    assert [record.key for record in seen.verdicts] == [b"p0"]


async def test_a_release_that_went_through_unknown_is_not_sent_again(kafka: str, unique: str) -> None:
    async with bench(kafka, unique) as its:
        processor, publisher = await its.processor(through_but_unknown)
        take(processor, 0, 1, 2)
        finish(its.settings, processor, 0, 1)
        await eventually(lambda: its.settled == [0, 1], "the release is settled")
        finish(its.settings, processor, 2)
        await eventually(lambda: its.settled == [0, 1, 2], "and the processor goes on")
        assert publisher.starts == 2
        seen = await everything(its.settings)
    assert [record.key for record in seen.verdicts] == [b"p0", b"p1", b"p2"]


async def test_a_release_that_was_cut_off_is_sent_again(kafka: str, unique: str) -> None:
    async with bench(kafka, unique) as its:
        processor, publisher = await its.processor(cut_before_commit, cut_before_commit)
        take(processor, 0, 1)
        finish(its.settings, processor, 0, 1)
        await eventually(lambda: its.settled == [0, 1], "the release is settled")
        assert publisher.starts == 3
        assert not processor.delivery.blocked
        await its.until_committed(2)
        seen = await everything(its.settings)
    assert [record.key for record in seen.verdicts] == [b"p0", b"p1"]


async def test_a_partition_that_finds_the_partition_advanced_by_another_is_lost(kafka: str, unique: str) -> None:
    """Its own commits never pass its release: what is beyond was published by an owner in between."""
    async with bench(kafka, unique) as its:

        async def overtaken(self: Faulty, outputs: Sequence[Output], next_offset: int) -> None:
            del self, outputs, next_offset
            other = ExactlyOnce(its.settings, its.partition)
            await other.start()
            await other.publish([], 50)
            await other.close()
            raise TimeoutError

        processor, _ = await its.processor(overtaken)
        take(processor, 0, 1, 60)
        finish(its.settings, processor, 0)
        with pytest.raises(ProducerFenced):
            await asyncio.wait_for(its.tasks[0], 20)
        await its.until_committed(50)
        seen = await everything(its.settings)
    assert not seen.verdicts


async def test_the_offset_of_a_first_opening_is_pinned(kafka: str, unique: str) -> None:
    async with bench(kafka, unique) as its:
        assert await its.committed() is None
        await its.processor()
        await its.until_committed(0)


async def test_an_output_that_the_broker_refuses_is_replaced_by_a_smaller_form(kafka: str, unique: str) -> None:
    """The topic takes less than the settings say: the processor is not held by it."""
    async with bench(kafka, unique) as its:
        roomy = its.settings.model_copy(update={"max_message_bytes": 32 * 1024 * 1024})
        its.settings = roomy
        processor, _ = await its.processor()
        take(processor, 0, 1, 2)
        reference = Output(roomy.dead_letter_topic, b"p1", b"by reference", [])
        large = Output(roomy.output_topic, b"p1", random.Random(3).randbytes(16 * 1024 * 1024), [])
        finish(roomy, processor, 0)
        processor.finish(1, result(large, fallbacks=[reference]))
        finish(roomy, processor, 2)
        await eventually(lambda: its.settled == [0, 1, 2], "all three are settled")
        seen = await everything(roomy)
    assert [record.key for record in seen.verdicts] == [b"p0", b"p2"]
    assert [record.value for record in seen.dead] == [b"by reference"]


async def test_at_least_once_publishes_and_commits_as_the_groups_member(kafka: str, unique: str) -> None:
    async with bench(kafka, unique, delivery="at_least_once") as its:
        its.consumer.assign([its.partition])
        publisher = AtLeastOnce(its.settings, its.partition, its.consumer)
        await publisher.start()
        await publisher.publish([Output(its.settings.output_topic, b"p0", b"{}", [])], 1)
        await publisher.close()
        await its.until_committed(1)
        seen = await everything(its.settings)
    assert [record.key for record in seen.verdicts] == [b"p0"]
