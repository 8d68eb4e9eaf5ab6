from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import NewTopic
from aiokafka.errors import TopicAuthorizationFailedError

from moderation_service.bench.local_kafka import missing_tools
from moderation_service.errors import Fatal
from moderation_service.kafka import clients, topics
from moderation_service.kafka.record_sizes import HEADROOM_BYTES, record_limit
from moderation_service.kafka.topics import MIN_INSYNC, UNCLEAN, durability_faults, min_insync_replicas
from moderation_service.settings import KafkaSettings
from tests.chaos.cluster import cluster
from tests.conftest import skip_or_fail
from tests.stream.support import kafka_settings

pytestmark = pytest.mark.timeout(60)
DAY_MS = 24 * 3600 * 1000


async def test_what_is_created_is_what_is_wanted(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    outcome = await topics.create(settings, 4)
    assert set(outcome.values()) == {"created"}
    assert len(outcome) == 7
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
        (
            f"{unique}.odd: max.message.bytes 1000000, wanted at least {record_limit(other)}; where the provider "
            f"allows no more, set kafka.max_message_bytes to {1000000 - HEADROOM_BYTES}"
        ),
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


async def test_a_missing_topic_that_the_broker_would_refuse_is_said(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique, max_message_bytes=3 * 1024**3)
    found = await topics.check(settings, only={settings.output_topic})
    assert len(found) == 1
    assert found[0].startswith(f"{settings.output_topic}: missing, and the broker refuses it as wanted: ")
    assert "max.message.bytes" in found[0]


@pytest.mark.parametrize(("replicas", "least"), [(1, 1), (2, 1), (3, 2), (5, 2)])
def test_one_replica_may_always_be_away_and_two_have_every_record_where_there_are_three(
    replicas: int, least: int
) -> None:
    assert min_insync_replicas(replicas) == least
    assert not list(durability_faults(replicas, 1, {MIN_INSYNC: str(least)}))


@pytest.mark.timeout(240)
async def test_what_may_lose_acknowledged_records_is_said_on_a_cluster_of_three(tmp_path: Path) -> None:
    if reason := missing_tools():
        skip_or_fail(reason)
    with cluster(tmp_path, 3) as its:
        settings = kafka_settings(its.address, "t")
        await topics.create(settings, 1)  # the brokers' default: 3 replicas
        assert await topics.check(settings, 1, 3) == []
        other = settings.model_copy(update={"output_topic": "weak", "review_topic": "stuck", "audit_topic": "alone"})
        weak = {**_config(settings), MIN_INSYNC: "1", UNCLEAN: "true"}
        await _make(other, NewTopic("weak", 1, 3, None, weak))
        await _make(other, NewTopic("stuck", 1, 3, None, {**_config(settings), MIN_INSYNC: "3"}))
        await _make(other, NewTopic("alone", 1, 1, None, {**_config(settings), MIN_INSYNC: "1"}))
        assert await topics.check(other) == [
            (
                "weak: min.insync.replicas 1 with 3 replicas: one broker's crash may lose acknowledged records; "
                "set min.insync.replicas=2"
            ),
            (
                "weak: unclean.leader.election.enable true: a replica that lags may lead and lose acknowledged "
                "records; set unclean.leader.election.enable=false"
            ),
            (
                "stuck: min.insync.replicas 3 with 3 replicas: nothing can be written while one broker is away; "
                "set min.insync.replicas=2"
            ),
            "alone: replication factor 1 on 3 brokers, wanted 3: reassign its partitions",
        ]


def _config(settings: KafkaSettings) -> dict[str, str]:
    (found,) = [topic.config for topic in topics.wanted(settings) if topic.name == settings.output_topic]
    return dict(found)


async def _make(settings: KafkaSettings, topic: NewTopic) -> None:
    client = clients.admin(settings)
    await client.start()
    await client.create_topics([topic])
    assert await topics.partitions_of(client, topic.name)
    await client.close()
