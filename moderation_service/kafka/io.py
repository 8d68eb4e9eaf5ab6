"""Reading and writing whole topics, without a group: for commands and tests."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass, field

from aiokafka import AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from moderation_service.contracts.envelope import Headers
from moderation_service.errors import Fatal
from moderation_service.kafka.clients import consumer, producer
from moderation_service.kafka.closing import close
from moderation_service.kafka.reach import reach
from moderation_service.kafka.topics import connected, partitions_of
from moderation_service.settings import KafkaSettings

_CLOSE_S = 5.0
_POLL_MS = 200
_UNDER_WAY = 1000  # records sent and not yet acknowledged


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be written; a `value` of None deletes the key, a `partition` of None follows from the key."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers = field(default_factory=list)
    partition: int | None = None


async def publish(settings: KafkaSettings, records: Iterable[Record] | AsyncIterable[Record]) -> int:
    """Write records, each acknowledged by all in-sync replicas; how many.

    Raises Fatal where the broker is away or refuses one.
    """
    await reach(settings)
    sender = producer(settings)
    count, waiting = 0, []
    try:
        await sender.start()
        async for record in _each(records):
            waiting.append(await send(sender, record))
            count += 1
            if len(waiting) >= _UNDER_WAY:
                for acknowledged in waiting:
                    await acknowledged
                waiting.clear()
        for acknowledged in waiting:
            await acknowledged
    except KafkaError as error:
        msg = f"record {count} was not written: {error or type(error).__name__}"
        raise Fatal(msg) from error
    finally:
        await close(sender, _CLOSE_S)
    return count


async def send(sender: AIOKafkaProducer, record: Record) -> Awaitable[object]:
    """Hand a record over; what comes back is to be awaited until it is acknowledged."""
    sent: Awaitable[object] = await sender.send(
        record.topic, record.value, record.key, partition=record.partition, headers=record.headers
    )
    return sent


async def read(settings: KafkaSettings, topic: str, *, follow: bool = False) -> AsyncIterator[ConsumerRecord]:
    """Give the committed records of a topic from its beginning to its present end, or for ever.

    Records of one partition come in order. Raises Fatal where the broker is away or the topic is missing.
    """
    async with connected(settings) as client:
        numbers = await partitions_of(client, topic)
    if not numbers:
        msg = f"topic {topic}: missing; `moderation topics create` makes it"
        raise Fatal(msg)
    partitions = [TopicPartition(topic, number) for number in numbers]
    reader = consumer(settings, reset="earliest")
    try:
        await reader.start()
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        begins = await reader.beginning_offsets(partitions)
        for partition in partitions:
            reader.seek(partition, begins[partition])
        left = set(partitions)
        while left or follow:
            for records in (await reader.getmany(timeout_ms=_POLL_MS)).values():
                for record in records:
                    if follow or record.offset < ends[TopicPartition(record.topic, record.partition)]:
                        yield record
            # the position passes transaction markers; an offset of a record might never reach the end
            left = {partition for partition in left if await reader.position(partition) < ends[partition]}
    except KafkaError as error:
        msg = f"topic {topic} can't be read: {error or type(error).__name__}"
        raise Fatal(msg) from error
    finally:
        await close(reader, _CLOSE_S)


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record
