"""Reading and writing whole topics without a consumer group, and transactions: for commands and the console."""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError, ProducerFenced

from moderation_service.contracts.envelope import Headers, event_headers
from moderation_service.contracts.post import Post
from moderation_service.errors import Fatal, Transient
from moderation_service.kafka.aiokafka_workarounds import force_close
from moderation_service.kafka.clients import producer, wait_for_broker
from moderation_service.kafka.topic_consumer import Offsets, TopicConsumer
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry.audit import AuditEntry

_CLOSE_S = 5.0
_AUDIT_S = 10.0
_UNDER_WAY = 1000  # records sent and not yet acknowledged

log = structlog.get_logger(__name__)


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
    await wait_for_broker(settings)
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
        await force_close(sender, _CLOSE_S)
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
    with _fatal(f"topic {topic} can't be read"):
        async with TopicConsumer.open(settings, [topic]) as consumer:
            async for batch in consumer.batches(until=None if follow else await consumer.ends()):
                for record in batch.records:
                    yield record


async def read_since(settings: KafkaSettings, topic: str, since: datetime) -> AsyncIterator[ConsumerRecord]:
    """Give the committed records of a topic from the first of that time or later to its present end.

    Transactions that are open now are waited for: none that was begun before is missed. Raises as `read`.
    """
    with _fatal(f"topic {topic} can't be read"):
        begins, ends = await span_since(settings, [topic], since)
        async with TopicConsumer.open(settings, [topic], begins) as consumer:
            async for batch in consumer.batches(until=ends):
                for record in batch.records:
                    yield record


async def span_since(settings: KafkaSettings, topics: Iterable[str], since: datetime) -> tuple[Offsets, Offsets]:
    """Where each partition's records of that time or later begin, and where it ends now, open transactions included.

    Raises as `TopicConsumer.open`.
    """
    async with TopicConsumer.open(settings, topics, isolation="read_uncommitted") as looker:
        ends = await looker.ends()
        return await looker.offsets_at(since), ends


async def _each(records: Iterable[Record] | AsyncIterable[Record]) -> AsyncIterator[Record]:
    if isinstance(records, AsyncIterable):
        async for record in records:
            yield record
    else:
        for record in records:
            yield record


def post_record(settings: KafkaSettings, post: Post) -> Record:
    """A post as a record of the input topic."""
    headers = [("content-type", b"application/json")]
    return Record(settings.input_topic, post.post_id.encode(), post.model_dump_json().encode(), headers)


async def emit_audit(settings: KafkaSettings, entry: AuditEntry) -> None:
    """Write an entry to the audit topic. One that can't be written is logged whole, and raises nothing."""
    try:
        async with asyncio.timeout(_AUDIT_S):
            await publish(settings, [audit_record(settings, entry)])
    except Exception as error:  # noqa: BLE001 - what the entry is about is done already
        why = f"{type(error).__name__}: {error}"[:300]
        log.error("audit entry not written", error=why, entry=entry.model_dump(mode="json"))  # noqa: TRY400


def audit_record(settings: KafkaSettings, entry: AuditEntry) -> Record:
    """The record, a CloudEvent whose id is the entry's and whose subject is what was done something to."""
    headers = event_headers("audit", entry.audit_id, entry.target, entry.at)
    return Record(settings.audit_topic, entry.action.encode(), entry.model_dump_json().encode(), headers)


@asynccontextmanager
async def transactions(
    settings: KafkaSettings, name: str | None
) -> AsyncIterator[Callable[[Sequence[Record]], Awaitable[None]]]:
    """Give what writes records in one transaction; who enters with the same `name` later fences us.

    Without a name it is not a transaction, and some of the records may be written where others fail.

    Entering and writing raise Fatal where the broker is away, refuses a record, or we are fenced.
    """
    await wait_for_broker(settings)
    sender = producer(settings, name)

    async def write(records: Sequence[Record]) -> None:
        with _fatal("records were not written"):
            # two clocks: when the inner one runs out the transaction is aborted, and that may hang as well
            async with (
                asyncio.timeout(settings.request_timeout_s + _CLOSE_S),
                asyncio.timeout(settings.request_timeout_s),
                sender.transaction() if name else nullcontext(),
            ):
                await asyncio.gather(*[await send(sender, record) for record in records])

    try:
        with _fatal("records were not written"):
            async with asyncio.timeout(settings.request_timeout_s):
                await sender.start()
        yield write
    finally:
        await force_close(sender, _CLOSE_S)


@contextmanager
def _fatal(what: str) -> Iterator[None]:
    try:
        yield
    except ProducerFenced:
        msg = "another was started elsewhere, and this one ends; what it wrote so far stays"
        raise Fatal(msg) from None
    except (KafkaError, TimeoutError, Transient) as error:
        msg = f"{what}: {error or type(error).__name__}"
        raise Fatal(msg) from error
