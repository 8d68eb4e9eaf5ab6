"""Committed offsets while a transaction is under way, on a real Kafka and on one that answers too early."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.protocol.commit import OffsetFetchResponse_v3
from structlog.testing import capture_logs

from moderation_service.bench.local_kafka import local_kafka, missing_tools
from moderation_service.kafka import aiokafka_workarounds, clients
from moderation_service.settings import KafkaSettings
from tests.conftest import skip_or_fail
from tests.stream.support import kafka_settings, make_topics

pytestmark = pytest.mark.timeout(120)
OLD_KAFKA = "3.6.2"
NOT_COORDINATOR, LOADING = 16, 14


@asynccontextmanager
async def reading(settings: KafkaSettings) -> AsyncIterator[AIOKafkaConsumer]:
    await make_topics(settings, 1)
    consumer = clients.consumer(settings, group=settings.group)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def commit(producer: AIOKafkaProducer, settings: KafkaSettings, offset: int) -> None:
    await producer.begin_transaction()
    await producer.send(settings.output_topic, b"v")
    await producer.send_offsets_to_transaction({TopicPartition(settings.input_topic, 0): offset}, settings.group)
    await producer.commit_transaction()


async def test_the_offset_of_an_unfinished_transaction_is_waited_for(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    partition = TopicPartition(settings.input_topic, 0)
    producer = clients.producer(settings, unique)
    async with reading(settings) as consumer:
        assert await aiokafka_workarounds.committed(consumer, partition, stable=True) is None
        await producer.start()
        await commit(producer, settings, 5)
        await producer.begin_transaction()
        await producer.send(settings.output_topic, b"v")
        await producer.send_offsets_to_transaction({partition: 7}, settings.group)
        asking = asyncio.create_task(aiokafka_workarounds.committed(consumer, partition, stable=True))
        assert not (await asyncio.wait({asking}, timeout=0.5))[0], "it waits while the transaction is open"
        plain = await aiokafka_workarounds.committed(consumer, partition, stable=False)
        assert plain is not None
        assert plain.offset == 5
        await producer.commit_transaction()
        found = await asyncio.wait_for(asking, 10)
        assert found is not None
        assert (found.offset, found.metadata) == (7, "")
        await producer.stop()


@pytest.mark.parametrize("code", [NOT_COORDINATOR, LOADING])
@pytest.mark.parametrize("stable", [True, False])
async def test_an_error_of_the_coordinator_is_not_taken_for_no_offset(
    kafka: str, unique: str, code: int, *, stable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_settings(kafka, unique)
    partition = TopicPartition(settings.input_topic, 0)
    async with reading(settings) as consumer:
        await consumer._coordinator.ensure_coordinator_known()
        real, failed = consumer._coordinator._send_req, OffsetFetchResponse_v3(0, [], code)
        answers = iter([failed, failed])

        async def first_failing(request: object) -> object:
            return next(answers, None) or await real(request)

        consumer.assign([partition])
        await consumer.commit({partition: (9, "a note")})
        monkeypatch.setattr(consumer._coordinator, "_send_req", first_failing)
        found = await aiokafka_workarounds.committed(consumer, partition, stable=stable)
        assert found is not None
        assert (found.offset, found.metadata) == (9, "a note")
        assert next(answers, None) is None, "it was asked again"


async def test_a_broker_that_knows_no_stable_offsets_is_said_once(
    kafka: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = kafka_settings(kafka, unique)
    partition = TopicPartition(settings.input_topic, 0)
    monkeypatch.setattr(
        aiokafka_workarounds._StableOffsetFetch, "_CLASSES", aiokafka_workarounds._StableOffsetFetch._CLASSES[:1]
    )
    with capture_logs() as logged:
        async with reading(settings) as consumer:
            for _ in range(2):
                assert await aiokafka_workarounds.committed(consumer, partition, stable=True) is None
    assert sum("some posts may get two verdicts" in line["event"] for line in logged) == 1


async def test_a_new_owner_never_begins_at_a_stale_offset_on_an_old_broker(tmp_path: Path) -> None:
    if reason := missing_tools(OLD_KAFKA):
        skip_or_fail(reason)
    with local_kafka(tmp_path, version=OLD_KAFKA) as address:
        settings = kafka_settings(address, "old")
        partition = TopicPartition(settings.input_topic, 0)
        async with reading(settings) as consumer:
            producer = clients.producer(settings, "id")
            await producer.start()
            for offset in range(1, 61):
                await commit(producer, settings, offset)
                successor = clients.producer(settings, "id")
                await successor.start()
                found = await aiokafka_workarounds.committed(consumer, partition, stable=True)
                assert found is not None
                assert found.offset == offset
                await producer.stop()
                producer = successor
            await producer.stop()
