"""What a worker holds and says while posts can't leave it, against a real Kafka."""

import asyncio
import random
import string
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from moderation_service.contracts.post import Post
from moderation_service.kafka import clients
from moderation_service.kafka.aiokafka_workarounds import FetchBuffer
from moderation_service.kafka.record_sizes import record_limit
from moderation_service.settings import MIB, KafkaSettings
from moderation_service.stream.offset_tracker import OffsetTracker
from moderation_service.stream.partition_manager import PartitionManager
from moderation_service.stream.partition_processor import PartitionProcessor
from moderation_service.stream.polling import Polled
from tests.stream.processes import WorkerProcess, worker_processes
from tests.stream.support import (
    FakeJudge,
    Running,
    eventually,
    kafka_settings,
    make_topics,
    post_record,
    published,
    running,
    send,
)
from tests.stream.test_admission import Consumer, admission_of

pytestmark = pytest.mark.timeout(90)


class Away(FakeJudge):
    """Answers nothing until it is `back`."""

    def __init__(self) -> None:
        super().__init__(before=self._wait)
        self.back = asyncio.Event()

    async def _wait(self, _: Post) -> None:
        await self.back.wait()


def fleet_of(work: Running) -> PartitionManager:
    assert work.worker._manager is not None
    return work.worker._manager


def waiting(work: Running) -> list[int]:
    """The sizes of the records that wait, of all partitions."""
    return [received.size for processor in fleet_of(work).processors.values() for received in processor.waiting]


async def send_in_one_batch(settings: KafkaSettings, post_ids: list[str], partition: int) -> None:
    sender = clients.producer(settings)
    await sender.start()
    batch = sender.create_batch()
    for post_id in post_ids:
        record = post_record(settings.input_topic, post_id)
        assert batch.append(timestamp=None, key=record.key, value=record.value) is not None
    await (await sender.send_batch(batch, settings.input_topic, partition=partition))
    await sender.stop()


async def test_of_a_batch_of_thousands_no_more_waits_than_may_be_in_flight_and_other_partitions_go_on(
    kafka: str, unique: str
) -> None:
    settings = kafka_settings(kafka, unique, max_in_flight_posts=12)
    await make_topics(settings, 2)
    await send_in_one_batch(settings, [f"p{number}" for number in range(300)], 0)
    judge = Away()
    async with running(settings, judge) as work:
        await eventually(lambda: 6 <= judge.now < 12, "one partition has what it may")
        await send_in_one_batch(settings, [f"q{number}" for number in range(40)], 1)
        await eventually(lambda: judge.now == 12, "the other partition has its part")
        assert 0 < len(waiting(work)) <= 12
        judge.back.set()
        seen = await published(settings, 340)
    assert seen.judged == sorted([*(f"p{n}" for n in range(300)), *(f"q{n}" for n in range(40))])


async def test_bytes_that_wait_and_that_are_fetched_are_bounded_however_many_partitions_have_large_records(
    kafka: str, unique: str
) -> None:
    partitions, each = 8, 6
    settings = kafka_settings(kafka, unique, max_in_flight_bytes=MIB, max_message_bytes=MIB // 4)
    await make_topics(settings, partitions)
    rng = random.Random(1)
    text = "".join(rng.choices(string.printable[:90], k=200_000))  # hardly compressed
    sender = clients.producer(settings)
    await sender.start()
    for number in range(partitions * each):
        record = post_record(settings.input_topic, f"p{number}", text)
        await sender.send_and_wait(record.topic, record.value, record.key, partition=number % partitions)
    await sender.stop()
    judge = Away()
    async with running(settings, judge) as work:

        def some_given_back() -> bool:
            return work.worker._manager is not None and any(
                processor.awaiting_refetch for processor in work.worker._manager.processors.values()
            )

        await eventually(some_given_back, "what is over the bound is given back")
        manager = fleet_of(work)
        assert sum(processor.tracker.size for processor in manager.processors.values()) <= MIB + MIB // 4
        assert sum(waiting(work)) <= MIB
        buffer = FetchBuffer(manager._consumer)
        await eventually(lambda: buffer.held_bytes <= MIB + 2 * record_limit(settings), "what is fetched is let go")
        judge.back.set()
        seen = await published(settings, partitions * each)
    assert seen.judged == sorted(f"p{number}" for number in range(partitions * each))
    assert judge.most_bytes <= MIB + MIB // 4


def test_what_was_given_back_is_read_again_where_nothing_is_in_flight_that_would_make_room() -> None:
    settings = KafkaSettings()
    partitions = [TopicPartition("posts", number) for number in range(3)]
    consumer = Consumer(set(partitions))
    processors = [PartitionProcessor(partition, settings, SimpleNamespace()) for partition in partitions]  # type: ignore[arg-type]
    for processor in processors:
        processor.is_open = True
        processor.awaiting_refetch = processor is not processors[0]
    admission = admission_of(settings, consumer, processors)

    def poll() -> None:
        admission.receive(Polled())
        admission.admit()

    processors[0].tracker.take(0, 10)
    poll()
    assert consumer.paused() == set(partitions[1:])
    processors[0].tracker = OffsetTracker()
    poll()
    assert consumer.paused() == {partitions[2]}
    poll()
    assert not consumer.paused()
    assert admission.readable == set(partitions)


async def test_the_lag_of_a_partition_that_is_not_read_grows_to_the_last_stable_offset(kafka: str, unique: str) -> None:
    settings = kafka_settings(kafka, unique, max_in_flight_posts=6)
    await make_topics(settings, 1)

    def lag() -> float | None:
        return REGISTRY.get_sample_value("moderation_consumer_lag", {"topic": settings.input_topic, "partition": "0"})

    async def more(count: int) -> None:
        await send(settings, [post_record(settings.input_topic, f"p{number}") for number in range(count)])

    await more(50)
    judge = Away()
    async with running(settings, judge):
        await eventually(lambda: judge.now == 6, "the partition is full")
        await eventually(lambda: lag() == 50, "all are behind")
        await more(100)
        await eventually(lambda: lag() == 150, "what came while it was paused counts")
        sender = clients.producer(settings, f"{unique}.sender")
        await sender.start()
        await sender.begin_transaction()
        held = post_record(settings.input_topic, "held")
        await sender.send_and_wait(held.topic, held.value, held.key)
        await more(100)
        asked = REGISTRY.get_sample_value("moderation_backpressure_seconds_total") or 0.0
        await eventually(
            lambda: (REGISTRY.get_sample_value("moderation_backpressure_seconds_total") or 0.0) > asked + 3,
            "it was asked again",
        )
        assert lag() == 150, "behind an open transaction nothing can be read"
        await sender.commit_transaction()
        await sender.stop()
        await eventually(lambda: lag() == 252, "the record, its marker, and those behind it")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells the most memory of a process")
async def test_a_workers_memory_stays_within_what_the_settings_say_though_records_inflate_without_end(
    kafka: str, unique: str, tmp_path: Path
) -> None:
    """The formula of docs/explanation/delivery.md, for one broker."""
    settings = kafka_settings(kafka, unique, max_in_flight_bytes=4 * MIB, max_message_bytes=MIB)
    await make_topics(settings, 4)
    roomy = settings.model_copy(update={"max_message_bytes": 128 * MIB})
    with worker_processes() as processes:
        processes.append(WorkerProcess(settings, tmp_path / "worker.log"))

        def peak() -> int:
            status = Path(f"/proc/{processes[0].pid}/status").read_text(encoding="utf-8")
            return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

        await send(settings, [post_record(settings.input_topic, f"p{number}", "x" * 500_000) for number in range(8)])
        await published(settings, 8)
        before = peak()
        bomb = post_record(settings.input_topic, "bomb", "x" * 64 * MIB)
        for partition in range(4):
            await send(roomy, [replace(bomb, partition=partition)])
        seen = await published(settings, 12)
        assert len(seen.dead) == 4
        allowed = 7 * settings.max_in_flight_bytes + 6 * record_limit(settings)
        assert allowed < 64 * MIB, "what one of them inflates to"
        assert peak() - before <= allowed
