"""A console with a reviewer, and browsers that are logged in."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.compose import open_judge
from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.database import open_database
from moderation_service.demo.samples import posts
from tests.conftest import skip_or_fail
from tests.console.pages.browsing import CHROMIUM, PASSWORD, Visit, browser, missing_browser
from tests.console.support import console_settings, served, shipped_pack

expect.set_options(timeout=30_000)  # other tests may hold the processors


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[tuple[str, AsyncEngine]]:
    """What pages show does not hang on the kind of database; what they read is tested on both."""
    url = f"sqlite:///{tmp_path / 'console.db'}"
    async with open_database(url) as opened:
        yield url, opened


@pytest.fixture
async def context(store: tuple[str, AsyncEngine]) -> ConsoleContext:
    """A console with the reviewer `mei`, without Kafka and without a judge."""
    url, opened = store
    pack = shipped_pack()
    made = ConsoleContext(settings=console_settings(url), database=opened, pack=pack)
    await users.add(opened, made.settings.kafka, "mei", PASSWORD, role="reviewer", actor="user:test")
    return made


@pytest.fixture
async def address(context: ConsoleContext) -> AsyncIterator[str]:
    async with served(context) as at:
        yield at


@pytest.fixture
async def judging(context: ConsoleContext) -> AsyncIterator[ConsoleContext]:
    """The console with the bundled model."""
    async with open_judge(context.settings, context.pack) as judge:
        context.judge = judge
        yield context


@pytest.fixture
def weapon(tmp_path: Path) -> Path:
    """The image of the samples' first post."""
    first = next(iter(posts("x")))
    path = tmp_path / "weapon.jpg"
    path.write_bytes(base64.b64decode(first.images[0].data or ""))
    return path


@pytest.fixture
async def visit(address: str) -> AsyncIterator[Callable[..., Any]]:
    """Opens a browser, logged in; at the end no page had an error, a refused part or a request to elsewhere."""
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    async with AsyncExitStack() as stack:
        chromium = await stack.enter_async_context(browser())
        made: list[Visit] = []

        async def opened(user: str | None = "mei", **options: Any) -> Visit:
            browsing = await chromium.new_context(**{"locale": "en-GB", **options})
            stack.push_async_callback(browsing.close)
            made.append(Visit(await browsing.new_page(), address))
            if user:
                await made[-1].log_in(user)
            return made[-1]

        yield opened
        for one in made:
            assert one.faults == []
