"""Keys of the API: shown once, kept as a digest, each for some scopes, revoked at once."""

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import outbox
from moderation_service.console.store.tables import api_keys
from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit

Scope = Literal["judge", "read", "review", "banks", "admin", "child_safety"]

_PREFIX = "moderation"  # so that a key is told from other secrets wherever it turns up
_FORM = re.compile(rf"{_PREFIX}_([0-9a-f]{{12}})_[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_NOBODYS = "0" * 64  # compared with where there is no such key, so that this takes as long


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret. `key_id` may be shown; `admin` is every scope but `child_safety`."""

    key_id: str
    name: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None

    def may(self, scope: Scope) -> bool:
        """Whether it is for this scope."""
        return scope in self.scopes or (scope != "child_safety" and "admin" in self.scopes)


async def create(database: AsyncEngine, kafka: KafkaSettings, name: str, scopes: Collection[str], *, actor: str) -> str:
    """Make a key and give it, once. Raises Misconfigured for a name or scopes that can't be taken."""
    known = get_args(Scope)
    if not _NAME.fullmatch(name):
        msg = f"keys create {name!r}: a name is 1 to 64 of A-Z a-z 0-9 . _ @ -"
        raise Misconfigured(msg)
    if not scopes or set(scopes) - set(known):
        msg = f"keys create {name}: scopes {', '.join(scopes) or '(none)'}; should be of {', '.join(known)}"
        raise Misconfigured(msg)
    key_id, wanted = secrets.token_hex(6), [scope for scope in known if scope in scopes]
    key = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    row = {"key_id": key_id, "name": name, "digest": _digest(key), "scopes": wanted, "created_at": datetime.now(UTC)}
    details: dict[str, int | str] = {"name": name, "scopes": " ".join(wanted)}
    entry = audit.AuditEntry(actor=actor, action="key.created", target=key_id, details=details)
    async with database.begin() as connection:
        await connection.execute(insert(api_keys).values(row))
        await outbox.put(connection, outbox.audited(kafka, entry))
    return key


async def revoke(database: AsyncEngine, kafka: KafkaSettings, key_id: str, *, actor: str) -> None:
    """Refuse a key from now on. Raises Misconfigured where there is no such key, or it is revoked."""
    entry = audit.AuditEntry(actor=actor, action="key.revoked", target=key_id)
    ended = update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
    async with database.begin() as connection:
        if not (await connection.execute(ended.values(revoked_at=datetime.now(UTC)))).rowcount:
            msg = f"keys revoke {key_id}: no such key in use; `moderation keys list` names them"
            raise Misconfigured(msg)
        await outbox.put(connection, outbox.audited(kafka, entry))


async def listed(database: AsyncEngine) -> list[Key]:
    """All keys, the oldest first."""
    async with database.connect() as connection:
        return [_key(row) for row in await connection.execute(select(api_keys).order_by(api_keys.c.created_at))]


async def check(database: AsyncEngine, presented: str) -> Key | None:
    """The key that was presented; None where it is none of ours, or revoked."""
    form = _FORM.fullmatch(presented)
    if form is None:
        return None
    async with database.connect() as connection:
        found = await connection.execute(select(api_keys).where(api_keys.c.key_id == form[1]))
        row = found.one_or_none()
    same = secrets.compare_digest(_digest(presented), row.digest if row else _NOBODYS)
    return _key(row) if row and same and row.revoked_at is None else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _key(row: Row[Any]) -> Key:
    return Key(row.key_id, row.name, frozenset(row.scopes), row.created_at, row.revoked_at)
