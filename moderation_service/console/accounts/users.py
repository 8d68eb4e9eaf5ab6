"""Reviewers and admins, with passwords that are kept as argon2id alone."""

import asyncio
import re
import secrets
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Literal, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.store import outbox
from moderation_service.console.store.tables import sessions, users
from moderation_service.errors import Misconfigured
from moderation_service.settings import KafkaSettings
from moderation_service.telemetry import audit

Role = Literal["reviewer", "admin"]
Permission = Literal["adjudicate", "banks", "child_safety"]
"""What no role includes: it is given to a person by name."""
_Made = TypeVar("_Made")

SHORTEST, LONGEST = 12, 256  # characters of a password
_NAME = re.compile(r"[A-Za-z0-9._@+-]{1,64}")
_HASHER = PasswordHasher()  # RFC 9106's second choice: 64 MiB, three passes
_THREADS = ThreadPoolExecutor(2, "password")  # each takes the memory above; a flood of logins waits in line


@dataclass(frozen=True, slots=True)
class User:
    """A person who may log in, unless `disabled_at` is set."""

    name: str
    role: Role
    permissions: tuple[Permission, ...]
    created_at: datetime
    disabled_at: datetime | None


async def add(  # noqa: PLR0913 - what a user is, and who says so
    database: AsyncEngine,
    kafka: KafkaSettings,
    name: str,
    password: str,
    *,
    role: Role,
    actor: str,
    permissions: Collection[Permission] = (),
) -> None:
    """Let somebody log in; one who was disabled begins anew.

    Raises Misconfigured for a name or password that can't be taken, and for a user who is there.
    """
    if not _NAME.fullmatch(name):
        msg = f"users add {name!r}: a name is 1 to 64 of A-Z a-z 0-9 . _ @ + -"
        raise Misconfigured(msg)
    if not SHORTEST <= len(password) <= LONGEST:
        msg = f"users add {name}: the password has {len(password)} characters; should be {SHORTEST} to {LONGEST}"
        raise Misconfigured(msg)
    hashed = await _on_a_thread(lambda: _HASHER.hash(password))
    given = sorted(set(permissions))
    row = {"password_hash": hashed, "role": role, "permissions": given, "created_at": datetime.now(UTC)}
    details: dict[str, int | str] = {"role": role, **({"permissions": " ".join(given)} if given else {})}
    entry = audit.AuditEntry(actor=actor, action="user.added", target=name, details=details)
    async with database.begin() as connection:
        anew = (
            update(users).where(users.c.name == name, users.c.disabled_at.is_not(None)).values(disabled_at=None, **row)
        )
        if not (await connection.execute(anew)).rowcount:
            if (await connection.execute(select(users.c.name).where(users.c.name == name))).first():
                msg = (
                    f"users add {name}: is there already; disable it first to give it another password, role or rights"
                )
                raise Misconfigured(msg)
            await connection.execute(insert(users).values(name=name, **row))
        await outbox.put(connection, outbox.audited(kafka, entry))


async def listed(database: AsyncEngine) -> list[User]:
    """All users by name, disabled ones too."""
    query = select(users).order_by(users.c.name)
    async with database.connect() as connection:
        return [
            User(row.name, row.role, tuple(row.permissions), row.created_at, row.disabled_at)
            for row in await connection.execute(query)
        ]


async def disable(database: AsyncEngine, kafka: KafkaSettings, name: str, *, actor: str) -> None:
    """Let somebody log in no more, and end their sessions. Raises Misconfigured for one who can't anyway."""
    entry = audit.AuditEntry(actor=actor, action="user.disabled", target=name)
    async with database.begin() as connection:
        able = update(users).where(users.c.name == name, users.c.disabled_at.is_(None))
        if not (await connection.execute(able.values(disabled_at=datetime.now(UTC)))).rowcount:
            msg = f"users disable {name}: no such user, or disabled already; `moderation users list` shows all"
            raise Misconfigured(msg)
        await connection.execute(delete(sessions).where(sessions.c.user == name))
        await outbox.put(connection, outbox.audited(kafka, entry))


async def known(database: AsyncEngine, name: str, password: str) -> bool:
    """Whether this is the password of a user who may log in.

    The same work is done for a name that is nobody's, so that the time it takes tells nothing of who is there.
    """
    query = select(users.c.password_hash).where(users.c.name == name, users.c.disabled_at.is_(None))
    async with database.connect() as connection:
        hashed = (await connection.execute(query)).scalar_one_or_none()
    right = await _on_a_thread(lambda: _is_right(hashed or _nobodys(), password))
    return right and hashed is not None


def _is_right(hashed: str, password: str) -> bool:
    try:
        return _HASHER.verify(hashed, password)
    except VerifyMismatchError:
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_hex())


async def _on_a_thread(work: Callable[[], _Made]) -> _Made:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)
