"""Polling, on a consumer that does as it is told."""

import asyncio

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    KafkaConnectionError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from moderation_service.errors import Fatal
from moderation_service.kafka.corrupt_batches import CorruptBatch
from moderation_service.stream import polling as module
from moderation_service.stream.polling import Polling


class Consumer:
    """Answers with `answers` in turn, the last one for ever; never waits."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.polls = 0

    async def getmany(self, timeout_ms: int) -> object:
        self.polls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def ignore(_: object) -> None:
    """Nothing is out of range here, and nothing corrupt."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE_S", 0.001)


async def test_polls_that_find_nothing_let_other_tasks_run() -> None:
    """Judging and heartbeats are tasks of the same loop."""
    consumer = Consumer({})
    others = 0

    async def another() -> None:
        nonlocal others
        while others < 5:
            await asyncio.sleep(0)
            others += 1

    task = asyncio.create_task(another())
    polling = Polling(consumer, ignore, ignore)  # type: ignore[arg-type]
    for _ in range(20):
        assert await polling.poll() == {}
    assert others == 5
    await task


UNDECODABLE = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


@pytest.mark.parametrize("error", [UNDECODABLE, CorruptRecordException("crc")], ids=["undecodable", "corrupt"])
async def test_what_waiting_does_not_mend_is_fatal_soon_also_between_polls_that_go_well(error: Exception) -> None:
    consumer = Consumer(*[answer for _ in range(4) for answer in (error, {})], error)
    polling = Polling(consumer, ignore, ignore)  # type: ignore[arg-type]
    found = [await polling.poll() for _ in range(8)]
    assert found == [None, {}] * 4
    with pytest.raises(Fatal, match="the input topic can't be read"):
        await polling.poll()


async def test_offsets_out_of_range_are_handed_on_and_a_partition_without_any_is_waited_for() -> None:
    partition = TopicPartition("posts", 3)
    consumer = Consumer(NoOffsetForPartitionError(partition), OffsetOutOfRangeError({partition: 17}), {})
    heard: list[object] = []
    polling = Polling(consumer, heard.append, ignore)  # type: ignore[arg-type]
    assert [await polling.poll() for _ in range(100)] == [{}] * 100
    assert heard == [{partition: 17}]


async def test_a_broker_that_is_away_is_borne_for_longer() -> None:
    polling = Polling(Consumer(KafkaConnectionError("away")), ignore, ignore)  # type: ignore[arg-type]
    for _ in range(59):
        assert await polling.poll() is None
    with pytest.raises(Fatal, match="the input topic can't be read: KafkaConnectionError"):
        await polling.poll()


async def test_a_corrupt_batch_is_handed_on_however_often_it_comes() -> None:
    batch = CorruptBatch(TopicPartition("posts", 3), 17, 20, ValueError("crc"))
    heard: list[object] = []
    polling = Polling(Consumer(batch), ignore, heard.append)  # type: ignore[arg-type]
    assert [await polling.poll() for _ in range(100)] == [None] * 100
    assert heard == [batch] * 100
