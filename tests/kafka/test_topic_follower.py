"""Following topics from kept offsets, on a real Kafka."""

import asyncio
import itertools
import random

import pytest
from aiokafka import ConsumerRecord
from aiokafka.admin import NewPartitions

from moderation_service.bench.broker import free_port
from moderation_service.errors import Fatal, Transient
from moderation_service.kafka import topic_follower
from moderation_service.kafka.clients import admin
from moderation_service.kafka.topic_follower import Follower, following
from moderation_service.kafka.topic_io import Record, publish
from moderation_service.kafka.topics import create
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


async def taken(follower: Follower, count: int) -> list[ConsumerRecord]:
    records: list[ConsumerRecord] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            records += await follower.take(100, 0.2)
    return records


def values(records: list[ConsumerRecord]) -> list[int]:
    return [int(record.value) for record in records]


async def test_it_begins_at_the_given_offsets_and_elsewhere_at_the_beginning(settings: KafkaSettings) -> None:
    topic = settings.output_topic
    await publish(settings, [*numbered(topic, range(5)), *numbered(topic, range(10, 13), partition=1)])
    async with following(settings, [topic], {(topic, 0): 3}) as follower:
        assert sorted(values(await taken(follower, 5))) == [3, 4, 10, 11, 12]
        assert await follower.lags() == {(topic, 0): 0, (topic, 1): 0}
        await publish(settings, numbered(topic, range(5, 7)))
        assert values(await taken(follower, 2)) == [5, 6]


@pytest.mark.parametrize(("size", "taken_at_once"), [(400_000, 10), (1_500_000, 3)])
async def test_as_many_are_taken_as_are_asked_for_though_one_answer_of_a_broker_holds_fewer_up_to_some_bytes(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch, size: int, taken_at_once: int
) -> None:
    monkeypatch.setattr(topic_follower, "_CLOSE_BEHIND_S", PATIENCE_S)
    topic = settings.output_topic
    await publish(settings, [Record(topic, b"k", random.randbytes(size), partition=0) for _ in range(10)])
    async with following(settings, [topic], {}) as follower:
        assert len(await follower.take(10, PATIENCE_S)) == taken_at_once


async def test_what_goes_on_coming_is_not_waited_for_any_longer(
    settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_follower, "_CLOSE_BEHIND_S", PATIENCE_S)
    topic, coming = settings.output_topic, asyncio.Event()

    async def come() -> None:
        for number in itertools.count():
            await publish(settings, numbered(topic, range(number, number + 1)))
            coming.set()

    async with following(settings, [topic], {}) as follower:
        sending = asyncio.create_task(come())
        await coming.wait()
        async with asyncio.timeout(PATIENCE_S / 2):
            assert 0 < len(await follower.take(1_000_000, 0.3)) < 1_000_000
        sending.cancel()
        await asyncio.wait({sending})


async def test_an_offset_that_is_there_no_more_means_the_beginning(settings: KafkaSettings) -> None:
    topic = settings.output_topic
    await publish(settings, numbered(topic, range(3)))
    async with following(settings, [topic], {(topic, 0): 1000}) as follower:
        assert values(await taken(follower, 3)) == [0, 1, 2]


async def test_a_topic_that_is_held_is_left_alone_until_it_is_not(settings: KafkaSettings) -> None:
    first, second = settings.output_topic, settings.input_topic
    await publish(settings, [*numbered(first, range(2)), *numbered(second, range(10, 12))])
    async with following(settings, [first, second], {}) as follower:
        follower.hold(second, held=True)
        assert sorted(values(await taken(follower, 2))) == [0, 1]
        assert (await follower.lags())[second, 0] == 2
        assert await follower.take(100, 0.5) == []
        follower.hold(second, held=False)
        assert values(await taken(follower, 2)) == [10, 11]


async def test_partitions_that_are_added_are_followed_from_their_beginning(settings: KafkaSettings) -> None:
    topic, other = settings.output_topic, settings.input_topic
    await publish(settings, numbered(topic, range(3)))
    async with following(settings, [topic, other], {(topic, 0): 1}) as follower:
        assert values(await taken(follower, 2)) == [1, 2]
        follower.hold(other, held=True)
        client = admin(settings)
        await client.start()
        await client.create_partitions({topic: NewPartitions(total_count=3)})
        await client.close()
        await publish(settings, [*numbered(topic, range(20, 22), partition=2), *numbered(other, range(1))])
        async with asyncio.timeout(PATIENCE_S):
            while (topic, 2) not in await follower.lags():
                await follower._reader._client.force_metadata_update()
        assert values(await taken(follower, 2)) == [20, 21]
        assert await follower.take(100, 0.5) == [], "what was held still is"


async def test_a_missing_topic_and_an_absent_broker_are_told(settings: KafkaSettings, kafka: str) -> None:
    with pytest.raises(Transient, match="no-such-topic: missing"):
        async with following(settings, ["no-such-topic"], {}):
            pass
    away = settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{free_port()}"})
    with pytest.raises(Fatal, match="no broker answers"):
        async with following(away, [settings.output_topic], {}):
            pass
