"""A console that runs, and those who call it."""

import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from PIL import Image
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.accounts import api_keys
from moderation_service.console.context import ConsoleContext
from moderation_service.judging.judge import Judge
from moderation_service.settings import Settings
from tests.console.support import served, shipped_pack

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what does not depend on the database."""


@dataclass
class Api:
    """A console that runs, its context, and a key for all but `admin`."""

    address: str
    context: ConsoleContext
    key: str

    def caller(self, key: str | None = None) -> aiohttp.ClientSession:
        """Somebody with this key; without one where it is empty."""
        shown = self.key if key is None else key
        return aiohttp.ClientSession(self.address, headers={"Authorization": f"Bearer {shown}"} if shown else {})

    async def new_key(self, *scopes: str) -> str:
        return await new_key(self.context, *scopes)


@asynccontextmanager
async def running(database: AsyncEngine, settings: Settings, judge: Judge | None = None) -> AsyncIterator[Api]:
    """A console for the block."""
    pack = judge.pack if judge else shipped_pack()
    context = ConsoleContext(settings=settings, database=database, pack=pack, judge=judge)
    async with served(context) as address:
        yield Api(address, context, await new_key(context, "admin"))


async def new_key(context: ConsoleContext, *scopes: str) -> str:
    return await api_keys.create(context.database, context.settings.kafka, "tests", scopes, actor="user:tests")


def make_image(size: tuple[int, int] = (32, 32), colour: str = "red") -> str:
    """A PNG of one colour, as base64."""
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return base64.b64encode(out.getvalue()).decode()


async def problem(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    """Status and kind of a refusal, which must be problem JSON with the ids of its request."""
    assert answer.content_type == "application/problem+json", await answer.text()
    told = await answer.json(content_type=None)
    assert told["status"] == answer.status
    assert told["request_id"] == answer.headers["X-Request-ID"]
    assert told["trace_id"] == answer.headers["X-Trace-ID"]
    assert told["type"] == f"urn:moderation:problem:{told['code']}"
    return answer.status, told["code"]


@asynccontextmanager
async def serving(host: str, answer: Callable[[web.Request], web.Response]) -> AsyncIterator[int]:
    """A server on loopback; its port."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    yield int(runner.addresses[0][1])
    await runner.cleanup()
