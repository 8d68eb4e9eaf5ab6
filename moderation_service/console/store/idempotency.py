"""What was answered under an Idempotency-Key: which verdict, not a copy of it, so that erasing needs no second look."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from moderation_service.console.store.tables import answers


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: of which API key, under which key of theirs, and the SHA-256 of its body."""

    key_id: str
    idempotency_key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The answer: the verdict's id, and whether it was given to this very request."""

    verdict_id: str
    same_request: bool


async def find(database: AsyncEngine, asked: Asked) -> StoredResponse | None:
    """What was answered before."""
    async with database.connect() as connection:
        return await _find(connection, asked)


async def keep(connection: AsyncConnection, asked: Asked, verdict_id: str) -> StoredResponse:
    """Keep the answer, in the caller's transaction, unless there is one; gives the one that counts."""
    insert = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(answers)
    row = {
        "key_id": asked.key_id,
        "idempotency_key": asked.idempotency_key,
        "request_digest": asked.request_digest,
        "verdict_id": verdict_id,
        "created_at": datetime.now(UTC),
    }
    await connection.execute(insert.values(row).on_conflict_do_nothing())
    return await _find(connection, asked) or StoredResponse(verdict_id, same_request=True)


async def _find(connection: AsyncConnection, asked: Asked) -> StoredResponse | None:
    key = (answers.c.key_id == asked.key_id, answers.c.idempotency_key == asked.idempotency_key)
    row = (await connection.execute(select(answers.c.request_digest, answers.c.verdict_id).where(*key))).one_or_none()
    return None if row is None else StoredResponse(row.verdict_id, row.request_digest == asked.request_digest)
