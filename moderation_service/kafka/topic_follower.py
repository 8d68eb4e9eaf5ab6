"""Following whole topics from offsets that the caller keeps: no group, so nothing is ever committed to Kafka."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from moderation_service.errors import Transient
from moderation_service.kafka.aiokafka_workarounds import FetchBuffer, close
from moderation_service.kafka.clients import consumer, reach
from moderation_service.kafka.sizes import bytes_of
from moderation_service.kafka.topics import connected, partitions_of
from moderation_service.settings import MIB, KafkaSettings

Place = tuple[str, int]
"""A topic and the number of a partition."""

_CLOSE_S = 5.0
_CLOSE_BEHIND_S = 0.02
_TOGETHER_BYTES = 4 * MIB
_ANSWER_S = 10.0


class Follower:
    """The committed records of some topics, those of one partition in order."""

    def __init__(self, reader: AIOKafkaConsumer, topics: Iterable[str]) -> None:
        """See `following`."""
        self._reader = reader
        self._buffer = FetchBuffer(reader)
        self._topics = tuple(topics)

    async def take(self, at_most: int, wait_s: float) -> list[ConsumerRecord]:
        """What comes within `wait_s` seconds, and for as long at most what comes close behind it.

        Raises Transient for a partition that can't be read.
        """
        records = more = await self._some(at_most, wait_s, _TOGETHER_BYTES)
        size, end = _bytes(more), time.monotonic() + wait_s
        # one answer of a broker may hold few records
        while more and len(records) < at_most and size < _TOGETHER_BYTES and time.monotonic() < end:
            more = await self._some(at_most - len(records), _CLOSE_BEHIND_S, _TOGETHER_BYTES - size)
            records, size = records + more, size + _bytes(more)
        return records

    async def _some(self, at_most: int, wait_s: float, size: int) -> list[ConsumerRecord]:
        """What is there: so many records at most, and none after so many bytes."""
        among = self._reader.assignment() - self._reader.paused()
        try:
            first = await self._buffer.first(among, wait_s)
            records = [] if first is None else [first]
            for partition in self._buffer.partitions if records else ():
                if partition in among:
                    left = at_most - len(records), size - _bytes(records)
                    records.extend(self._buffer.take(partition, *left))
        except KafkaError as error:
            raise _away(error) from error
        return records

    async def lags(self) -> dict[Place, int]:
        """How many offsets of each partition are still to be taken; new partitions are followed from now on.

        Raises Transient where the brokers don't answer.
        """
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._add_new()
                ends = await self._reader.end_offsets(self._reader.assignment())
                taken = {partition: await self._reader.position(partition) for partition in ends}
        except (KafkaError, TimeoutError) as error:
            raise _away(error) from error
        return {(at.topic, at.partition): max(0, end - taken[at]) for at, end in ends.items()}

    def hold(self, topic: str, *, held: bool) -> None:
        """Leave a topic alone, or take it again."""
        change = self._reader.pause if held else self._reader.resume
        change(*(at for at in self._reader.assignment() if at.topic == topic))

    async def _add_new(self) -> None:
        known = self._reader.assignment()
        found = {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in self._reader.partitions_for_topic(topic) or ()
        }
        if found <= known:
            return
        paused = self._reader.paused()
        places = {at: await self._reader.position(at) for at in known}
        await start_at(self._reader, found | known, {(at.topic, at.partition): offset for at, offset in places.items()})
        self._reader.pause(*paused)


@asynccontextmanager
async def following(
    settings: KafkaSettings, topics: Iterable[str], offsets: Mapping[Place, int]
) -> AsyncIterator[Follower]:
    """Follow all partitions, each from its offset, or from its beginning where there is none (any more).

    Raises Fatal where the broker is away or a topic is missing, Transient where it goes away meanwhile.
    """
    topics = tuple(topics)
    await reach(settings)
    async with connected(settings) as client:
        numbers = {topic: await partitions_of(client, topic) for topic in topics}
    if missing := [topic for topic, found in numbers.items() if not found]:
        raise Transient("topic_missing", f"topic {', '.join(missing)}: missing; `moderation topics create` makes it")
    reader = consumer(settings, reset="earliest")
    try:
        try:
            await reader.start()
            partitions = {TopicPartition(topic, number) for topic, found in numbers.items() for number in found}
            await start_at(reader, partitions, offsets)
        except KafkaError as error:
            raise _away(error) from error
        yield Follower(reader, topics)
    finally:
        await close(reader, _CLOSE_S)


async def start_at(
    reader: AIOKafkaConsumer, partitions: Iterable[TopicPartition], offsets: Mapping[Place, int]
) -> None:
    """Read these partitions, and no others, each from its offset or from its beginning."""
    reader.assign(list(partitions))
    unknown = [at for at in partitions if (at.topic, at.partition) not in offsets]
    begins = await reader.beginning_offsets(unknown) if unknown else {}
    for at in partitions:
        reader.seek(at, begins[at] if at in begins else offsets[at.topic, at.partition])


def _bytes(records: Iterable[ConsumerRecord]) -> int:
    return sum(map(bytes_of, records))


def _away(error: Exception) -> Transient:
    return Transient("kafka", f"Kafka does not answer ({error or type(error).__name__})")
