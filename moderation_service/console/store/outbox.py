"""Transactional outbox: records for Kafka, kept in the transaction of the rows that they tell of, and their sender.

Each entry reaches its topic exactly once, even if the process is killed at any point. An entry leaves the outbox once
Kafka has it. A kill can come between the two, so a new sender first fences the one before it, by the transactional id
that all senders share, and then looks on the topics for the entries that are still in the outbox.
"""

import asyncio
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.backoff import Backoff
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.bank_quality import count_bank_reviews
from moderation_service.console.store.leader_lock import leadership
from moderation_service.console.store.tables import outbox, reviews, verdicts
from moderation_service.errors import Fatal
from moderation_service.kafka.topic_io import Record, audit_record, read_since, transactions
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import metrics
from moderation_service.telemetry.audit import AuditEntry

_BATCH = 20  # entries in a transaction: of the largest there may be, as much as fits in memory
_LOOK_S = 5.0  # how often the table is looked at, as other processes put entries in it too
_BACKOFF = Backoff(first_s=7.5, longest_s=7.5, jitter=2 / 3)  # two that fence each other must not retry in step
_CLOCK_SKEW_S = 3600.0  # by how much the clocks of two machines may differ

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A record and when it may go. `entry_id` is its `ce_id` header, by which it is found on its topic."""

    entry_id: str
    record: Record
    due_at: datetime


def audited(kafka: KafkaSettings, entry: AuditEntry) -> OutboxEntry:
    """An entry for the audit topic, due at once."""
    return OutboxEntry(entry.audit_id, audit_record(kafka, entry), entry.at)


async def put(connection: AsyncConnection, entry: OutboxEntry) -> None:
    """Add an entry, in the caller's transaction."""
    record = entry.record
    headers = [[name, value.decode()] for name, value in record.headers]
    row = {"topic": record.topic, "key": record.key, "value": record.value, "headers": headers, "taken": False}
    await connection.execute(insert(outbox).values(entry_id=entry.entry_id, due_at=entry.due_at, **row))


async def withdraw(connection: AsyncConnection, entry_id: str, now: datetime) -> bool:
    """Take an entry back; False if it is due, or on its way."""
    gone = delete(outbox).where(outbox.c.entry_id == entry_id, ~outbox.c.taken, outbox.c.due_at > now)
    return bool((await connection.execute(gone)).rowcount)


async def first_due(database: AsyncEngine) -> datetime | None:
    """When the next entry may go; None if there is none."""
    async with database.connect() as connection:
        first: datetime | None = (await connection.execute(select(func.min(outbox.c.due_at)))).scalar_one()
    return first


async def waiting(database: AsyncEngine, now: datetime) -> list[tuple[str, str, datetime]]:
    """Topic, id and time of every entry that was taken, each of which may be on its topic."""
    query = select(outbox.c.topic, outbox.c.entry_id, outbox.c.due_at).where(outbox.c.due_at <= now, outbox.c.taken)
    async with database.connect() as connection:
        return [(row.topic, row.entry_id, row.due_at) for row in await connection.execute(query)]


async def take(database: AsyncEngine, now: datetime, limit: int) -> list[OutboxEntry]:
    """The first entries that are due, in the order they came; from here on none of them can be withdrawn."""
    due = select(outbox.c.number).where(outbox.c.due_at <= now).order_by(outbox.c.number).limit(limit)
    query = update(outbox).where(outbox.c.number.in_(due)).values(taken=True).returning(outbox)
    async with database.begin() as connection:
        rows = sorted(await connection.execute(query), key=lambda row: row.number)
    return [
        OutboxEntry(
            row.entry_id,
            Record(row.topic, row.key, row.value, [(name, value.encode()) for name, value in row.headers]),
            row.due_at,
        )
        for row in rows
    ]


async def drop(database: AsyncEngine, entry_ids: Iterable[str]) -> None:
    """Remove entries that Kafka has."""
    if gone := [{"gone": entry_id} for entry_id in entry_ids]:
        async with database.begin() as connection:
            await connection.execute(delete(outbox).where(outbox.c.entry_id == bindparam("gone")), gone)


class OutboxSender:
    """Sends what is in the outbox; of several consoles on one database, the leader does."""

    def __init__(self, context: ConsoleContext, backoff: Backoff = _BACKOFF) -> None:
        self._context = context
        self._backoff = backoff
        self._database = context.database
        self._kafka = context.settings.kafka
        exactly_once = self._kafka.delivery == "exactly_once"
        self._transactional_id = f"{self._kafka.group}.console.outbox" if exactly_once else None

    async def run(self) -> None:
        """Send what is due, until cancelled. While Kafka or the database is away, all waits and is retried."""
        while True:
            try:
                async with leadership(self._database, "outbox"):
                    await self._due()
                    await self._send()
            except Fatal as error:
                self._hold(str(error))
            except (SQLAlchemyError, OSError) as error:  # whose words may quote a row
                self._hold(f"the database fails ({type(error).__name__})")
            await self._backoff.wait(1)

    async def _send(self) -> None:
        async with transactions(self._kafka, self._transactional_id) as write:
            await self._drop_sent()
            while True:
                if entries := await take(self._database, _now(), _BATCH):
                    await write([entry.record for entry in entries])
                    await self._done([entry.entry_id for entry in entries])
                self._hold(None)
                await self._due()

    async def _drop_sent(self) -> None:
        """Drop what an earlier sender wrote and did not live to drop."""
        of_topic: dict[str, dict[str, datetime]] = {}
        for topic, entry_id, due_at in await waiting(self._database, _now()):
            of_topic.setdefault(topic, {})[entry_id] = due_at
        for topic, entries in of_topic.items():
            since = min(entries.values()) - timedelta(seconds=_CLOCK_SKEW_S)  # none was sent before it was due
            found = [
                entry_id
                async for record in read_since(self._kafka, topic, since)
                if (entry_id := dict(record.headers).get("ce_id", b"").decode(errors="replace")) in entries
            ]
            await self._done(found)

    async def _done(self, entry_ids: list[str]) -> None:
        await drop(self._database, entry_ids)
        await count_reviews(self._database, entry_ids)
        await count_bank_reviews(self._database, entry_ids, self._context.banks.labels)

    def _hold(self, why: str | None) -> None:
        """Log once that it waits, and once that it goes on."""
        if self._context.hold("outbox", why):
            if why is None:
                log.info("the outbox is sent again")
            else:
                log.warning("the outbox waits", why=why)

    async def _due(self) -> None:
        """Wait until there is something to send."""
        while True:
            self._context.outbox_changed.clear()
            first = await first_due(self._database)
            left = _LOOK_S if first is None else (first - _now()).total_seconds()
            if left <= 0:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_S)):
                    await self._context.outbox_changed.wait()


async def count_reviews(database: AsyncEngine, review_ids: Collection[str]) -> None:
    """Add reviews that were sent, but no audits, to `moderation_reviews_total`: each answer for one of its policies."""
    query = (
        select(reviews.c.policies, verdicts.c.policies.label("judged"))
        .join(verdicts, verdicts.c.verdict_id == reviews.c.verdict_id)
        .where(reviews.c.review_id.in_(review_ids), reviews.c.audit_round.is_(None))
    )
    async with database.connect() as connection:
        for row in await connection.execute(query):
            violated = {policy["policy_id"]: policy["violated"] for policy in row.judged}
            for answer in row.policies:
                if (policy := answer["policy_id"]) in violated:
                    agreed = answer["violated"] == violated[policy]
                    metrics.REVIEWS.labels(policy, str(agreed).lower()).inc()


def _now() -> datetime:
    return datetime.now(UTC)
