"""Entries of banks that people add here and remove: the row, the record of the banks topic and the audit are one."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.banks.topic import bank_record, check_not_a_file
from moderation_service.console.catalogues import MsgId
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store import outbox
from moderation_service.console.store.tables import bank_entries
from moderation_service.contracts.bank import Bank, BankEntry, EntryKind
from moderation_service.contracts.verdict import Verdict
from moderation_service.errors import Misconfigured
from moderation_service.telemetry import audit

Why = Literal["file", "no_hash", "flat", "queue"]
_REFUSED: dict[Why, MsgId] = {
    "file": MsgId("This bank is a file. Change the file instead."),
    "no_hash": MsgId("This picture was not read, so it has no hash."),
    "flat": MsgId("This picture has too little detail to find near copies by. Add its exact bytes."),
    "queue": MsgId("This bank has a route, and the queue is for everybody. Have the platform publish the posts again."),
}


class Refused(Exception):  # noqa: N818 - a fate, not a fault
    """The bank can't be changed so."""

    def __init__(self, why: Why) -> None:
        self.message = _REFUSED[why]
        super().__init__(self.message)


class UnknownEntry(LookupError):  # noqa: N818 - a fate, not a fault
    """No such bank, or no such entry in it."""


@dataclass(frozen=True, slots=True)
class AddedEntry:
    """An entry that was added here. `verdict_id`: whose content it is, where it is known."""

    bank: str
    entry_id: str
    kind: EntryKind
    value: str
    reason: str
    verdict_id: str | None
    expires_at: datetime | None
    added_by: str
    added_at: datetime
    removed_at: datetime | None


def changeable(context: ConsoleContext, name: str, *, child_safety: bool) -> Bank:
    """The bank. Raises UnknownEntry, without `child_safety` for one with a route too; Refused for a bank of a file."""
    try:
        bank = context.banks[name].bank
    except KeyError:
        raise UnknownEntry(name) from None
    if bank.route and not child_safety:
        raise UnknownEntry(name)
    try:
        check_not_a_file(context.settings.banks.path, name)
    except Misconfigured:
        raise Refused("file") from None
    return bank


def image_value(verdict: Verdict, position: int, kind: str, bank: Bank) -> str:
    """The hash of a verdict's image, as an entry of this kind has it. Raises Refused where it has none."""
    images = verdict.content.images
    image = images[position] if 0 <= position < len(images) else None
    if image is None or image.sha256 is None:
        raise Refused("no_hash")
    if kind == "image_sha256":
        return image.sha256
    if image.pdq is None or (image.pdq_quality or 0) < bank.pdq_min_quality:
        raise Refused("flat")
    return image.pdq


async def add(context: ConsoleContext, bank: Bank, entry: BankEntry, *, actor: str, verdict_id: str | None) -> None:
    """Add an entry: its `note` is the reason, its `source` who adds it. It takes the place of one with its id.

    Workers match it once the record is sent.
    """
    now = datetime.now(UTC)
    row: dict[str, Any] = {
        "kind": entry.kind,
        "value": entry.value,
        "reason": entry.note or "",
        "verdict_id": verdict_id,
        "expires_at": entry.expires_at,
        "added_by": entry.source or actor,
        "added_at": now,
        "removed_at": None,
    }
    async with context.transaction() as connection:
        insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(bank_entries)
        upsert = insert.on_conflict_do_update(index_elements=["bank", "entry_id"], set_=row)
        await connection.execute(upsert.values(bank=bank.name, entry_id=entry.id, **row))
        of = {"ids": entry.id, "reason": entry.note or "", **({"verdict": verdict_id} if verdict_id else {})}
        await _put(connection, context, bank.name, entry.id, entry)
        await _tell(
            connection, context, audit.AuditEntry(actor=actor, action="bank_entry.added", target=bank.name, details=of)
        )


async def remove(context: ConsoleContext, bank: Bank, entry_id: str, *, actor: str) -> None:
    """Remove an entry, wherever it was added. Raises UnknownEntry where the bank does not hold it."""
    async with context.transaction() as connection:
        this = (bank_entries.c.bank == bank.name, bank_entries.c.entry_id == entry_id)
        open_here = update(bank_entries).where(*this, bank_entries.c.removed_at.is_(None))
        was_here = (await connection.execute(open_here.values(removed_at=datetime.now(UTC)))).rowcount
        if not was_here and entry_id not in context.banks[bank.name]:
            raise UnknownEntry(entry_id)
        await _put(connection, context, bank.name, entry_id, None)
        await _tell(
            connection,
            context,
            audit.AuditEntry(actor=actor, action="bank_entry.removed", target=bank.name, details={"ids": entry_id}),
        )


async def recent(database: AsyncEngine, bank: str, limit: int) -> list[AddedEntry]:
    """What was added to a bank here, the newest first."""
    query = select(bank_entries).where(bank_entries.c.bank == bank).order_by(bank_entries.c.added_at.desc())
    async with database.connect() as connection:
        return [AddedEntry(*row) for row in await connection.execute(query.limit(limit))]


async def one(database: AsyncEngine, bank: str, entry_id: str) -> AddedEntry | None:
    """An entry that was added here."""
    query = select(bank_entries).where(bank_entries.c.bank == bank, bank_entries.c.entry_id == entry_id)
    async with database.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    return None if row is None else AddedEntry(*row)


async def _put(
    connection: AsyncConnection, context: ConsoleContext, bank: str, entry_id: str, entry: BankEntry | None
) -> None:
    record, ce_id = bank_record(context.settings.kafka.banks_topic, f"{bank}/{entry_id}", entry), secrets.token_hex(16)
    record.headers.append(("ce_id", ce_id.encode()))
    await outbox.put(connection, outbox.OutboxEntry(ce_id, record, datetime.now(UTC)))


async def _tell(connection: AsyncConnection, context: ConsoleContext, entry: audit.AuditEntry) -> None:
    await outbox.put(connection, outbox.audited(context.settings.kafka, entry))
