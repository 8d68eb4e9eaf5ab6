"""Polling, on a consumer that does as it is told."""

import asyncio
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from moderation_service.errors import Fatal
from moderation_service.kafka.record_sizes import bytes_of
from moderation_service.stream.polling import Polling, ReadAhead
from tests.stream.records import record


class Source:
    """Answers with `answers` in turn, the last one for ever; never waits. More is there than it gives first."""

    def __init__(self, *answers: object, there: dict[TopicPartition, list[ConsumerRecord]] | None = None) -> None:
        self.answers = list(answers)
        self.there = there or {}
        self.waits: list[float] = []

    @property
    def partitions(self) -> list[TopicPartition]:
        return list(self.there)

    async def first(self, among: AbstractSet[TopicPartition], wait_s: float) -> ConsumerRecord | None:
        del among
        self.waits.append(wait_s)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[return-value]

    def take(self, partition: TopicPartition, records: int, size: int) -> Iterator[ConsumerRecord]:
        while self.there[partition] and records > 0 and size > 0:
            records, size = records - 1, size - bytes_of(self.there[partition][0])
            yield self.there[partition].pop(0)


A, B, C = (TopicPartition("moderation.posts", number) for number in (3, 4, 5))


async def poll(polling: Polling, ahead: ReadAhead | None = None) -> object:
    """The batches; None where they are to be fetched again."""
    polled = await polling.poll({A, B}, ahead or ReadAhead(8, 1000, 2, []), backpressure=False)
    return None if polled.failed else polled.batches


def polling_of(source: Source) -> Polling:
    return Polling(source, pause_s=0.001)


async def test_polls_that_find_nothing_let_other_tasks_run() -> None:
    """Judging and heartbeats are tasks of the same loop."""
    consumer = Source(None)
    others = 0

    async def another() -> None:
        nonlocal others
        while others < 5:
            await asyncio.sleep(0)
            others += 1

    task = asyncio.create_task(another())
    polling = polling_of(consumer)
    for _ in range(20):
        assert await poll(polling) == {}
    assert others == 5
    await task


UNDECODABLE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


@pytest.mark.parametrize("error", [UNDECODABLE, CorruptRecordException("crc")], ids=["undecodable", "corrupt"])
async def test_what_waiting_does_not_mend_is_fatal_soon_also_between_polls_that_go_well(error: Exception) -> None:
    consumer = Source(*[answer for _ in range(4) for answer in (error, None)], error)
    polling = polling_of(consumer)
    found = [await poll(polling) for _ in range(8)]
    assert found == [None, {}] * 4
    with pytest.raises(Fatal, match="the input topic can't be read"):
        await poll(polling)


async def test_offsets_out_of_range_are_handed_on_and_a_partition_without_any_is_waited_for() -> None:
    partition = TopicPartition("posts", 3)
    consumer = Source(NoOffsetForPartitionError(partition), OffsetOutOfRangeError({partition: 17}), None)
    polling = polling_of(consumer)
    polled = [await polling.poll({A, B}, ReadAhead(8, 1000, 2, []), backpressure=False) for _ in range(100)]
    assert [(each.failed, each.batches) for each in polled] == [(False, {})] * 100
    assert [each.out_of_range for each in polled if each.out_of_range] == [{partition: 17}]


async def test_a_broker_that_is_away_is_borne_for_longer() -> None:
    polling = polling_of(Source(KafkaConnectionError("away")))
    for _ in range(59):
        assert await poll(polling) is None
    with pytest.raises(Fatal, match="the input topic can't be read: KafkaConnectionError"):
        await poll(polling)


def records(count: int, partition: TopicPartition = A) -> list[ConsumerRecord]:
    """Records of 11 bytes."""
    made = (record(b"x" * 10, offset=offset) for offset in range(count))
    return [replace(each, topic=partition.topic, partition=partition.partition) for each in made]


async def test_a_poll_takes_of_each_partition_its_part_or_half_of_what_may_wait() -> None:
    first, *rest = records(500)
    source = Source(first, there={A: rest, B: records(500, B), C: records(1, C)})
    found = await poll(polling_of(source), ReadAhead(64, 100_000, 2, []))
    assert isinstance(found, dict)
    assert {partition: [each.offset for each in taken] for partition, taken in found.items()} == {
        A: list(range(1 + 16)),
        B: list(range(16)),
    }, "of partitions that nobody asked for nothing is taken"


async def test_a_poll_takes_no_more_bytes_than_may_wait_and_one_record() -> None:
    first, *rest = records(500)
    source = Source(first, there={A: rest, B: records(500, B)})
    found = await poll(polling_of(source), ReadAhead(1000, 100, 2, [40, 20]))
    assert isinstance(found, dict)
    assert {partition: len(taken) for partition, taken in found.items()} == {A: 4}


async def test_while_some_partition_is_full_a_poll_does_not_wait_long_for_the_others() -> None:
    source = Source(None)
    polling = polling_of(source)
    for backpressure in (False, True):
        await polling.poll({A}, ReadAhead(8, 1000, 2, []), backpressure=backpressure)
    assert source.waits[1] < source.waits[0] / 4
