"""A console with a reviewer, and browsers that are logged in."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.app.compose import open_judge
from moderation_service.console.accounts import users
from moderation_service.console.accounts.sessions import open_session
from moderation_service.console.context import ConsoleContext
from moderation_service.console.store.database import open_database
from moderation_service.demo.samples import posts
from tests.conftest import skip_or_fail
from tests.console.pages.browsing import CHROMIUM, PASSWORD, Visit, browser, missing_browser
from tests.console.support import console_settings, served, shipped_pack

expect.set_options(timeout=30_000)  # other tests may hold the processors


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a console run on the loop that the browser lives on: to start one takes longer than most of them."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "store" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest_asyncio.fixture(loop_scope="session")
async def store(tmp_path: Path) -> AsyncIterator[tuple[str, AsyncEngine]]:
    """What pages show does not hang on the kind of database; what they read is tested on both."""
    url = f"sqlite:///{tmp_path / 'console.db'}"
    async with open_database(url) as opened:
        yield url, opened


@pytest_asyncio.fixture(loop_scope="session")
async def context(store: tuple[str, AsyncEngine]) -> ConsoleContext:
    """A console with the reviewer `mei`, without Kafka and without a judge."""
    url, opened = store
    pack = shipped_pack()
    made = ConsoleContext(settings=console_settings(url), database=opened, pack=pack)
    await users.add(opened, made.settings.kafka, "mei", PASSWORD, role="reviewer", actor="user:test")
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def address(context: ConsoleContext) -> AsyncIterator[str]:
    async with served(context) as at:
        yield at


@pytest_asyncio.fixture(loop_scope="session")
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


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One for all tests; each visit has a context of its own."""
    if missing_browser():
        skip_or_fail(f"no {CHROMIUM}: apt-get install chromium")
    async with browser() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="session")
async def visit(context: ConsoleContext, address: str, chromium: Browser) -> AsyncIterator[Callable[..., Any]]:
    """Opens the queue, logged in; at the end no page had an error, a refused part or a request to elsewhere."""
    async with AsyncExitStack() as stack:
        made: list[Visit] = []

        async def opened(user: str | None = "mei", **options: Any) -> Visit:
            browsing = await chromium.new_context(**{"locale": "en-GB", **options})
            stack.push_async_callback(browsing.close)
            made.append(Visit(await browsing.new_page(), address))
            if user:
                async with context.database.begin() as connection:
                    token = await open_session(connection, user, hours=1)
                await browsing.add_cookies([{"name": "session", "value": token, "url": address}])
                await made[-1].go("/")
            return made[-1]

        yield opened
        for one in made:
            assert one.faults == []
