"""Who is logged in: a random token in the browser's cookie, and its digest here."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.requests import HTTPConnection
from starlette.responses import Response

from moderation_service.console.accounts.users import Permission, Role
from moderation_service.console.store.tables import sessions, users
from moderation_service.settings import ConsoleSettings


@dataclass(frozen=True, slots=True)
class Session:
    """Who asks. `csrf_token` is to come with whatever changes something."""

    user: str
    role: Role
    csrf_token: str
    permissions: frozenset[Permission]


async def open_session(connection: AsyncConnection, user: str, hours: float) -> str:
    """Begin a session and give its token; sessions that are over, of whomever, go."""
    token, now = secrets.token_urlsafe(32), datetime.now(UTC)
    await connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
    row = {"token_digest": _digest(token), "user": user, "csrf_token": secrets.token_urlsafe(32)}
    until = now + timedelta(hours=hours)
    await connection.execute(insert(sessions).values(created_at=now, expires_at=until, **row))
    return token


async def session_of(database: AsyncEngine, token: str) -> Session | None:
    """The session of a token; None once it is over, or its user disabled."""
    query = (
        select(sessions.c.user, users.c.role, sessions.c.csrf_token, users.c.permissions)
        .join(users, users.c.name == sessions.c.user)
        .where(sessions.c.token_digest == _digest(token), sessions.c.expires_at > datetime.now(UTC))
        .where(users.c.disabled_at.is_(None))
    )
    async with database.connect() as connection:
        row = (await connection.execute(query)).one_or_none()
    return Session(row.user, row.role, row.csrf_token, frozenset(row.permissions)) if row else None


async def close_session(connection: AsyncConnection, token: str) -> None:
    """End it."""
    await connection.execute(delete(sessions).where(sessions.c.token_digest == _digest(token)))


def token_of(request: HTTPConnection, console: ConsoleSettings) -> str:
    """What the browser shows; empty without."""
    return request.cookies.get(_cookie(console), "")


def give(response: Response, token: str, console: ConsoleSettings) -> None:
    """Let the browser keep the token: for this host alone, out of reach of scripts and of other sites' forms."""
    response.set_cookie(
        _cookie(console),
        token,
        max_age=int(console.session_hours * 3600),
        path="/",
        secure=console.secure_cookies,
        httponly=True,
        samesite="lax",
    )


def forget(response: Response, console: ConsoleSettings) -> None:
    """Let the browser drop it."""
    response.delete_cookie(_cookie(console), path="/", secure=console.secure_cookies, httponly=True, samesite="lax")


def _cookie(console: ConsoleSettings) -> str:
    return "__Host-session" if console.secure_cookies else "session"


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
