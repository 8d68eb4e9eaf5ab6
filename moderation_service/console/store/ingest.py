"""Kafka's topics into the database, each record once: the offsets are written with the rows that they count."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

import asyncpg
import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import posts, reviews, verdicts
from moderation_service.console.store.database import truncate_log
from moderation_service.console.store.leader_lock import leadership
from moderation_service.console.store.record_sorting import Arrivals, StoredRecord, arrivals
from moderation_service.console.store.routed import audit_kept
from moderation_service.console.store.tables import offsets
from moderation_service.errors import Fatal, Transient
from moderation_service.kafka.topic_consumer import Offsets, TopicConsumer
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit, metrics

TOGETHER = 500  # records in one transaction
_WAIT_S = 0.2
_AGAIN_S = 5.0
_LOOK_S = 5.0  # how often it is asked how far behind this is, which also tells that Kafka is away
_BEHIND = 1000  # verdicts; while there are more to read, posts wait: most of them need not be kept any more

log = structlog.get_logger(__name__)


class OffsetConflict(Exception):  # noqa: N818 - a fate, not a fault
    """Another console wrote what this one read."""


async def read_offsets(database: AsyncEngine) -> Offsets:
    """Where reading goes on, by topic and partition."""
    async with database.connect() as connection:
        rows = await connection.execute(select(offsets))
        return {(row.topic, row.partition): row.next_offset for row in rows}


async def move_offsets(connection: AsyncConnection, before: Offsets, after: Offsets) -> None:
    """Move the offsets on. Raises OffsetConflict if they are not what they were."""
    for (topic, partition), end in sorted(after.items()):
        if (known := before.get((topic, partition))) is None:
            try:
                async with connection.begin_nested():
                    row = {"topic": topic, "partition": partition, "next_offset": end}
                    await connection.execute(insert(offsets).values(row))
            except IntegrityError:
                raise OffsetConflict from None
            continue
        at = (offsets.c.topic == topic, offsets.c.partition == partition, offsets.c.next_offset == known)
        if not (await connection.execute(update(offsets).where(*at).values(next_offset=end))).rowcount:
            raise OffsetConflict


class Ingest:
    """Reads posts, verdicts and reviews for as long as it runs; of several consoles one at a time."""

    def __init__(self, context: ConsoleContext) -> None:
        """`context.held` tells while Kafka or the database is away."""
        self._context = context
        self._database = context.database
        self._kafka = context.settings.kafka
        self._ends: Offsets = {}
        self.wrote = asyncio.Event()  # set after every transaction

    async def run(self) -> None:
        """Read until cancelled. While Kafka or the database is away all waits, and is tried again."""
        while True:
            try:
                async with leadership(self._database, "ingest"):
                    await self._follow()
            except OffsetConflict:
                log.info("another console reads the topics too; this one restarts from its offsets")
            except (Fatal, Transient, SQLAlchemyError, OSError) as error:
                # the database's own message may quote rows; of Kafka nothing but the first two comes
                away = isinstance(error, (SQLAlchemyError, OSError))
                self._hold("the database does not answer" if away else str(error))
                await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        self._ends = await read_offsets(self._database)
        topics = (self._kafka.output_topic, *self._kafka.input_topics, self._kafka.review_topic)
        try:
            async with (
                TopicConsumer.open(self._kafka, topics, self._ends) as consumer,
                aclosing(self._batches(consumer)) as batches,
            ):
                await self.write_all(batches)
        finally:
            metrics.CONSOLE_LAG.clear()  # the console that reads next tells it

    async def _batches(self, consumer: TopicConsumer) -> AsyncGenerator[Sequence[StoredRecord], None]:
        """What comes, for ever; how far behind this is is looked at in between."""
        looked, behind, records = 0.0, True, list[StoredRecord]()
        while True:
            if time.monotonic() - looked >= _LOOK_S or (behind and not records):
                behind, looked = await self._look(consumer), time.monotonic()
            if records := await consumer.take(TOGETHER, _WAIT_S):
                yield records

    async def _look(self, consumer: TopicConsumer) -> bool:
        """Ask how far behind this is; whether posts wait for that."""
        await consumer.add_new_partitions()
        lags = await consumer.lags()
        self._hold(None)
        for (topic, partition), lag in lags.items():
            metrics.CONSOLE_LAG.labels(topic, partition).set(lag)
        behind = sum(lag for (topic, _), lag in lags.items() if topic == self._kafka.output_topic) > _BEHIND
        for topic in self._kafka.input_topics:
            (consumer.pause if behind else consumer.resume)(topic)
        return behind

    async def write_all(self, batches: AsyncIterator[Sequence[StoredRecord]]) -> None:
        """Write batches of records in order; the next one is read while one is written. Raises as `write`."""

        async def read() -> tuple[Sequence[StoredRecord], Arrivals] | None:
            records = await anext(batches, None)
            return None if records is None else (records, await self._sorted(records))

        reading = asyncio.create_task(read())
        try:
            while (batch := await reading) is not None:
                reading = asyncio.create_task(read())
                await self._put(*batch)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def write(self, records: Sequence[StoredRecord]) -> None:
        """Write what records say, and the offsets behind them, in one transaction.

        What the database refuses is tried a record at a time, and the one that it refuses is left out. Raises
        Elsewhere, and SQLAlchemyError where the database is away.
        """
        await self._put(records, await self._sorted(records))

    async def _sorted(self, records: Sequence[StoredRecord]) -> Arrivals:
        return await asyncio.to_thread(arrivals, records, self._kafka)

    async def _put(self, records: Sequence[StoredRecord], found: Arrivals) -> None:
        try:
            await self._write(found)
        except (DBAPIError, OverflowError, UnicodeError) as error:
            if not _of_a_row(error):
                raise
            if len(records) == 1:
                await self._write(Arrivals(refused=[(records[0], "wrong_row")], ends=found.ends))
            else:
                for record in records:
                    await self.write([record])
        self.wrote.set()

    async def _write(self, found: Arrivals) -> None:
        async with self._database.begin() as connection:
            await verdicts.alone(connection)
            await move_offsets(connection, self._ends, found.ends)
            if found.deleted_verdicts:
                held = await verdicts.erase(connection, found.deleted_verdicts)
                await audit_kept(connection, self._context, held, actor=audit.process())
            new = await verdicts.put_rows(connection, found.verdicts) if found.verdicts else 0
            if found.deleted_posts:
                await posts.erase(connection, found.deleted_posts)
            if found.posts:
                await posts.put_rows(connection, found.posts)
            for review in found.reviews:
                if review.post_id not in found.deleted_verdicts:  # else it would outlive its post
                    await reviews.put(connection, review)
        self._ends |= found.ends
        if any(row["route"] for row in found.verdicts):
            await truncate_log(self._database)
        _count(found, self._kafka, new)

    def _hold(self, why: str | None) -> None:
        """Say once that it waits, and once that it goes on."""
        if self._context.hold("ingest", why):
            if why is None:
                log.info("the topics are read again")
            else:
                log.warning("the topics are not read", error=why)


def _of_a_row(error: Exception) -> bool:
    """Whether it is a value that the database can't keep; not that it is away, or full."""
    if isinstance(error, DBAPIError) and not isinstance(error, DataError | IntegrityError):
        return isinstance(error.driver_exception, asyncpg.DataError)  # which SQLAlchemy leaves untranslated
    return True


def _count(found: Arrivals, kafka: KafkaSettings, new: int) -> None:
    for kind, outcome, count in (
        ("verdict", "taken", new),
        ("verdict", "known", len(found.verdicts) - new),
        ("verdict", "deleted", len(found.deleted_verdicts)),
        ("post", "taken", len(found.posts)),
        ("post", "deleted", len(found.deleted_posts)),
        ("review", "taken", len(found.reviews)),
    ):
        metrics.CONSOLE_RECORDS.labels(kind, outcome).inc(count)
    kinds = {kafka.output_topic: "verdict", kafka.review_topic: "review"}
    for record, reason in found.refused:
        metrics.CONSOLE_RECORDS.labels(kinds.get(record.topic, "post"), "refused").inc()
        place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
        log.warning("an invalid record was skipped", **place, reason=reason)
