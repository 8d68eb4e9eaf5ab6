"""A console with two users, and a browser at it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from argon2 import PasswordHasher
from sqlalchemy.ext.asyncio import AsyncEngine

from moderation_service.console.accounts import users
from moderation_service.console.context import ConsoleContext
from tests.console.accounts.browser import PASSWORD, Browser, browser, small_console
from tests.console.support import console_settings, shipped_pack


@pytest.fixture
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As the real ones, with less work in each: most tests are not about that."""
    monkeypatch.setattr(users, "_HASHER", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    users._nobodys.cache_clear()
    yield
    users._nobodys.cache_clear()


@pytest.fixture
async def context(database_url: str, database: AsyncEngine, quick_hashes: None) -> ConsoleContext:
    """With `ann`, who reviews, and `root`, an admin."""
    made = ConsoleContext(settings=console_settings(database_url), database=database, pack=shipped_pack())
    kafka = made.settings.kafka
    await users.add(database, kafka, "ann", PASSWORD, role="reviewer", actor="user:test")
    await users.add(database, kafka, "root", PASSWORD, role="admin", actor="user:test")
    return made


@pytest.fixture
async def address(context: ConsoleContext) -> AsyncIterator[str]:
    """Of a small console."""
    async with small_console(context) as made:
        yield made


@pytest.fixture
async def at(address: str) -> AsyncIterator[Browser]:
    """A browser there, that has no cookie yet."""
    async with browser(address) as made:
        yield made
