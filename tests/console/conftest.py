"""What the console's tests share: both databases, empty ones for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.postgres import local_postgres, missing_postgres
from moderation_service.console.store.database import open_database
from tests.conftest import skip_or_fail


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server, without a database; started once a test run."""
    if reason := missing_postgres():
        skip_or_fail(reason)
    with local_postgres(["fsync=off", "max_connections=300"]) as address:
        yield address


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path, unique: str) -> str:
    """The address of a database that nobody has used yet, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'console.db'}"
    server = request.getfixturevalue("postgres")
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(f"CREATE DATABASE {unique}")
    await connection.close()
    return f"{server}/{unique}"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[AsyncEngine]:
    """An open database with all tables, and nothing in them."""
    async with open_database(database_url) as opened:
        yield opened
