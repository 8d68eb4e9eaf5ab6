"""Leader election between console replicas: one lock in the database; another replica takes over when it is free."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zlib import crc32

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

_LOOK_S = 1.0


@asynccontextmanager
async def leadership(database: AsyncEngine, name: str) -> AsyncIterator[None]:
    """Wait to be the leader of this `name`, and stay it for the block.

    It spares work and proves nothing: a server that fails over loses it, so what is done in the block must be safe if
    two do it.
    """
    holding = _session_lock if database.dialect.name == "postgresql" else _file_lock
    async with holding(database, name):
        yield


@asynccontextmanager
async def _session_lock(database: AsyncEngine, name: str) -> AsyncIterator[None]:
    async with database.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        asked = select(func.pg_try_advisory_lock(crc32(name.encode())))
        try:
            while not (await connection.execute(asked)).scalar_one():  # noqa: ASYNC110 - another process gives it up
                await asyncio.sleep(_LOOK_S)
            yield
        finally:
            await connection.invalidate()  # the lock ends with its session


@asynccontextmanager
async def _file_lock(database: AsyncEngine, name: str) -> AsyncIterator[None]:
    with open(f"{database.url.database}.{name}", "wb") as file:  # noqa: ASYNC230, PTH123 - empty, and beside the database
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_LOOK_S)
        yield
