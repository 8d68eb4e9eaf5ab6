"""Records that are to be written to Kafka, kept in the transaction of the rows that they tell of."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store.tables import outbox
from moderation_service.kafka.topic_io import Record, audit_record
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A record and when it may go. `entry_id` is its `ce_id` header, by which it is found on its topic."""

    entry_id: str
    record: Record
    due_at: datetime


def audited(kafka: KafkaSettings, entry: audit.AuditEntry) -> OutboxEntry:
    """An entry for the audit topic, due at once."""
    return OutboxEntry(entry.audit_id, audit_record(kafka, entry), entry.at)


async def put(connection: AsyncConnection, entry: OutboxEntry) -> None:
    """Add an entry, in the caller's transaction; once that is through, `parts.put_in_outbox` should be set."""
    record = entry.record
    headers = [[name, value.decode()] for name, value in record.headers]
    row = {"topic": record.topic, "key": record.key, "value": record.value, "headers": headers, "taken": False}
    await connection.execute(insert(outbox).values(entry_id=entry.entry_id, due_at=entry.due_at, **row))


async def withdraw(connection: AsyncConnection, entry_id: str, now: datetime) -> bool:
    """Take an entry back; False where it is due, or on its way."""
    gone = delete(outbox).where(outbox.c.entry_id == entry_id, ~outbox.c.taken, outbox.c.due_at > now)
    return bool((await connection.execute(gone)).rowcount)


async def first_due(database: AsyncEngine) -> datetime | None:
    """When the next entry may go; None where there is none."""
    async with database.connect() as connection:
        first: datetime | None = (await connection.execute(select(func.min(outbox.c.due_at)))).scalar_one()
    return first


async def waiting(database: AsyncEngine, now: datetime) -> list[tuple[str, str, datetime]]:
    """Topic, id and time of every entry that was taken, of which each may be on its topic."""
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
    """Entries that Kafka has."""
    if gone := [{"gone": entry_id} for entry_id in entry_ids]:
        async with database.begin() as connection:
            await connection.execute(delete(outbox).where(outbox.c.entry_id == bindparam("gone")), gone)
