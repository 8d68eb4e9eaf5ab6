import asyncio
import random
from datetime import UTC, datetime, timedelta

import pytest

from moderation_service.errors import Fatal
from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import Record, publish, read, read_since
from moderation_service.settings import MIB
from tests.stream.support import kafka_settings, make_topics

pytestmark = pytest.mark.timeout(60)


async def test_what_is_published_is_read_to_the_present_end(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings)
    records = [Record(settings.input_topic, b"k%d" % number, b"v", [("h", b"1")]) for number in range(2500)]
    assert await publish(settings, records) == 2500
    seen = [record async for record in read(settings, settings.input_topic)]
    assert sorted(record.key for record in seen) == sorted(record.key for record in records)
    assert seen[0].headers == (("h", b"1"),)


async def test_records_larger_than_a_fetch_come_too(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 2)
    large = [random.Random(number).randbytes(3 * MIB) for number in range(4)]  # no compression makes them small
    records = [Record(settings.input_topic, b"k%d" % number, value) for number, value in enumerate([*large, b"small"])]
    await publish(settings, records)
    seen = {record.key: record.value async for record in read(settings, settings.input_topic)}
    assert seen == {record.key: record.value for record in records}


async def test_an_empty_topic_ends_at_once(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings)
    assert [record async for record in read(settings, settings.output_topic)] == []


async def test_following_gives_what_is_there_and_what_comes_later(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 1)
    await publish(settings, [Record(settings.input_topic, b"early", b"v")])
    follower = read(settings, settings.input_topic, follow=True)
    assert (await anext(follower)).key == b"early"
    await publish(settings, [Record(settings.input_topic, b"late", b"v")])
    assert (await asyncio.wait_for(anext(follower), 20)).key == b"late"
    await follower.aclose()


async def test_a_topic_that_ends_in_transaction_markers_and_aborted_records_ends(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 1)
    sender = clients.producer(settings, unique)
    await sender.start()
    for commit in (True, False):
        await sender.begin_transaction()
        await sender.send_and_wait(settings.input_topic, b"v", b"kept" if commit else b"aborted")
        await (sender.commit_transaction() if commit else sender.abort_transaction())
    await sender.stop()
    seen = [record.key async for record in read(settings, settings.input_topic)]
    assert seen == [b"kept"]


async def test_reading_from_a_moment_on_waits_for_what_is_under_way_then(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 1)
    sender = clients.producer(settings, unique)
    await sender.start()
    for key, seconds in ((b"before", 1000), (b"then", 2000)):
        async with sender.transaction():
            await sender.send_and_wait(settings.input_topic, b"v", key, timestamp_ms=seconds * 1000)
    await sender.begin_transaction()
    await sender.send_and_wait(settings.input_topic, b"v", b"open", timestamp_ms=3000 * 1000)
    reading = read_since(settings, settings.input_topic, datetime.fromtimestamp(2000, UTC))
    assert (await anext(reading)).key == b"then"
    later = asyncio.ensure_future(anext(reading))
    await asyncio.wait({later}, timeout=0.5)
    assert not later.done(), "it is known only after the transaction whether it is there"
    await sender.commit_transaction()
    assert (await later).key == b"open"
    await sender.stop()
    with pytest.raises(StopAsyncIteration):
        await anext(reading)


async def test_from_a_moment_on_that_is_to_come_there_is_nothing(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 2)
    await publish(settings, [Record(settings.input_topic, b"k", b"v")])
    since = datetime.now(UTC) + timedelta(hours=1)
    assert [record async for record in read_since(settings, settings.input_topic, since)] == []


async def test_a_missing_topic_is_named(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique, request_timeout_s=2.0)
    with pytest.raises(Fatal, match=f"topic {unique}.posts: missing"):
        await anext(read(settings, settings.input_topic))
    with pytest.raises(Fatal, match="record 0 was not written"):
        await publish(settings, [Record(settings.input_topic, b"k", b"v")])


async def test_a_record_beyond_the_limit_is_refused(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique, max_message_bytes=64 * 1024)
    await make_topics(settings)
    with pytest.raises(Fatal, match=r"record 0 was not written: .*maximum request size"):
        await publish(settings, [Record(settings.input_topic, b"k", b"v" * 200_000)])
