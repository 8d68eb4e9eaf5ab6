"""Reading and writing whole topics without a consumer group, and transactions: for commands and the console."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced

from moderation_service.contracts.envelope import Headers, event_headers
from moderation_service.errors import Fatal
from moderation_service.kafka.aiokafka_workarounds import close
from moderation_service.kafka.clients import consumer, producer, reach
from moderation_service.kafka.topics import connected, partitions_of
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry

_CLOSE_S = 5.0
_POLL_MS = 200
_TOGETHER = 500  # records in memory
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
    partitions = await _partitions(settings, topic)
    async with _reading(consumer(settings, reset="earliest"), topic) as reader:
        begins, ends = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
        async for record in _between(reader, begins, ends, follow=follow):
            yield record


async def read_since(settings: KafkaSettings, topic: str, since: datetime) -> AsyncIterator[ConsumerRecord]:
    """Give the committed records of a topic from the first of that time or later to its present end.

    Transactions that are open now are waited for: none that was begun before is missed. Raises as `read`.
    """
    partitions = await _partitions(settings, topic)
    wanted = dict.fromkeys(partitions, int(since.timestamp() * 1000))
    async with _reading(consumer(settings, isolation="read_uncommitted"), topic) as looker:
        ends = await looker.end_offsets(partitions)
        found = await looker.offsets_for_times(wanted)
    begins = {partition: found[partition].offset if found.get(partition) else end for partition, end in ends.items()}
    async with _reading(consumer(settings, reset="earliest"), topic) as reader:
        async for record in _between(reader, begins, ends):
            yield record


async def _partitions(settings: KafkaSettings, topic: str) -> list[TopicPartition]:
    async with connected(settings) as client:
        numbers = await partitions_of(client, topic)
    if not numbers:
        msg = f"topic {topic}: missing; `moderation topics create` makes it"
        raise Fatal(msg)
    return [TopicPartition(topic, number) for number in numbers]


@asynccontextmanager
async def _reading(reader: AIOKafkaConsumer, topic: str) -> AsyncIterator[AIOKafkaConsumer]:
    try:
        await reader.start()
        yield reader
    except KafkaError as error:
        msg = f"topic {topic} can't be read: {error or type(error).__name__}"
        raise Fatal(msg) from error
    finally:
        await close(reader, _CLOSE_S)


async def _between(
    reader: AIOKafkaConsumer,
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    *,
    follow: bool = False,
) -> AsyncIterator[ConsumerRecord]:
    reader.assign(list(begins))
    for partition, begin in begins.items():
        reader.seek(partition, begin)
    left = set(ends)
    while left or follow:
        for records in (await reader.getmany(timeout_ms=_POLL_MS, max_records=_TOGETHER)).values():
            for record in records:
                if follow or record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    yield record
        # the position passes transaction markers; an offset of a record might never reach the end
        left = {partition for partition in left if await reader.position(partition) < ends[partition]}


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record


def audit_record(settings: KafkaSettings, entry: AuditEntry) -> Record:
    """The record, a CloudEvent whose id is the entry's and whose subject is what was done something to."""
    headers = event_headers("audit", entry.audit_id, entry.target, entry.at)
    return Record(settings.audit_topic, entry.action.encode(), entry.model_dump_json().encode(), headers)


@asynccontextmanager
async def transactions(
    settings: KafkaSettings, name: str | None
) -> AsyncIterator[Callable[[Sequence[Record]], Awaitable[None]]]:
    """Give what writes records in one transaction; who enters with the same `name` later fences us.

    Without a name it is no transaction, and some of the records may be written where others fail.

    Entering and writing raise Fatal where the broker is away, refuses a record, or we are fenced.
    """
    await reach(settings)
    sender = producer(settings, name)

    async def write(records: Sequence[Record]) -> None:
        with _told():
            # two clocks: when the inner one runs out the transaction is aborted, and that may hang as well
            async with (
                asyncio.timeout(settings.request_timeout_s + _CLOSE_S),
                asyncio.timeout(settings.request_timeout_s),
                sender.transaction() if name else nullcontext(),
            ):
                for acknowledged in [await send(sender, record) for record in records]:
                    await acknowledged

    try:
        with _told():
            async with asyncio.timeout(settings.request_timeout_s):
                await sender.start()
        yield write
    finally:
        await close(sender, _CLOSE_S)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ProducerFenced:
        msg = "another was started elsewhere, and this one ends; what it wrote so far stays"
        raise Fatal(msg) from None
    except (KafkaError, TimeoutError) as error:
        msg = f"records were not written: {error or type(error).__name__}"
        raise Fatal(msg) from error
