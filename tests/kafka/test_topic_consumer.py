"""Reading topics from stored offsets, on a real Kafka."""

import asyncio
import itertools
import random

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewPartitions

from moderation_service.bench.local_kafka import free_port
from moderation_service.errors import Fatal, Transient
from moderation_service.kafka.clients import admin
from moderation_service.kafka.topic_consumer import TopicConsumer
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create, partitions_of
from moderation_service.settings import KafkaSettings
from tests.line.service import kafka_settings

PATIENCE_S = 60.0


@pytest.fixture
async def settings(kafka: str) -> KafkaSettings:
    made = kafka_settings(kafka)
    await create(made, partitions=2)
    return made


def numbered(topic: str, numbers: range, partition: int = 0) -> list[Record]:
    return [Record(topic, b"k", str(number).encode(), partition=partition) for number in numbers]


async def taken(consumer: TopicConsumer, count: int) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await consumer.take(100, 0.2)
    return records


def values(records: list[ConsumerRecord]) -> list[int]:
    return [int(record.value) for record in records]


async def test_it_begins_at_the_given_offsets_and_elsewhere_at_the_beginning(settings: KafkaSettings) -> None:
    topic = settings.output_topic
    await publish(settings, [*numbered(topic, range(5)), *numbered(topic, range(10, 13), partition=1)])
    async with TopicConsumer.open(settings, [topic], {(topic, 0): 3}) as consumer:
        assert sorted(values(await taken(consumer, 5))) == [3, 4, 10, 11, 12]
        assert await consumer.lags() == {(topic, 0): 0, (topic, 1): 0}
        await publish(settings, numbered(topic, range(5, 7)))
        assert values(await taken(consumer, 2)) == [5, 6]


@pytest.mark.parametrize(("size", "taken_at_once"), [(400_000, 10), (1_500_000, 3)])
async def test_as_many_are_taken_as_are_asked_for_though_one_answer_of_a_broker_holds_fewer_up_to_some_bytes(
    settings: KafkaSettings, size: int, taken_at_once: int
) -> None:
    topic = settings.output_topic
    await publish(settings, [Record(topic, b"k", random.randbytes(size), partition=0) for _ in range(10)])
    async with TopicConsumer.open(settings, [topic], {}) as consumer:
        consumer.close_behind_s = PATIENCE_S
        assert len(await consumer.take(10, PATIENCE_S)) == taken_at_once


async def test_what_goes_on_coming_is_not_waited_for_any_longer(settings: KafkaSettings) -> None:
    topic, coming = settings.output_topic, asyncio.Event()

    async def come() -> None:
        for number in itertools.count():
            await publish(settings, numbered(topic, range(number, number + 1)))
            coming.set()

    async with TopicConsumer.open(settings, [topic], {}) as consumer:
        consumer.close_behind_s = PATIENCE_S
        sending = asyncio.create_task(come())
        await coming.wait()
        async with asyncio.timeout(PATIENCE_S / 2):
            assert 0 < len(await consumer.take(1_000_000, 0.3)) < 1_000_000
        sending.cancel()
        await asyncio.wait({sending})


async def test_an_offset_that_is_there_no_more_means_the_beginning(settings: KafkaSettings) -> None:
    topic = settings.output_topic
    await publish(settings, numbered(topic, range(3)))
    async with TopicConsumer.open(settings, [topic], {(topic, 0): 1000}) as consumer:
        assert values(await taken(consumer, 3)) == [0, 1, 2]


async def test_a_topic_that_is_held_is_left_alone_until_it_is_not(settings: KafkaSettings) -> None:
    first, second = settings.output_topic, settings.input_topic
    await publish(settings, [*numbered(first, range(2)), *numbered(second, range(10, 12))])
    async with TopicConsumer.open(settings, [first, second], {}) as consumer:
        consumer.pause(second)
        assert sorted(values(await taken(consumer, 2))) == [0, 1]
        assert (await consumer.lags())[second, 0] == 2
        assert await consumer.take(100, 0.5) == []
        consumer.resume(second)
        assert values(await taken(consumer, 2)) == [10, 11]


async def test_partitions_that_are_added_are_followed_from_their_beginning(settings: KafkaSettings) -> None:
    topic, other = settings.output_topic, settings.input_topic
    await publish(settings, numbered(topic, range(3)))
    async with TopicConsumer.open(settings, [topic, other], {(topic, 0): 1}) as consumer:
        assert values(await taken(consumer, 2)) == [1, 2]
        consumer.pause(other)
        client = admin(settings)
        await client.start()
        await client.create_partitions({topic: NewPartitions(total_count=3)})
        await partitions_of(client, topic)
        await client.close()
        await publish(settings, [*numbered(topic, range(20, 22), partition=2), *numbered(other, range(1))])
        async with asyncio.timeout(PATIENCE_S):
            while (topic, 2) not in await consumer.lags():
                await consumer._reader._client.force_metadata_update()
                await consumer.add_new_partitions()
        assert values(await taken(consumer, 2)) == [20, 21]
        assert await consumer.take(100, 0.5) == [], "what was held still is"


async def test_a_missing_topic_and_an_absent_broker_are_told(settings: KafkaSettings, kafka: str) -> None:
    with pytest.raises(Transient, match="no-such-topic: missing"):
        async with TopicConsumer.open(settings, ["no-such-topic"], {}):
            pass
    away = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(Fatal, match="no broker answers"):
        async with TopicConsumer.open(away, [settings.output_topic], {}):
            pass


async def test_offsets_that_are_committed_to_kafka_are_where_the_next_one_begins(settings: KafkaSettings) -> None:
    topic = settings.output_topic
    await publish(settings, [*numbered(topic, range(3)), *numbered(topic, range(10, 12), partition=1)])
    async with TopicConsumer.open(settings, [topic], group="sink") as consumer, asyncio.timeout(PATIENCE_S):
        seen: list[ConsumerRecord] = []
        async for batch in consumer.batches():
            seen += batch.records
            await consumer.commit(batch.offsets)
            if len(seen) == 5:
                break
    assert sorted(values(seen)) == [0, 1, 2, 10, 11]
    await publish(settings, numbered(topic, range(20, 21)))
    async with TopicConsumer.open(settings, [topic], group="sink") as consumer:
        assert values(await taken(consumer, 1)) == [20]
        assert await consumer.take(100, 0.5) == []
