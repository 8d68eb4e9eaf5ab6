from pathlib import Path

import pytest
from pydantic import SecretStr

from moderation_service.errors import Misconfigured
from moderation_service.kafka import clients
from moderation_service.kafka.record_sizes import batch_limit, record_limit, size_of
from moderation_service.kafka.topic_io import Record, publish, read
from moderation_service.settings import KafkaSettings
from tests.stream.support import kafka_settings, make_topics


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile", "ssl_keyfile"])
async def test_a_missing_file_is_named_with_its_setting(name: str) -> None:
    settings = KafkaSettings.model_validate({"security_protocol": "SSL", name: Path("/nowhere/x.pem")})
    with pytest.raises(Misconfigured, match=rf"kafka\.{name} /nowhere/x\.pem: no such file"):
        clients.producer(settings)


@pytest.mark.parametrize("name", ["ssl_cafile", "ssl_certfile"])
async def test_a_file_that_is_no_pem_is_named_with_its_setting(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pem"
    path.write_text("not PEM")
    settings = KafkaSettings.model_validate({"security_protocol": "SSL", name: path})
    with pytest.raises(Misconfigured, match=rf"kafka\.{name} .*PEM"):
        clients.consumer(settings, "topic")


async def test_the_password_reaches_the_client_and_no_representation() -> None:
    settings = KafkaSettings(
        security_protocol="SASL_PLAINTEXT", sasl_username="alice", sasl_password=SecretStr("open sesame")
    )
    producer = clients.producer(settings)
    assert producer.client._sasl_plain_password == "open sesame"
    assert "open sesame" not in repr(settings)
    await producer.stop()


async def test_sizes_agree_so_that_what_was_read_can_be_written() -> None:
    settings = KafkaSettings(max_message_bytes=1024 * 1024)
    producer, consumer = clients.producer(settings), clients.consumer(settings)
    assert producer._max_request_size == consumer._max_partition_fetch_bytes == record_limit(settings)
    assert batch_limit(settings) <= record_limit(settings)
    await producer.stop()
    await consumer.stop()


def test_the_size_of_a_record_counts_its_key_and_headers() -> None:
    assert size_of(b"k" * 100, b"v" * 100, [("h" * 100, b"x" * 100)]) >= 400
    assert size_of(None, None, []) < 200


async def test_a_producer_that_has_sent_nothing_knows_its_own_topics_alone(kafka: str, unique: str) -> None:
    settings, other = kafka_settings(kafka, unique), kafka_settings(kafka, f"{unique}.other")
    await make_topics(settings, 1)
    await make_topics(other, 1)
    producer = clients.producer(settings, topics=[settings.output_topic])
    await producer.start()
    assert await producer.partitions_for(settings.output_topic) == {0}
    await producer.client.force_metadata_update()
    assert producer.client.cluster.topics() == {settings.output_topic}
    await producer.stop()


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_records_of_every_compression_are_written_and_read(kafka: str, unique: str, compression: str) -> None:
    settings = kafka_settings(kafka, unique, compression=compression)
    await make_topics(settings, 1)
    value = b"moderation " * 500
    await publish(settings, [Record(settings.output_topic, b"k", value)])
    assert [record.value async for record in read(settings, settings.output_topic)] == [value]


async def test_idle_connections_and_the_rack_are_settings() -> None:
    settings = KafkaSettings(client_rack="eu-1a", connections_max_idle_s=60)
    producer, consumer = clients.producer(settings), clients.consumer(settings)
    assert producer.client._connections_max_idle_ms == consumer._client._connections_max_idle_ms == 60_000
    assert consumer._client_rack == "eu-1a"
    await producer.stop()
    await consumer.stop()
