"""Records that the log dropped before they were judged: told loudly, and until somebody says that it is known."""

import asyncio
import random
from dataclasses import replace

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from moderation_service.contracts.post import Post
from moderation_service.kafka import clients
from moderation_service.kafka.topic_io import Record
from moderation_service.settings import KafkaSettings
from tests.stream.support import (
    FakeJudge,
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

pytestmark = pytest.mark.timeout(90)
LOSS = "records were deleted from the log before they were judged"


async def send_posts(settings: KafkaSettings, *numbers: int) -> None:
    await send(settings, [post_record(settings.input_topic, f"p{number:03}") for number in numbers])


async def delete_before(settings: KafkaSettings, offset: int) -> None:
    """As retention does."""
    admin = clients.admin(settings)
    await admin.start()
    await admin.delete_records({TopicPartition(settings.input_topic, 0): RecordsToDelete(before_offset=offset)})
    await admin.close()


def lost() -> float:
    return REGISTRY.get_sample_value("moderation_lost_records_total") or 0.0


def names(*numbers: int) -> list[str]:
    return [f"p{number:03}" for number in numbers]


async def test_a_committed_offset_that_the_log_no_longer_has_is_told_until_it_is_acknowledged(
    kafka: str, unique: str
) -> None:
    settings = await prepared(kafka, unique, partitions=1)
    await send_posts(settings, *range(5))
    async with running(settings, FakeJudge()):
        await published(settings, 5)
    await send_posts(settings, *range(5, 20))
    await delete_before(settings, 12)
    before = lost()
    with capture_logs() as logged:
        async with running(settings, FakeJudge()) as work:
            seen = await published(settings, 5 + 8)
            await eventually(lambda: work.health.not_ready == ["records lost"], "readiness says so")
    assert seen.judged == names(*range(5), *range(12, 20))
    assert lost() - before == 7
    (told,) = (line for line in logged if line["event"] == LOSS)
    assert (told["log_level"], told["offsets_lost_now"]) == ("error", 7)

    async with running(settings, FakeJudge()) as again:  # nothing is lost now, and nobody has said a word
        await eventually(lambda: again.health.not_ready == ["records lost"], "a restart forgets nothing")
    assert lost() - before == 7

    known = settings.model_copy(update={"acknowledged_loss_offsets": {0: 12}})
    async with running(known, FakeJudge()) as acknowledged:
        await eventually(lambda: not acknowledged.health.not_ready, "ready once it is acknowledged")
        await send_posts(settings, 20)
        await published(settings, 14)
        assert not acknowledged.health.not_ready
    async with running(settings, FakeJudge()) as later:  # the note is gone with the next commit
        await eventually(lambda: not later.health.not_ready, "ready")


async def test_what_goes_while_the_worker_runs_is_told_and_what_it_has_taken_is_published(
    kafka: str, unique: str
) -> None:
    settings = await prepared(kafka, unique, partitions=1, max_in_flight_posts=4, max_in_flight_bytes=10_000)
    rng = random.Random(5)  # nothing that is compressed: the consumer fetches some of it ahead, and not all
    posts = [post_record(settings.input_topic, name, rng.randbytes(400_000).hex()) for name in names(*range(60))]
    await send(settings, posts)
    go = asyncio.Event()

    async def wait(_: Post) -> None:
        await go.wait()

    judge = FakeJudge(before=wait)
    before = lost()
    async with running(settings, judge) as work:
        await eventually(lambda: judge.now > 0, "posts are in flight")
        await delete_before(settings, 58)
        go.set()
        await eventually(lambda: work.health.not_ready == ["records lost"], "readiness says so")
        await send_posts(settings, 60)
        await eventually(lambda: "p060" in judge.seen, "the worker goes on")
    seen = await everything(settings)
    assert set(judge.seen) == set(seen.judged), "all that was taken is published"
    assert {*names(58, 59, 60)} <= set(seen.judged)
    assert len(seen.judged) == len(set(seen.judged)) < 61
    assert lost() - before == 61 - len(seen.judged)


async def test_a_log_that_ends_before_what_was_committed_holds_that_partition_alone_until_it_goes_on(
    kafka: str, unique: str
) -> None:
    """As after an unclean election, or when offsets were carried over to another cluster."""
    settings = kafka_settings(kafka, unique)
    await make_topics(settings, 2)
    ahead, other = (TopicPartition(settings.input_topic, number) for number in range(2))
    await send(settings, [on(ahead, "p000"), on(other, "p001")])
    client = clients.consumer(settings, group=settings.group)
    await client.start()
    client.assign([ahead])
    await client.commit({ahead: 3})
    await client.stop()
    labels = {"topic": ahead.topic, "partition": "0", "reason": "offset_out_of_range"}
    with capture_logs() as logged:
        async with running(settings, FakeJudge()) as work:
            await eventually(lambda: work.health.not_ready == ["unreadable partition"], "readiness says so")
            assert REGISTRY.get_sample_value("moderation_partition_held", labels) == 1
            await send(settings, [on(other, "p002")])
            assert (await published(settings, 2)).judged == names(1, 2)
            await send(settings, [on(ahead, name) for name in names(3, 4, 5)])  # offsets 1, 2, 3
            assert (await published(settings, 3)).judged == names(1, 2, 5)
            await eventually(lambda: not work.health.not_ready, "ready again")
            assert REGISTRY.get_sample_value("moderation_partition_held", labels) is None
    told = next(line for line in logged if line["event"].startswith("a partition can't be read"))
    released = next(line for line in logged if line["event"].startswith("a partition that was held"))
    assert released["offsets_not_read"] == "1 to 2"
    assert told["recovery_command"].endswith(
        f"kafka-consumer-groups.sh --bootstrap-server {kafka} --group {unique} --topic {unique}.posts:0 "
        "--reset-offsets --to-offset 1 --execute"
    )


def on(partition: TopicPartition, name: str) -> Record:
    return replace(post_record(partition.topic, name), partition=partition.partition)


async def test_markers_behind_the_last_record_are_no_loss(kafka: str, unique: str) -> None:
    settings = await prepared(kafka, unique, partitions=1)
    sender = clients.producer(settings, f"{unique}.sender")
    await sender.start()
    async with sender.transaction():
        record = post_record(settings.input_topic, "p000")
        await sender.send_and_wait(record.topic, record.value, record.key)
    await sender.stop()
    async with running(settings, FakeJudge()) as work:
        await published(settings, 1)
        manager = work.worker._manager
        assert manager is not None
        (processor,) = manager.processors.values()
        await eventually(lambda: processor.delivery.committed == 2, "the marker is committed past")
    await delete_before(settings, 2)
    before = lost()
    async with running(settings, FakeJudge()) as again:
        await eventually(lambda: again.health.joined and not again.health.not_ready, "ready")
        await send_posts(settings, 1)
        await published(settings, 2)
    assert lost() == before
