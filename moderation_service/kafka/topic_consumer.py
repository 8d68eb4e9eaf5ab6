"""Topic consumer: reads whole topics from offsets that its user stores, for sinks that react to verdicts."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from moderation_service.errors import Transient
from moderation_service.kafka.aiokafka_workarounds import FetchBuffer, force_close
from moderation_service.kafka.clients import consumer, wait_for_broker
from moderation_service.kafka.record_sizes import bytes_of
from moderation_service.kafka.topics import connected, partitions_of
from moderation_service.settings import MIB, KafkaSettings

Offsets = dict[tuple[str, int], int]
"""By topic and number of the partition: the offset of the next record."""

_CLOSE_S = 5.0
_TOGETHER_BYTES = 4 * MIB
_ANSWER_S = 10.0
_WAIT_S = 0.2
_LOOK_FOR_PARTITIONS_S = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Committed records, those of one partition in order; store its `offsets` with what was made of them."""

    records: Sequence[ConsumerRecord]

    @property
    def offsets(self) -> Offsets:
        """Where reading goes on behind it."""
        return {(record.topic, record.partition): record.offset + 1 for record in self.records}


class TopicConsumer:
    """Reads every partition, as a member of no group; one at a time, or each of them has all records.

    A sink that stores the offsets in one transaction with its data counts each record once. One that has no such store
    commits them to Kafka after its work, and may see records again that preceded a kill.
    """

    def __init__(self, reader: AIOKafkaConsumer, topics: Iterable[str]) -> None:
        self._reader = reader
        self._buffer = FetchBuffer(reader)
        self._topics = tuple(topics)
        self.close_behind_s = 0.02  # how soon more must come to be taken along

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: KafkaSettings,
        topics: Iterable[str],
        offsets: Mapping[tuple[str, int], int] | None = None,
        *,
        group: str | None = None,
        isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    ) -> AsyncIterator[Self]:
        """Read from these offsets, or from those that `group` committed; a partition without one from its beginning.

        Raises Fatal where the broker is away, Transient where a topic is missing, or the broker goes away meanwhile.
        """
        topics = tuple(topics)
        await wait_for_broker(settings)
        async with connected(settings) as client:
            numbers = {topic: await partitions_of(client, topic) for topic in topics}
        if missing := [topic for topic, found in numbers.items() if not found]:
            msg = f"topic {', '.join(missing)}: missing; `moderation topics create` makes it"
            raise Transient("topic_missing", msg)
        partitions = [TopicPartition(topic, number) for topic, found in numbers.items() for number in found]
        reader = consumer(settings, group=group, reset="earliest", isolation=isolation)
        try:
            with _transient():
                await reader.start()
                if group is not None:
                    found = {at: await reader.committed(at) for at in partitions}
                    offsets = {at: offset for at, offset in found.items() if offset is not None}
                await _read_from(reader, partitions, offsets or {})
            yield cls(reader, topics)
        finally:
            await force_close(reader, _CLOSE_S)

    async def batches(self, at_most: int = 500, *, until: Offsets | None = None) -> AsyncIterator[Batch]:
        """Give what comes up to these offsets, or for ever; then new partitions are read too. Raises Transient."""
        looked = time.monotonic()
        while until is None or not await self.has_reached(until):
            records = await self.take(at_most, _WAIT_S)
            if until is not None:
                records = [record for record in records if record.offset < until[record.topic, record.partition]]
            elif time.monotonic() - looked > _LOOK_FOR_PARTITIONS_S:
                await self.add_new_partitions()
                looked = time.monotonic()
            if records:
                yield Batch(records)

    async def take(self, at_most: int, wait_s: float) -> list[ConsumerRecord]:
        """What comes within `wait_s` seconds, and for as long at most what comes close behind it. Raises Transient."""
        records = more = await self._take_some(at_most, wait_s, _TOGETHER_BYTES)
        size, end = _size(more), time.monotonic() + wait_s
        # one answer of a broker may hold few records
        while more and len(records) < at_most and size < _TOGETHER_BYTES and time.monotonic() < end:
            more = await self._take_some(at_most - len(records), self.close_behind_s, _TOGETHER_BYTES - size)
            records, size = records + more, size + _size(more)
        return records

    async def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Store offsets in Kafka, for the group that it was opened with. Raises Transient."""
        with _transient():
            await self._reader.commit({TopicPartition(*at): offset for at, offset in offsets.items()})

    async def ends(self) -> Offsets:
        """Where each partition ends now. Raises Transient."""
        with _transient():
            async with asyncio.timeout(_ANSWER_S):
                return dict(await self._reader.end_offsets(self._reader.assignment()))

    async def committed(self) -> Offsets:
        """What the group that it was opened with has committed. Raises Transient."""
        with _transient():
            async with asyncio.timeout(_ANSWER_S):
                found = {at: await self._reader.committed(at) for at in self._reader.assignment()}
        return {(at.topic, at.partition): offset for at, offset in found.items() if offset is not None}

    async def lags(self) -> Offsets:
        """How many offsets of each partition are still to be taken. Raises Transient."""
        return {at: max(0, end - await self._position(at)) for at, end in (await self.ends()).items()}

    async def has_reached(self, offsets: Offsets) -> bool:
        """By the position: it passes markers of transactions, so an offset of a record might never get there."""
        return all([await self._position(at) >= offset for at, offset in offsets.items()])

    async def add_new_partitions(self) -> None:
        """Read partitions that were added to the topics, from their beginning. Raises Transient."""
        known, paused = self._reader.assignment(), self._reader.paused()
        found = {
            TopicPartition(topic, number)
            for topic in self._topics
            for number in self._reader.partitions_for_topic(topic) or ()
        }
        if found <= known:
            return
        with _transient():
            async with asyncio.timeout(_ANSWER_S):
                offsets = {at: await self._reader.position(at) for at in known}
                await _read_from(self._reader, found | known, offsets)
                self._reader.pause(*paused)

    def pause(self, topic: str) -> None:
        """Leave a topic alone."""
        self._reader.pause(*(at for at in self._reader.assignment() if at.topic == topic))

    def resume(self, topic: str) -> None:
        """Read it again."""
        self._reader.resume(*(at for at in self._reader.assignment() if at.topic == topic))

    async def offsets_at(self, since: datetime) -> Offsets:
        """Of each partition the first offset of that time or later, or its end. Raises Transient."""
        ends = await self.ends()
        with _transient():
            found = await self._reader.offsets_for_times(dict.fromkeys(ends, int(since.timestamp() * 1000)))
        return {at: found[at].offset if found.get(at) else end for at, end in ends.items()}

    async def _position(self, at: tuple[str, int]) -> int:
        with _transient():
            async with asyncio.timeout(_ANSWER_S):
                position: int = await self._reader.position(TopicPartition(*at))
                return position

    async def _take_some(self, at_most: int, wait_s: float, size: int) -> list[ConsumerRecord]:
        """What is there: so many records at most, and none after so many bytes."""
        among = self._reader.assignment() - self._reader.paused()
        with _transient():
            first = await self._buffer.first(among, wait_s)
            records = [] if first is None else [first]
            for partition in self._buffer.partitions if records else ():
                if partition in among:
                    left = at_most - len(records), size - _size(records)
                    records.extend(self._buffer.take(partition, *left))
            return records


async def _read_from(
    reader: AIOKafkaConsumer, partitions: Iterable[TopicPartition], offsets: Mapping[tuple[str, int], int]
) -> None:
    """Read these partitions, and no others, each from its offset or from its beginning."""
    reader.assign(list(partitions))
    unknown = [at for at in partitions if at not in offsets]
    begins = await reader.beginning_offsets(unknown) if unknown else {}
    for at in partitions:
        reader.seek(at, begins[at] if at in begins else offsets[at])


def _size(records: Iterable[ConsumerRecord]) -> int:
    return sum(map(bytes_of, records))


@contextmanager
def _transient() -> Iterator[None]:
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        msg = f"Kafka does not answer ({error or type(error).__name__})"
        raise Transient("kafka", msg) from error
