from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAuthorizationFailedError

from moderation_service.errors import Fatal
from moderation_service.kafka import clients, topics
from moderation_service.kafka.sizes import record_limit
from moderation_service.settings import KafkaSettings
from tests.stream.support import kafka_settings

pytestmark = pytest.mark.timeout(60)
DAY_MS = 24 * 3600 * 1000


async def test_what_is_created_is_what_is_wanted(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    outcome = await topics.create(settings, 4)
    assert set(outcome.values()) == {"created"}
    assert len(outcome) == 5
    assert await topics.check(settings, 4) == []


async def test_creating_again_changes_nothing(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await topics.create(settings, 2)
    assert set((await topics.create(settings, 9)).values()) == {"exists"}
    assert await topics.check(settings, 2) == []


async def test_missing_topics_are_named(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    assert await topics.check(settings) == [f"{topic.name}: missing" for topic in topics.wanted(settings)]


async def test_every_difference_is_a_line(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await topics.create(settings, 2)
    other = settings.model_copy(update={"output_topic": f"{unique}.odd"})
    config = {"max.message.bytes": "1000000", "retention.ms": str(DAY_MS), "cleanup.policy": "compact"}
    await _make(other, NewTopic(other.output_topic, 3, 1, None, config))
    assert await topics.check(other, 2, 1) == [
        f"{unique}.odd: 3 partitions, wanted 2",
        f"{unique}.odd: max.message.bytes 1000000, wanted at least {record_limit(other)}",
        f"{unique}.odd: retention.ms {DAY_MS}, wanted at least {200 * DAY_MS}",
        f"{unique}.odd: cleanup.policy compact, wanted delete",
    ]


async def test_only_the_topics_asked_for_are_looked_at(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    assert await topics.check(settings, only={settings.output_topic}) == [f"{settings.output_topic}: missing"]


async def test_a_topic_that_must_not_be_described_is_not_called_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        async def describe_topics(self, names: list[str]) -> list[dict[str, object]]:
            return [{"topic": name, "error_code": TopicAuthorizationFailedError.errno} for name in names]

    @asynccontextmanager
    async def refusing(_: KafkaSettings) -> AsyncIterator[Refusing]:
        yield Refusing()

    monkeypatch.setattr(topics, "connected", refusing)
    with pytest.raises(Fatal, match=r"can't be described \(TopicAuthorizationFailedError\)"):
        await topics.check(kafka_settings("nowhere:1", "t"))


async def test_replicas_that_the_cluster_does_not_have_are_refused_by_name(kafka: str, unique: str) -> None:
    with pytest.raises(Fatal, match=f"topic {unique}.posts was not created: .*replication factor"):
        await topics.create(kafka_settings(kafka, unique), 2, replication=99)


async def _make(settings: KafkaSettings, topic: NewTopic) -> None:
    client = clients.admin(settings)
    await client.start()
    await client.create_topics([topic])
    assert await topics.partitions_of(client, topic.name)
    await client.close()
