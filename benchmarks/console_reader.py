"""A reviewer of a console under measure."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus

import aiohttp
import numpy as np

from moderation_service.console.accounts import users
from moderation_service.console.accounts.sessions import open_session
from moderation_service.console.app import build
from moderation_service.console.context import ConsoleContext
from moderation_service.console.server import serving
from moderation_service.console.store import queue
from moderation_service.console.store.queue import Filters, headlines
from moderation_service.telemetry import audit

_USER = "bench"
_LISTED = 50  # jobs on the page
_QUANTILES = {"p50": 50, "p95": 95, "max": 100}


@dataclass(frozen=True, slots=True)
class ConsoleReader:
    """A reviewer with a post in hand, who asks for the queue again and again."""

    context: ConsoleContext
    http: aiohttp.ClientSession
    times: int
    enough: asyncio.Event = field(default_factory=asyncio.Event)

    async def page(self, apart_s: float = 0.0) -> dict[str, float]:
        """The page, over HTTP, every `apart_s` seconds."""
        await queue.lease_next(self.context.database, _USER, Filters(), now=datetime.now(UTC), lease_s=3600)
        return await self._timed(self._page, apart_s)

    async def queries(self) -> dict[str, float]:
        """What the page asks of the database for its list."""
        return await self._timed(self._queries)

    async def _page(self) -> None:
        async with self.http.get("/", allow_redirects=False) as answer:
            await answer.read()
            if answer.status != HTTPStatus.OK:
                msg = f"the queue's page answers {answer.status}"
                raise RuntimeError(msg)

    async def _queries(self) -> None:
        now = datetime.now(UTC)
        jobs = await queue.listed(self.context.database, Filters(), limit=_LISTED, now=now)
        await headlines(self.context.database, [job.seq for job in jobs])
        await queue.counts(self.context.database, now=now)

    async def _timed(self, work: Callable[[], Awaitable[None]], apart_s: float = 0.0) -> dict[str, float]:
        """Milliseconds of each; the first ones, which also fill caches, count too."""
        took = []
        for _ in range(self.times):
            begun = time.perf_counter()
            await work()
            took.append((time.perf_counter() - begun) * 1000)
            await asyncio.sleep(apart_s)
            if self.enough.is_set():
                break
        return {name: round(float(np.percentile(took, at)), 2) for name, at in _QUANTILES.items()}


@asynccontextmanager
async def logged_in(context: ConsoleContext, times: int) -> AsyncIterator[ConsoleReader]:
    """Over HTTP, as browsers are."""
    actor = audit.process()
    await users.add(context.database, context.settings.kafka, _USER, secrets.token_hex(), role="reviewer", actor=actor)
    async with context.database.begin() as connection:
        token = await open_session(connection, _USER, hours=24)
    async with serving(build(context), "127.0.0.1", 0) as port:
        jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address without a name
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{port}", cookies={"session": token}, cookie_jar=jar
        ) as http:
            yield ConsoleReader(context, http, times)
